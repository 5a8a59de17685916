"""The images to build on: the official ones where they can be pulled, else stand-ins made of Debian's packages."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.images.engine import ROOT, Docker, DockerMissingError

PYTHON_STAND_IN = "model-serving-stand-in:python"
SERVING_STAND_IN = "model-serving-stand-in:serving"

# What TensorFlow Serving's image has for us, less the server: it prints its arguments, one a line, and ends.
MODEL_SERVER = """\
FROM {python}
RUN echo '#!/bin/sh' > /usr/bin/tensorflow_model_server \\
    && echo 'for argument in "$@"; do echo "$argument"; done' >> /usr/bin/tensorflow_model_server \\
    && chmod 755 /usr/bin/tensorflow_model_server
"""


def default_base(dockerfile: Path) -> str:
    """The base that a Dockerfile names unless it is told another."""
    match = re.search(r"^ARG BASE=(\S+)$", dockerfile.read_text(), re.MULTILINE)
    assert match, f"{dockerfile} has no ARG BASE=…"
    return match[1]


def python_base(docker: Docker) -> str:
    """The Python images' base, pulled, or a stand-in: Debian bookworm, its Python 3.11, and pip in /usr/local.

    Raises DockerMissingError when neither can be had.
    """
    official = default_base(ROOT / "app/gateway/Dockerfile")
    if _has(docker, official) or docker.run("pull", "--quiet", official).returncode == 0:
        return official
    if not _has(docker, PYTHON_STAND_IN):
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise DockerMissingError("no base image can be pulled; making one needs root and debootstrap")
        with tempfile.TemporaryDirectory(prefix="debian-") as folder:
            _debootstrap(docker, Path(folder))
    return PYTHON_STAND_IN


def serving_base(docker: Docker, python: str) -> str:
    """A stand-in for TensorFlow Serving's image: what is tested is what our Dockerfile makes of a base."""
    with tempfile.TemporaryDirectory() as folder:
        dockerfile = Path(folder, "Dockerfile")
        dockerfile.write_text(MODEL_SERVER.format(python=python))
        docker.build(dockerfile, SERVING_STAND_IN, context=Path(folder))
    return SERVING_STAND_IN


def _has(docker: Docker, image: str) -> bool:
    return docker.run("image", "inspect", image).returncode == 0


def _debootstrap(docker: Docker, root: Path) -> None:
    packages = "--include=python3,ca-certificates"
    _run("debootstrap", "--variant=minbase", packages, "bookworm", str(root), *_mirror())
    # As the official image has it: pip may change what is installed in /usr/local, and `python` is Python.
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    modules = root / "usr/local/lib/python3.11/dist-packages"
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(modules), "pip", "setuptools", "wheel")
    left_out = [f"--exclude=./{path}" for path in ("var/cache/apt/*", "var/lib/apt/lists/*", "usr/share/doc")]
    with subprocess.Popen(["tar", "-C", root, *left_out, "-c", "."], stdout=subprocess.PIPE) as tar:
        docker.output("import", "-", PYTHON_STAND_IN, stdin=tar.stdout)
    assert tar.returncode == 0, f"tar failed with exit code {tar.returncode}"


def _mirror() -> list[str]:
    """The Debian mirror that this machine uses, if it is one of bookworm; debootstrap knows the public one itself."""
    query = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Codename: bookworm")
    return subprocess.run(query, check=False, capture_output=True, text=True).stdout.splitlines()[:1]


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}"
