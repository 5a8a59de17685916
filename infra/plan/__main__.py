"""The preview that needs nothing: ``python -m infra.plan --stack dev``."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.config import SettingsError
from infra.plan import base, document, manifests
from infra.plan.evaluate import Evaluation
from infra.plan.markdown import markdown
from infra.plan.preview import Preview, preview
from infra.plan.report import report
from infra.plan.stack import ROOT, evaluate_stack
from infra.plan.text import text

BROKEN_POLICY = 1
UNUSABLE = 2


class UnwritableError(ValueError):
    """A file that was asked for cannot be written; the message says why, in one line."""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Preview a stack; returns 0, 1 if a mandatory policy is broken, or 2 if there is nothing to preview."""
    asked = _arguments(arguments)
    try:
        found = _preview(asked, root)
        written = list(_write(asked, found))
    except (SettingsError, base.BaseError, UnwritableError) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    try:
        for line in (*text(found), *written):
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads it has seen enough, as `head` does; without this, Python complains as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_POLICY if found.stops else 0


def _preview(asked: argparse.Namespace, root: Path) -> Preview:
    with ExitStack() as running:
        # Beside the stack's own evaluation: each is a process's work.
        at_base = asked.base and running.enter_context(base.evaluating(asked.base, asked.stack, root))
        evaluation = evaluate_stack(asked.stack, root)
        if asked.json:
            _write_file(asked.json, document.to_json(evaluation))
        before: Evaluation | None = None
        if at_base:
            before = at_base()
        elif asked.against:
            before = evaluate_stack(asked.against, root)
        return preview(evaluation, before, named=asked.base or asked.against or "")


def _write(asked: argparse.Namespace, found: Preview) -> Iterator[str]:
    """Write what was asked for; yields a line for each that a person will look at."""
    if asked.manifests:
        with _writable(asked.manifests):
            count = manifests.write(found.evaluation, asked.manifests)
        yield f"{count} manifests in {asked.manifests}"
    if asked.report:
        _write_file(asked.report, report(found))
        yield f"report in {asked.report}"
    if asked.markdown:
        _write_file(asked.markdown, markdown(found))


def _write_file(path: Path, content: str) -> None:
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnwritableError(f"{path}: cannot be written: {error.strerror}") from None


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.plan", description=__doc__)
    parser.add_argument("--stack", default="dev", help="whose stack file is read; dev if not said")
    compared = parser.add_mutually_exclusive_group()
    compared.add_argument("--base", metavar="GIT_REF", help="show what changes against this commit")
    compared.add_argument("--against", metavar="STACK", help="show what is different from another stack")
    for name, what in (
        ("manifests", "write the Kubernetes objects to this folder, a file for each"),
        ("report", "write a page for the browser to this file"),
        ("markdown", "write a comment for a pull request to this file"),
        ("json", "write the evaluation to this file, secrets masked"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=what)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
