"""``python -m infra.plan``, from the stack file to what is printed and written."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from infra.plan.__main__ import BROKEN_POLICY, UNUSABLE, main
from infra.plan.document import from_json
from infra.plan.stack import ROOT

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the project's stack files, to be changed."""
    for path in ROOT.glob("Pulumi.*yaml"):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def repository(project: Path) -> Path:
    """The project as a git repository of one commit, called base."""
    for folder in ("infra", "app"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "constraints.txt", project)
    git(project, "init", "--quiet")
    commit(project, "base")
    return project


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, tag: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", tag)
    git(folder, "tag", tag)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(root: Path, *arguments: str) -> tuple[int, str, str]:
        code = main(arguments, root)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def change(project: Path, key: str, value: object, stack: str = "dev") -> None:
    path = project / f"Pulumi.{stack}.yaml"
    document = yaml.safe_load(path.read_text())
    document["config"][f"model-serving:{key}"] = value
    path.write_text(yaml.safe_dump(document))


def test_a_good_stack_is_shown_whole(project: Path, command: Command) -> None:
    code, out, err = command(project, "--stack", "dev")
    assert (code, err) == (0, "")
    for title in ("Resources", "Kinds", "Policies", "Critical path of a first deployment"):
        assert f"{title}\n{'=' * len(title)}" in out


def test_a_broken_policy_is_named_and_is_the_exit_code(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.network._PUBLIC_PREFIX_BELOW_VPC", 8)
    monkeypatch.setattr("infra.pods.disruption_budget", lambda _: {"selector": {"matchLabels": {"app": "none"}}})
    code, out, _ = command(project, "--stack", "prod")
    assert code == BROKEN_POLICY
    assert "!!  disruption-budget:" in out


def test_each_thing_that_is_wrong_in_a_stack_file_is_one_line_and_no_traceback(project: Path, command: Command) -> None:
    change(project, "gateway", {"replicas": {"min": 5, "max": 2}})
    change(project, "protect", "perhaps")
    code, out, err = command(project, "--stack", "dev")
    assert (code, out) == (UNUSABLE, "")
    assert len(err.splitlines()) == 2
    assert all(line.startswith("Pulumi.dev.yaml: ") for line in err.splitlines())


def test_everything_is_written_where_it_is_asked_for(project: Path, command: Command) -> None:
    out = project / "out"
    names = ("report", "json", "markdown", "manifests")
    asked = [argument for name in names for argument in (f"--{name}", str(out / name))]
    assert command(project, "--stack", "dev", *asked)[0] == 0
    assert Path(out, "report").read_text().startswith("<!doctype html>")
    assert from_json(Path(out, "json").read_text()).stack == "dev"
    assert Path(out, "markdown").read_text().startswith("### dev")
    assert Path(out, "manifests/gateway/deployment-gateway.yaml").exists()


def test_another_stack_is_compared_with(project: Path, command: Command) -> None:
    code, out, _ = command(project, "--stack", "dev", "--against", "prod")
    assert code == 0
    assert "Changes against prod" in out


def test_a_commit_is_compared_with_by_its_own_program(repository: Path, command: Command) -> None:
    change(repository, "network", {"zones": ["a", "b"], "nat": "single", "flowLogDays": 14})
    code, out, err = command(repository, "--stack", "dev", "--base", "base")
    assert (code, err) == (0, "")
    assert "retentionInDays: 7 → 14" in out
    assert out.endswith("1 changed (against base)\n")


def test_nothing_changes_against_the_same_commit(repository: Path, command: Command) -> None:
    assert "nothing changes (against base)" in command(repository, "--stack", "dev", "--base", "base")[1]


def test_against_a_commit_without_the_program_all_is_new(repository: Path, command: Command) -> None:
    git(repository, "rm", "--quiet", "-r", "infra")
    commit(repository, "before")
    _, out, _ = command(repository, "--stack", "dev", "--base", "before")
    assert " added, " in out.splitlines()[-1]
    assert "removed" not in out.splitlines()[-1]


def test_a_commit_that_is_not_there_is_one_line(repository: Path, command: Command) -> None:
    code, _, err = command(repository, "--stack", "dev", "--base", "nowhere")
    assert code == UNUSABLE
    assert err.startswith("nowhere: git does not find this commit here")
    assert len(err.splitlines()) == 1


def test_a_reference_is_never_an_option_of_git(repository: Path, command: Command) -> None:
    target = repository / "written"
    code, _, err = command(repository, "--stack", "dev", f"--base=--output={target}")
    assert code == UNUSABLE
    assert not target.exists()
    assert len(err.splitlines()) == 1


def test_a_commit_whose_program_fails_is_one_line_with_the_reason(repository: Path, command: Command) -> None:
    Path(repository, "infra/program.py").write_text("raise RuntimeError('half done')\n")
    commit(repository, "broken")
    code, _, err = command(repository, "--stack", "dev", "--base", "broken")
    assert code == UNUSABLE
    assert err == "broken: its own program does not evaluate the stack dev: RuntimeError: half done\n"


def test_a_commit_cannot_be_compared_with_where_there_is_no_git(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))
    code, _, err = command(project, "--stack", "dev", "--base", "main")
    assert (code, err) == (UNUSABLE, "main: comparing with a commit needs git, and there is none: install it\n")


@pytest.mark.parametrize("name", ["report", "json", "markdown", "manifests"])
def test_what_cannot_be_written_is_one_line_with_the_reason(name: str, project: Path, command: Command) -> None:
    # What stands where a folder or a file is wanted, as it may be.
    taken = project / "Pulumi.yaml" if name == "manifests" else project
    code, _, err = command(project, "--stack", "dev", f"--{name}", str(taken))
    assert code == UNUSABLE
    assert err.startswith(f"{taken}: cannot be written: ")
    assert len(err.splitlines()) == 1


def test_a_reader_that_has_seen_enough_ends_it_without_a_complaint_and_nothing_that_was_asked_for_is_missing(
    project: Path,
) -> None:
    report = project / "report.html"
    running = subprocess.Popen(
        [sys.executable, "-m", "infra.plan", "--stack", "dev", "--report", str(report)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.wait() == 0
    assert running.stderr is not None
    assert running.stderr.read() == b""
    running.stderr.close()
    assert report.exists()
