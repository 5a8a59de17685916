"""A preview as a comment of a pull request: short enough to be read there, and never longer than one may be."""

import html
from collections.abc import Iterator
from typing import Final

from infra.plan.preview import Preview
from infra.plan.text import changes, clock, path, place, policies

# A comment holds 65536 characters, and more than one stack goes into it:
# https://github.com/orgs/community/discussions/27190
_LINES: Final = 200
_LINE_LENGTH: Final = 200


def markdown(preview: Preview) -> str:
    """The summary first, details folded; at most about 30 kB."""
    return "\n".join(_lines(preview)) + "\n"


def _lines(preview: Preview) -> Iterator[str]:
    yield f"### {preview.evaluation.stack}"
    yield ""
    if preview.changes:
        yield f"**{preview.changes}**"
        yield ""
    yield f"{preview.size}; {preview.verdict}; a first deployment takes about {clock(preview.schedule.seconds).strip()}"
    yield ""
    for outcome in preview.outcomes:
        for urn, message in outcome.violations[:5]:
            sign = "🛑" if outcome.stops else "⚠️"
            # What a program says of itself may not become markup, nor call anybody.
            yield f"- {sign} **{outcome.rule.name}** <code>{_harmless(f'{place(urn)}: {message}')}</code>"
        if len(outcome.violations) > 5:
            yield f"- and {len(outcome.violations) - 5} more of {outcome.rule.name}"
    yield ""
    if preview.comparison and preview.comparison.diff:
        yield from _folded("Changes", changes(preview.comparison.diff), shown=_LINES)
    yield from _folded("Policies", policies(preview.outcomes), shown=60)
    yield from _folded("Critical path of a first deployment", path(preview.schedule), shown=40)


def _folded(title: str, lines: Iterator[str], shown: int) -> Iterator[str]:
    every = list(lines)
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield "<pre>"
    yield from (_harmless(line) for line in every[:shown])
    if len(every) > shown:
        yield f"… and {len(every) - shown} lines more: <code>make preview</code> shows them all"
    yield "</pre>"
    yield "</details>"
    yield ""


def _harmless(line: str) -> str:
    cut = line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]}…"
    return html.escape(cut, quote=False).replace("@", "@<!-- -->")
