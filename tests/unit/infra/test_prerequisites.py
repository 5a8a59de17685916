"""What `make up` of a stack finds missing before it begins; the cluster itself is asked in tests/cluster."""

import importlib.metadata
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import prerequisites
from infra.plan import stack_file
from infra.plan.stack import ROOT

NEEDED = importlib.metadata.version("pulumi")
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes commands the only ones that there are: each prints what it is given, or fails without it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))

    def make(**commands: str) -> None:
        for name, prints in commands.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{f'echo {prints}' if prints else 'exit 1'}\n")
            (tmp_path / name).chmod(0o755)

    return make


def missing(stack: str) -> list[str]:
    return list(prerequisites.missing(stack_file.read(stack, ROOT).settings))


@pytest.mark.parametrize(
    ("stack", "commands"), [("dev", ["pulumi", "aws", "docker"]), ("kind", ["pulumi", "docker", "kubectl"])]
)
def test_each_command_that_is_not_there_is_named_with_where_to_get_it(
    stack: str, commands: list[str], install: Install
) -> None:
    install()
    lines = [line for line in missing(stack) if "is not installed" in line]
    assert [line.partition(" ")[0] for line in lines] == commands
    assert all("https://" in line for line in lines)


def test_nothing_is_missing_for_aws_when_all_commands_answer(install: Install) -> None:
    install(pulumi=f"v{NEEDED}", aws="2", docker="29")
    assert missing("dev") == []


def test_a_pulumi_that_is_older_than_its_sdk_is_named_with_the_version_that_is_needed(install: Install) -> None:
    install(pulumi="v3.9.0", aws="2", docker="29")
    (line,) = missing("dev")
    assert "3.9.0" in line
    assert NEEDED in line


def test_a_docker_that_does_not_answer_is_not_one_that_is_missing(install: Install) -> None:
    install(pulumi=f"v{NEEDED}", aws="2", docker="")
    (line,) = missing("dev")
    assert line.startswith("Docker is installed and does not answer")


def test_a_stack_that_was_never_made_is_named_with_the_command_that_makes_it(install: Install, tmp_path: Path) -> None:
    install(aws="2", docker="29")
    pulumi = tmp_path / "pulumi"
    pulumi.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo v{NEEDED}\n')
    pulumi.chmod(0o755)
    (line,) = missing("dev")
    assert "`pulumi stack init dev`" in line


def test_without_a_kubeconfig_the_command_that_makes_the_cluster_is_offered(install: Install) -> None:
    install(pulumi=f"v{NEEDED}", docker="29", kubectl="1")
    (line,) = (line for line in missing("kind") if "context" in line)
    assert "there is none at all" in line
    assert "`kind create cluster --config infra/kind/cluster.yaml`" in line


def test_a_registry_of_this_machine_that_does_not_answer_is_offered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    (line,) = prerequisites.of_registry(f"localhost:{port}")
    assert f"--publish 127.0.0.1:{port}:5000" in line


def test_a_registry_elsewhere_is_dockers_business() -> None:
    assert list(prerequisites.of_registry("registry.invalid/team")) == []
