"""The preview that needs nothing: ``python -m infra.plan --stack dev``."""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
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


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Preview a stack; returns 0, 1 if a mandatory policy is broken, or 2 if there is nothing to preview."""
    asked = _arguments(arguments)
    try:
        found = _preview(asked, root)
    except (SettingsError, base.BaseError) as error:
        print(error, file=sys.stderr)
        return UNUSABLE
    for line in text(found):
        print(line)
    _write(asked, found)
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


def _write(asked: argparse.Namespace, found: Preview) -> None:
    if asked.manifests:
        count = manifests.write(found.evaluation, asked.manifests)
        print(f"{count} manifests in {asked.manifests}")
    if asked.report:
        _write_file(asked.report, report(found))
        print(f"report in {asked.report}")
    if asked.markdown:
        _write_file(asked.markdown, markdown(found))


def _write_file(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


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
