"""What is wrong with a setting, in one line: the key, the value, the rule, and the fix where it is not plain."""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args, get_origin

from pydantic_core import ErrorDetails

from infra.config.part import Part
from infra.config.settings import Settings
from infra.config.words import bare, choice, parts, settings_of, tag, words

GIVEN: Final = {"stack": "the stack's name", "region": "aws:region"}
"""Settings that do not come from a key of this project, and where they come from."""

_VALUE_LENGTH: Final = 60


def lines(errors: Sequence[ErrorDetails]) -> Iterator[str]:
    """A line for each of pydantic's errors."""
    for error in errors:
        location = error["loc"]
        # Items that are wrong are not counted: the list is then too short for no reason of its own.
        inside = any(other["loc"][: len(location)] == location for other in errors if other is not error)
        if not (error["type"] == "too_short" and inside):
            yield _line(error)


def _line(error: ErrorDetails) -> str:
    place, value = _place(error["loc"]), error["input"]
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(place)
        case "missing":
            return f"{place.key} is missing: it must be {words(place.annotation)}"
        case "union_tag_not_found" | "union_tag_invalid":
            return _unknown_tag(place, value)
        case "value_error" if parts(place.annotation):
            return f"{place.key}.{error['ctx']['error']}".removeprefix(".")
        case "value_error":
            rule = str(error["ctx"]["error"])
        case "string_type" if isinstance(value, bool | int | float):
            rule = f"{words(place.annotation).removesuffix(', in quotes')}, in quotes"
        case _:
            rule = words(place.annotation)
    if place.is_name:
        return f"{place.key} has a name that cannot be: it must be {rule}"
    allowed = get_args(bare(place.annotation)) if error["type"] == "literal_error" else ()
    return f"{place.key} is {_shown(value)}: it must be {rule}{_nearest(value, allowed)}"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where an error is."""

    key: str
    """As it is written in the stack file: ``models.clothing.input.size[0]``."""
    annotation: Any
    """What must stand there; None for an unknown key."""
    within: type[Part]
    """The innermost part around it."""
    is_name: bool = False
    """Whether not the value is meant but the name that it stands under."""


def _place(location: tuple[int | str, ...]) -> _Place:
    """Follow the tree along pydantic's location, which holds the tags of unions beside keys."""
    key, within = "", cast(type[Part], Settings)
    annotation: Any = Settings
    name_of: Any = None
    for step in location:
        choices = parts(annotation)
        plain = bare(annotation)
        if step == "[key]":
            return _Place(key=key, annotation=name_of, within=within, is_name=True)
        if len(choices) > 1:
            annotation = within = next(part for part in choices if tag(part)[1] == step)
        elif choices:
            within = choices[0]
            annotation = settings_of(within).get(str(step))
            key = f"{key}.{step}" if key else GIVEN.get(str(step), str(step))
        elif get_origin(plain) is tuple:
            annotation = get_args(plain)[0]
            key = f"{key}[{step}]"
        else:
            name_of, annotation = get_args(plain)
            key = f"{key}.{step}"
    return _Place(key=key, annotation=annotation, within=within)


def _unknown_key(place: _Place) -> str:
    known = [key for key in settings_of(place.within) if not (place.within is Settings and key in GIVEN)]
    _, _, last = place.key.rpartition(".")
    return f"{place.key} is not a setting{_nearest(last, known)}; the settings here are {', '.join(sorted(known))}"


def _unknown_tag(place: _Place, value: Any) -> str:
    """A union of parts, and the key that tells them apart is missing or has an unknown value."""
    tags = [tag(part) for part in parts(place.annotation)]
    key, allowed = f"{place.key}.{tags[0][0]}", [name for _, name in tags]
    given = value.get(tags[0][0])
    if given is None:
        return f"{key} is missing: it must be {choice(allowed)}"
    return f"{key} is {_shown(given)}: it must be {choice(allowed)}{_nearest(given, allowed)}"


def _nearest(value: Any, allowed: Iterable[Any]) -> str:
    found = difflib.get_close_matches(str(value), map(str, allowed), n=1)
    return f" (did you mean {found[0]}?)" if found else ""


def _shown(value: Any) -> str:
    """A value nearly as a stack file has it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _VALUE_LENGTH else f"{text[:_VALUE_LENGTH]}…"
