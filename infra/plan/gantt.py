"""A first deployment as a drawing: a row for each stage, a bar for each resource, the critical chain in color."""

from typing import Final
from xml.etree.ElementTree import Element

from infra.plan.critical_path import Step
from infra.plan.markup import element
from infra.plan.preview import Preview
from infra.plan.stages import stage_of, stages
from infra.plan.text import clock

_NAMES: Final = 120
_CHART: Final = 880
_ROW: Final = 26
_AXIS: Final = 24


def gantt(preview: Preview) -> Element:
    """The drawing, as SVG."""
    of = stage_of(preview.evaluation)
    names = [stage.name for stage in stages(preview.evaluation)]
    total = max(preview.schedule.seconds, 60)
    critical = {step.resource.urn for step in preview.schedule.critical}
    bottom = len(names) * _ROW
    parts: list[Element] = []
    minutes = total // 60
    for minute in range(0, minutes + 1, max(1, minutes // 8)):
        x = _x(minute * 60, total)
        parts.append(element("path", d=f"M{x:.1f},0 V{bottom}", class_="grid"))
        parts.append(element("text", f"{minute} min", x=x, y=bottom + 16, text_anchor="middle", class_="quiet"))
    for row, name in enumerate(names):
        parts.append(element("text", name, x=_NAMES - 10, y=row * _ROW + 17, text_anchor="end", class_="kind"))
        own = [step for urn, step in preview.schedule.steps.items() if of[urn] == name]
        # Many are made at the same time: one bar says so as well as a hundred.
        spans = {(step.begins, step.ends): step for step in own if step.resource.urn not in critical}
        parts += [_bar(step, row, total, "bar") for step in spans.values() if step.ends > step.begins]
        parts += [_bar(step, row, total, "bar critical") for step in own if step.resource.urn in critical]
    return element(
        "svg",
        element("title", "When what is made, in a first deployment"),
        *parts,
        viewBox=f"0 0 {_NAMES + _CHART + 40} {bottom + _AXIS}",
        width=_NAMES + _CHART + 40,
        role="img",
        class_="gantt",
    )


def _bar(step: Step, row: int, total: int, class_: str) -> Element:
    x, end = _x(step.begins, total), _x(step.ends, total)
    said = f"{step.resource.name}: {clock(step.begins).strip()} to {clock(step.ends).strip()}"
    width = max(end - x - 0.5, 1.5)
    return element(
        "rect", element("title", said), x=x, y=row * _ROW + 6, width=width, height=_ROW - 12, rx=2, class_=class_
    )


def _x(seconds: int, total: int) -> float:
    return _NAMES + _CHART * seconds / total
