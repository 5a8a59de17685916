"""The report: Markdown tables, and each goal met or not, with what stands in the way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A number to reach, what was measured, and what stands in the way of the rest."""

    name: str
    sense: Literal[">=", "<="]
    limit: float
    measured: float
    unit: str = ""
    in_the_way: str = ""

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.sense == ">=" else self.measured <= self.limit

    def row(self) -> tuple[str, ...]:
        verdict = "met" if self.met else "**not met**"
        return (
            self.name,
            f"{self.sense} {number(self.limit)}{self.unit}",
            f"{number(self.measured)}{self.unit}",
            verdict,
            "" if self.met else self.in_the_way,
        )


def number(value: float) -> str:
    """Three significant digits, without a mathematician's exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
