"""The Pulumi command line of this project."""

import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from infra.cli import VERSION, CliError, install
from tests.machinery.binaries import required


def no_network(url: str) -> None:
    raise URLError("no route to host")


def test_without_a_network_one_line_says_so_and_where_to_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    with pytest.raises(CliError) as error:
        install(tmp_path)
    assert str(error.value) == (
        f"Pulumi {VERSION} could not be installed (<urlopen error no route to host>):"
        " https://www.pulumi.com/docs/iac/download-install/ has other ways"
    )


def test_what_is_installed_already_is_not_downloaded_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    command = tmp_path / "bin/pulumi"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\necho v{VERSION}\n")
    command.chmod(0o755)
    assert install(tmp_path) == VERSION


def test_the_engine_of_the_tests_is_of_the_version_that_is_installed() -> None:
    assert required("pulumi", "github.com/pulumi/pulumi/pkg/v3") == f"v{VERSION}"
