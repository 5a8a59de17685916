"""The stack as a drawing: a box for each stage, and an arrow to each that waits for it.

A stage stands in the column after the last one that it waits for, so that what is side by side is made at the same
time. The longest chain is the top row; every other chain has a row, and its arrows the way to the right, for itself.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from infra.plan.evaluate import Evaluation, Resource
from infra.plan.markup import element
from infra.plan.preview import Preview
from infra.plan.stages import Stage, stage_of, stages
from infra.plan.tree import short_type

_BOX: Final = 206
_GUTTER: Final = 40
_LINE: Final = 19
_HEAD: Final = 30
_MARGIN: Final = 12
_KINDS: Final = 16
_KIND_LENGTH: Final = 21


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stage stands."""

    column: int
    row: int


def layout(stages: Sequence[Stage]) -> Mapping[str, Place]:
    """A place for each stage; they come each after those that it waits for."""
    columns: dict[str, int] = {}
    for stage in stages:
        columns[stage.name] = max((columns[it] + 1 for it in stage.waits_for if it in columns), default=0)
    used_by: dict[str, list[str]] = defaultdict(list)
    for stage in stages:
        for it in stage.waits_for:
            used_by[it].append(stage.name)
    waits_for = {stage.name: stage.waits_for for stage in stages}

    places: dict[str, Place] = {}
    taken: dict[int, set[int]] = defaultdict(set)
    while left := [name for name in columns if name not in places]:
        chain = _chain(max(left, key=lambda name: (columns[name], name)), waits_for, columns, places)
        # Its last arrow goes on to the right, until the column before the stage that it leads to.
        until = max((columns[it] - 1 for it in used_by[chain[-1]]), default=columns[chain[-1]])
        wanted = set(range(columns[chain[0]], max(until, columns[chain[-1]]) + 1))
        row = next(row for row in range(len(columns) + 1) if not taken[row] & wanted)
        taken[row] |= wanted
        places.update({name: Place(column=columns[name], row=row) for name in chain})
    return places


def _chain(
    last: str, waits_for: Mapping[str, frozenset[str]], columns: Mapping[str, int], placed: Mapping[str, Place]
) -> list[str]:
    chain = [last]
    while before := [it for it in waits_for[chain[0]] if it in columns and it not in placed]:
        chain.insert(0, max(before, key=lambda name: (columns[name], name)))
    return chain


@dataclass(frozen=True, kw_only=True)
class _Kind:
    name: str
    resources: tuple[Resource, ...]
    marks: Counter[str]


def graph(preview: Preview) -> Element:
    """The drawing, as SVG; colors come from the page's classes."""
    found = stages(preview.evaluation)
    places = layout(found)
    kinds = _kinds(preview, found)
    heights = {name: _HEAD + _LINE * min(len(of_stage), _KINDS + 1) + 10 for name, of_stage in kinds.items()}
    rows = 1 + max((place.row for place in places.values()), default=-1)
    tops = [float(_MARGIN)]
    for row in range(rows):
        tallest = max(heights[name] for name, place in places.items() if place.row == row)
        tops.append(tops[-1] + tallest + 26)
    columns = 1 + max((place.column for place in places.values()), default=0)
    width = 2 * _MARGIN + columns * (_BOX + _GUTTER) - _GUTTER

    def corner(name: str) -> tuple[float, float]:
        place = places[name]
        return _MARGIN + place.column * (_BOX + _GUTTER), tops[place.row]

    arrows = [_arrow(corner(before), corner(stage.name)) for stage in found for before in sorted(stage.waits_for)]
    boxes = [_box(stage.name, corner(stage.name), heights[stage.name], kinds[stage.name]) for stage in found]
    tip = element("path", d="M0,0 L8,4 L0,8 z", class_="tip")
    marker = element("marker", tip, id="tip", markerWidth=8, markerHeight=8, refX=7.5, refY=4, orient="auto")
    return element(
        "svg",
        element("title", f"The stages of {preview.evaluation.stack}, and what waits for what"),
        element("defs", marker),
        *arrows,
        *boxes,
        viewBox=f"0 0 {width} {tops[-1] - 14:.0f}",
        width=width,
        role="img",
        class_="graph",
    )


