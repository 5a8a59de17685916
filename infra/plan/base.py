"""The same stack as another commit has it, evaluated by that commit's own program."""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.plan import document
from infra.plan.evaluate import Evaluation


class BaseError(ValueError):
    """A commit that cannot be compared with; the message says why, in one line."""


@contextmanager
def evaluating(ref: str, stack: str, root: Path) -> Iterator[Callable[[], Evaluation]]:
    """Evaluate the stack at a commit, in a process beside this one; what is yielded waits for it and returns it.

    A commit without the program or without the stack file has nothing: everything will be new. Raises BaseError if
    there is no such commit; the function that is yielded raises it if the commit's program fails.
    """
    with tempfile.TemporaryDirectory(prefix="model-serving-base-") as temporary:
        folder, result = Path(temporary, "project"), Path(temporary, "evaluation.json")
        _check_out(ref, root, folder)
        if not Path(folder, "infra/program.py").exists() or not Path(folder, f"Pulumi.{stack}.yaml").exists():
            yield lambda: Evaluation(stack=stack, resources=(), outputs={})
            return
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and words
            [sys.executable, "-m", "infra.plan", "--stack", stack, "--json", str(result)],
            cwd=folder,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

        def wait() -> Evaluation:
            _, errors = process.communicate()
            # It may break a policy, and still be compared with.
            if not result.exists():
                last = next(reversed(errors.strip().splitlines()), "no message")
                raise BaseError(f"{ref}: its own program does not evaluate the stack {stack}: {last}")
            try:
                return document.from_json(result.read_text())
            except ValueError as error:
                raise BaseError(f"{ref}: its own preview writes another format: {error}") from None

        try:
            yield wait
        finally:
            process.kill()
            process.wait()


def _check_out(ref: str, root: Path, folder: Path) -> None:
    """Write the files of a commit to a folder, without touching the work tree."""
    try:
        archive = subprocess.run(  # noqa: S603 - a reference cannot be taken for an option
            ["git", "archive", "--format=tar", "--end-of-options", ref],  # noqa: S607 - the user's own git
            cwd=root,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise BaseError(f"{ref}: comparing with a commit needs git, and there is none: install it") from None
    if archive.returncode:
        reason = next(iter(archive.stderr.decode().strip().splitlines()), "no message").removeprefix("fatal: ")
        raise BaseError(f"{ref}: git does not find this commit here ({reason}): fetch it first")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
