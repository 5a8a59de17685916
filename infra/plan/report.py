"""A preview as one page that needs nothing else: no script, no font, no picture from elsewhere."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from infra.plan.diff import Change, Changed
from infra.plan.evaluate import Resource
from infra.plan.gantt import gantt
from infra.plan.graph import graph
from infra.plan.markup import Content, element, written
from infra.plan.preview import Comparison, Preview
from infra.plan.text import change_line, clock, mark_of, place, refusal
from infra.plan.tree import counts, short_type, tree
from infra.policies.rule import Outcome

_STYLE: Final = Path(__file__).with_suffix(".css")


def report(preview: Preview) -> str:
    """The page's HTML."""
    title = f"Stack {preview.evaluation.stack}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", _STYLE.read_text()),
    )
    duration = clock(preview.schedule.seconds).strip()
    body = element(
        "body",
        element("h1", title),
        element("p", f"{preview.size}. {preview.verdict}."),
        preview.changes and element("p", f"{preview.changes}."),
        element("h2", "Stages"),
        element("p", "An arrow leads to what waits. * expands at deployment.", class_="quiet"),
        element("div", graph(preview), class_="drawing"),
        *_changes(preview.comparison),
        element("h2", "Policies"),
        _policies(preview.outcomes),
        element("h2", f"A first deployment: about {duration} minutes"),
        element("p", "From published durations. The chain in color is what the end waits for.", class_="quiet"),
        element("div", gantt(preview), class_="drawing"),
        _path(preview),
        element("h2", "Resources"),
        _folded("By kind", element("table", *(_row(str(count), kind) for kind, count in counts(preview.evaluation)))),
        _folded("As a tree", element("pre", "\n".join(tree(preview.evaluation)))),
    )
    return "<!doctype html>\n" + written(element("html", head, body, lang="en")) + "\n"


def _changes(comparison: Comparison | None) -> Iterable[Element]:
    if comparison is None:
        return
    yield element("h2", f"Changes against {comparison.named}")
    diff = comparison.diff
    rows = [_changed(changed) for changed in diff.changed]
    rows += [_whole("+", "added", resource) for resource in diff.added]
    rows += [_whole("−", "removed", resource) for resource in diff.removed]  # noqa: RUF001 - the sign, not the hyphen
    if diff.outputs:
        rows.append(
            element("tr", element("td", "~", class_="changed"), element("td", "outputs", _properties(diff.outputs)))
        )
    yield element("table", *rows) if rows else element("p", "Nothing.")


def _whole(sign: str, class_: str, resource: Resource) -> Element:
    name = resource.name + (refusal(resource) if class_ == "removed" else "")
    return element("tr", element("td", sign, class_=class_), element("td", name), _type(resource))


def _changed(changed: Changed) -> Element:
    class_ = "replaced" if changed.replaced else "changed"
    return element(
        "tr",
        element("td", mark_of(changed), class_=class_),
        element(
            "td",
            changed.resource.name,
            f" (replaced){refusal(changed.resource)}" if changed.replaced else None,
            _properties(changed.changes),
        ),
        _type(changed.resource),
    )


def _properties(changes: Iterable[Change]) -> Element:
    return element("ul", *(element("li", element("code", change_line(it))) for it in changes))


def _type(resource: Resource) -> Element:
    return element("td", short_type(resource), class_="quiet")


def _policies(outcomes: Iterable[Outcome]) -> Element:
    return element("table", *(_policy(outcome) for outcome in outcomes))


def _policy(outcome: Outcome) -> Element:
    class_, word = "good", "kept"
    if outcome.violations:
        class_, word = ("bad", "broken") if outcome.stops else ("warn", "warning")
    details: list[Content] = [outcome.rule.description]
    if outcome.unknown:
        details.append(element("span", f" {len(outcome.unknown)} not known before deployment.", class_="quiet"))
    if outcome.violations:
        details.append(
            element("ul", *(element("li", f"{place(urn)}: {message}") for urn, message in outcome.violations))
        )
    return element("tr", element("td", word, class_=class_), element("td", outcome.rule.name), element("td", *details))


def _path(preview: Preview) -> Element:
    steps = (
        _row(f"{clock(step.begins)} – {clock(step.ends)}", step.resource.name, short_type(step.resource))  # noqa: RUF001
        for step in preview.schedule.critical
    )
    return element("table", *steps)


def _row(*cells: str) -> Element:
    first, *others = cells
    return element("tr", element("td", first, class_="time"), *(element("td", cell) for cell in others))


def _folded(title: str, content: Element) -> Element:
    return element("details", element("summary", title), content)