def _kinds(preview: Preview, found: Sequence[Stage]) -> Mapping[str, list[_Kind]]:
    """What each stage holds, by kind, with what changes; kinds that are gone are those of the comparison."""
    marks: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    if preview.comparison:
        diff = preview.comparison.diff
        for sign, resources, evaluation in (
            ("+", diff.added, preview.evaluation),
            ("~", [it.resource for it in diff.changed if not it.replaced], preview.evaluation),
            ("±", [it.resource for it in diff.changed if it.replaced], preview.evaluation),
            ("−", diff.removed, preview.comparison.before),  # noqa: RUF001 - the sign, not the hyphen
        ):
            for place in _where(resources, evaluation):
                marks[place][sign] += 1
    result: dict[str, list[_Kind]] = {}
    for stage in found:
        held: dict[str, list[Resource]] = defaultdict(list)
        for resource in stage.resources:
            held[short_type(resource)].append(resource)
        for name, kind in marks:
            if name == stage.name:
                held.setdefault(kind, [])
        result[stage.name] = [
            _Kind(name=kind, resources=tuple(held[kind]), marks=marks[stage.name, kind])
            for kind in sorted(held, key=lambda kind: (-len(held[kind]), kind))
        ]
    return result


def _where(resources: Sequence[Resource], evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    of = stage_of(evaluation)
    yield from ((of[it.urn], short_type(it)) for it in resources if not it.component)


def _box(name: str, corner: tuple[float, float], height: float, kinds: Sequence[_Kind]) -> Element:
    x, y = corner
    shown = kinds if len(kinds) <= _KINDS + 1 else kinds[:_KINDS]
    lines = [_line(kind, x, y + _HEAD + _LINE * (index + 1) - 4) for index, kind in enumerate(shown)]
    if len(shown) < len(kinds):
        more = f"and {len(kinds) - len(shown)} kinds more"
        lines.append(element("text", more, x=x + 12, y=y + _HEAD + _LINE * (len(shown) + 1) - 4, class_="quiet"))
    count = sum(len(kind.resources) for kind in kinds)
    return element(
        "g",
        element("rect", x=x, y=y, width=_BOX, height=height, rx=8, class_="box"),
        element("text", name, x=x + 12, y=y + 20, class_="head"),
        element("text", str(count), x=x + _BOX - 12, y=y + 20, text_anchor="end", class_="quiet"),
        *lines,
    )


def _line(kind: _Kind, x: float, y: float) -> Element:
    names = "\n".join(it.name for it in kind.resources[:40])
    later = "*" if any(it.expands_at_deployment for it in kind.resources) else ""
    signs = [
        element("tspan", f" {sign}{count}", class_=_SIGN_CLASSES[sign]) for sign, count in sorted(kind.marks.items())
    ]
    return element(
        "g",
        element("title", f"{kind.name}\n{names}"),
        element("text", str(len(kind.resources)), x=x + 34, y=y, text_anchor="end", class_="number"),
        element("text", _cut(_plain(kind.name), _KIND_LENGTH - 3 * len(signs)) + later, x=x + 42, y=y, class_="kind"),
        element("text", *signs, x=x + _BOX - 10, y=y, text_anchor="end"),
    )


def _plain(kind: str) -> str:
    package, _, name = kind.rpartition("/" if kind.startswith("aws:") else ":")
    return f"{name} provider" if package == "pulumi:providers" else name


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


_SIGN_CLASSES: Final = {"+": "added", "~": "changed", "±": "replaced", "−": "removed"}  # noqa: RUF001


def _arrow(before: tuple[float, float], after: tuple[float, float]) -> Element:
    """From the right of one box to the left of another: along the row of the one, then up or down beside the other."""
    x1, y1 = before[0] + _BOX, before[1] + 15
    x2, y2 = after[0], after[1] + 15
    middle, bend = x2 - _GUTTER / 2, 8.0
    if y1 == y2:
        path = f"M{x1},{y1} H{x2}"
    else:
        turn = bend if y2 > y1 else -bend
        path = (
            f"M{x1},{y1} H{middle - bend} Q{middle},{y1} {middle},{y1 + turn}"
            f" V{y2 - turn} Q{middle},{y2} {middle + bend},{y2} H{x2}"
        )
    return element("path", d=path, class_="arrow", marker_end="url(#tip)")
