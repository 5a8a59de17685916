"""A setting's type in the words of a person who writes a stack file, for errors and for the documentation."""

from collections.abc import Iterable, Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic.fields import FieldInfo

from infra.config.part import Part
from infra.config.types import Rule


def settings_of(part: type[Part]) -> dict[str, Any]:
    """The annotations of a part's settings, by the keys that stack files use."""
    hints = get_type_hints(part, include_extras=True)
    return {field.alias or name: hints[name] for name, field in part.model_fields.items()}


def bare(annotation: Any) -> Any:
    """A type without what is annotated, and without the None that a setting may be left out with."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        others = [it for it in get_args(annotation) if it is not NoneType]
        if len(others) == 1:
            return bare(others[0])
        return Union[tuple(others)]  # noqa: UP007
    return annotation


def parts(annotation: Any) -> Sequence[type[Part]]:
    """The parts that a setting may be: one, several that a key tells apart, or none if it is a plain value."""
    plain = bare(annotation)
    members = [bare(it) for it in get_args(plain)] if get_origin(plain) is Union else [plain]
    return [it for it in members if isinstance(it, type) and issubclass(it, Part)]


def tag(part: type[Part]) -> tuple[str, str]:
    """The key that tells a part from the others of its union, and its value: ``kind`` and ``eks``.

    Raises StopIteration for a part that has none.
    """
    return next(
        (key, get_args(bare(annotation))[0])
        for key, annotation in settings_of(part).items()
        if get_origin(bare(annotation)) is Literal and len(get_args(bare(annotation))) == 1
    )


def choice(values: Iterable[Any]) -> str:
    """One of several: ``a, b or c``."""
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


def words(annotation: Any) -> str:
    """What a setting must be, to follow "must be": ``a whole number of at least 1``."""
    facts = list(_facts(annotation))
    if rules := [fact.words for fact in facts if isinstance(fact, Rule)]:
        return "; ".join(rules)
    plain = bare(annotation)
    if found := parts(plain):
        return _mapping(found)
    origin, arguments = get_origin(plain), get_args(plain)
    if origin is Literal:
        return choice(arguments)
    if origin in (dict, tuple):
        return _list(arguments, facts) if origin is tuple else _named(arguments[1], facts)
    return _number(facts) if plain is int else {bool: "true or false"}.get(plain, "text")


def _mapping(found: Sequence[type[Part]]) -> str:
    if len(found) == 1:
        return f"a mapping with {', '.join(settings_of(found[0]))}"
    return f"a mapping with {tag(found[0])[0]} {choice(tag(part)[1] for part in found)}"


def _named(value: Any, facts: Sequence[Any]) -> str:
    at_least = "at least one name" if any(isinstance(fact, MinLen) for fact in facts) else "names"
    return f"a mapping from {at_least} to {'settings' if parts(value) else words(value)}"


def _list(items: tuple[Any, ...], facts: Sequence[Any]) -> str:
    if items[-1] is not Ellipsis:
        return f"a list of {len(items)}, each {words(items[0])}"
    least = next((fact.min_length for fact in facts if isinstance(fact, MinLen)), None)
    most = next((fact.max_length for fact in facts if isinstance(fact, MaxLen)), None)
    many = f" of {least} to {most}" if most else f" of at least {least}" if least else ""
    return f"a list{many}, each {words(items[0])}"


def _number(facts: Sequence[Any]) -> str:
    least = next((fact.ge for fact in facts if isinstance(fact, Ge)), None)
    most = next((fact.le for fact in facts if isinstance(fact, Le)), None)
    if most is not None:
        return f"a whole number from {least} to {most}"
    return "a whole number" if least is None else f"a whole number of at least {least}"


def _facts(annotation: Any) -> Iterator[Any]:
    """All that is annotated, inside of an optional type as well."""
    if get_origin(annotation) is Annotated:
        plain, *facts = get_args(annotation)
        for fact in facts:
            yield from fact.metadata if isinstance(fact, FieldInfo) else [fact]
        yield from _facts(plain)
    elif get_origin(annotation) in (Union, UnionType):
        others = [it for it in get_args(annotation) if it is not NoneType]
        if len(others) == 1:
            yield from _facts(others[0])
