"""A preview as a comment of a pull request: short enough to be read there, and never longer than one may be."""

import html
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from infra.plan.preview import Preview
from infra.plan.text import changes, clock, path, place, policies

# A comment holds 65536 characters, and more than one stack goes into it:
# https://github.com/orgs/community/discussions/27190
_LINE_LENGTH: Final = 200
_VIOLATIONS: Final = 15


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
    broken = [(outcome, *violation) for outcome in preview.outcomes for violation in outcome.violations]
    for outcome, urn, message in broken[:_VIOLATIONS]:
        sign = "🛑" if outcome.stops else "⚠️"
        # What a program says of itself may not become markup, nor call anybody.
        yield f"- {sign} **{outcome.rule.name}** <code>{_harmless(f'{place(urn)}: {message}')}</code>"
    if len(broken) > _VIOLATIONS:
        yield f"- and {len(broken) - _VIOLATIONS} more"
    yield ""
    if preview.comparison and preview.comparison.diff:
        yield from _folded("Changes", changes(preview.comparison.diff), room=10_000)
    yield from _folded("Policies", policies(preview.outcomes), room=6_000)
    yield from _folded("Critical path of a first deployment", path(preview.schedule), room=3_000)


def _folded(title: str, lines: Iterator[str], room: int) -> Iterator[str]:
    """A section of as many lines as have room, in characters as they are written."""
    every = [_harmless(line) for line in lines]
    ends = accumulate(len(line) + 1 for line in every)
    shown = every[: sum(end <= room for end in ends)]
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield "<pre>"
    yield from shown
    if len(every) > len(shown):
        yield f"… and {len(every) - len(shown)} lines more: <code>make preview</code> shows them all"
    yield "</pre>"
    yield "</details>"
    yield ""


def _harmless(line: str) -> str:
    cut = line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]}…"
    return html.escape(cut, quote=False).replace("@", "@<!-- -->")
