"""Before anything is installed: whether it can be."""

import pytest

from app.local.prerequisites import problem


@pytest.mark.parametrize(
    ("python", "system", "machine", "release"),
    [
        ((3, 11), "Linux", "x86_64", "2.36"),
        ((3, 13), "Linux", "aarch64", "2.31"),
        ((3, 12), "Darwin", "arm64", "15.4.1"),
    ],
)
def test_a_machine_for_which_there_are_packages_is_accepted(
    python: tuple[int, int], system: str, machine: str, release: str
) -> None:
    assert problem(python, system, machine, release) == ""


@pytest.mark.parametrize(
    ("python", "system", "machine", "release", "fix"),
    [
        ((3, 10), "Linux", "x86_64", "2.36", "make PYTHON=python3.13 up"),
        ((3, 14), "Linux", "x86_64", "2.36", "make PYTHON=python3.13 up"),
        ((3, 12), "Linux", "x86_64", "2.28", "this is Linux 2.28 x86_64"),
        ((3, 12), "Linux", "x86_64", "", "another C library"),
        ((3, 12), "Linux", "riscv64", "2.36", "a container or a virtual machine"),
        ((3, 12), "Darwin", "x86_64", "15.0", "this is Darwin 15.0 x86_64"),
        ((3, 12), "Darwin", "arm64", "14.7", "macOS 15 or newer"),
    ],
)
def test_a_machine_without_packages_is_told_what_to_do_in_one_line(
    python: tuple[int, int], system: str, machine: str, release: str, fix: str
) -> None:
    said = problem(python, system, machine, release)
    assert fix in said
    assert "\n" not in said


def test_a_python_without_ensurepip_is_told_the_package() -> None:
    assert "apt-get install python3.12-venv" in problem((3, 12), "Linux", "x86_64", "2.36", has_venv=False)
