"""What the parts of the settings are made of."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from infra.config.types import Cpu, Memory, Positive


class Part(BaseModel):
    """A part of the tree: frozen, without unknown keys, in camelCase as Pulumi's stack files are.

    A rule that holds between its keys is a validator whose docstring is the rule, for the documentation, and whose
    message begins with one of the keys, for the error to lead to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Range(Part):
    """From how many to how many."""

    min: Annotated[int, Field(ge=0)]
    """The fewest."""
    max: Positive
    """The most."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        """min may not be above max."""
        if self.min > self.max:
            raise ValueError(f"min is {self.min} and max is {self.max}: min may not be above max")
        return self


class Resources(Part):
    """What a container asks for."""

    cpu: Cpu
    """What is kept for it; it may take more while nobody else needs it."""
    memory: Memory
    """What is kept for it, and its limit."""


def named_twice(values: tuple[str, ...]) -> str | None:
    """The first value that stands more than once."""
    return next((value for index, value in enumerate(values) if value in values[:index]), None)
