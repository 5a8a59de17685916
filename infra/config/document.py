"""``python -m infra.config.document``: write docs/configuration.md from the tree of the settings."""

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, get_args, get_origin

from pydantic_core import PydanticUndefined

from infra.config.messages import GIVEN
from infra.config.part import Part
from infra.config.rules import RULES
from infra.config.settings import Settings
from infra.config.words import bare, choice, parts, settings_of, tag, words

PATH: Final = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"

_INTRODUCTION: Final = """\
# Configuration

What `Pulumi.<stack>.yaml` may say, under `config:`. Every key is `model-serving:` and a name of the first table, but
for the region, which is the AWS provider's own `aws:region`, and the secrets of the last one. A key that is not here is
refused, and so is a value that breaks a rule, before any resource is made.

`make docs` writes this page from the settings themselves.
"""

_KEYS: Final = """\
## Secrets

| Key | Meaning |
|---|---|
| `model-serving:apiKeys` | The keys of clients, with `ingress.authentication.kind: api-key`: a list of texts of 32 to 256 letters, digits, `_` and `-`. Set one with `pulumi config set --secret --path 'model-serving:apiKeys[0]' $(openssl rand -hex 32)`; more than one lets clients change theirs one after the other. |
| `model-serving:objectStoreKeys` | What `cluster.objectStore` asks for: `accessKeyId` and `secretAccessKey`. Set each with `pulumi config set --secret --path model-serving:objectStoreKeys.accessKeyId`. |
"""  # noqa: E501


def document() -> str:
    """The page, in Markdown."""
    sections = [_section(path, part) for path, part in _all_parts()]
    rules = "\n".join(f"- {rule.__doc__}" for rule in RULES)
    return "\n".join([_INTRODUCTION, *sections, _KEYS, f"## Rules between parts\n\n{rules}\n"])


def _tree(path: str, part: type[Part]) -> Iterator[tuple[str, type[Part]]]:
    """Every part, each before those inside of it, by its path."""
    yield path, part
    for key, annotation in settings_of(part).items():
        below = f"{path}.{key}".removeprefix(".")
        value = annotation
        if get_origin(bare(annotation)) is dict:
            value, below = get_args(bare(annotation))[1], f"{below}.<name>"
        for inner in parts(value):
            yield from _tree(below, inner)


def _section(path: str, part: type[Part]) -> str:
    title, introduction = (f"`{path}`", _flat(part.__doc__)) if path else ("The stack", "")
    # The title says it; and the stack's name is the file's.
    told = "stack"
    if len(_siblings(path)) > 1:
        told, value = tag(part)
        title += f" with `{told}: {value}`"
    keys = [_row(key, annotation, part) for key, annotation in settings_of(part).items() if key != told]
    table = ["| Key | What it is | Default | Meaning |", "|---|---|---|---|", *keys] if keys else []
    rules = [f"- {_flat(rule)}" for rule in _rules(part)]
    blocks = [f"## {title}", introduction, "\n".join(table), "\n".join(rules)]
    return "\n\n".join(block for block in blocks if block) + "\n"


@cache
def _all_parts() -> list[tuple[str, type[Part]]]:
    """Without those that two parts of a union have in common."""
    return list(dict.fromkeys(_tree("", Settings)))


def _siblings(path: str) -> list[type[Part]]:
    return [part for its_path, part in _all_parts() if its_path == path]


def _row(key: str, annotation: Any, part: type[Part]) -> str:
    name, field = next((name, field) for name, field in part.model_fields.items() if (field.alias or name) == key)
    if field.is_required():
        default = "required"
    else:
        value = field.get_default(call_default_factory=True)
        default = "" if value is None or value is PydanticUndefined else f"`{_yaml(value)}`"
    shown = GIVEN.get(key, key) if part is Settings else key
    cells = (f"`{shown}`", _kind(annotation), default, _flat(_descriptions(part).get(name, "")))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _kind(annotation: Any) -> str:
    """What a setting is; of a part only that it is one, since it has a table of its own."""
    plain = bare(annotation)
    if get_origin(plain) is dict and parts(get_args(plain)[1]):
        return f"by name ({words(get_args(plain)[0])})"
    found = parts(plain)
    if len(found) > 1:
        return f"settings with {tag(found[0])[0]} {choice(tag(part)[1] for part in found)}"
    return "settings" if found else words(annotation)


def _yaml(value: Any) -> str:
    plain = value.model_dump(by_alias=True, exclude_none=True) if isinstance(value, Part) else value
    return json.dumps(plain)


def _rules(part: type[Part]) -> list[str]:
    """The docstrings of the part's rules between its keys."""
    names = part.__pydantic_decorators__.model_validators
    return [str(getattr(part, name).__doc__) for name in names]


def _descriptions(part: type[Part]) -> Mapping[str, str]:
    """What is written under each setting, those of the part's bases included."""
    found: dict[str, str] = {}
    for base in reversed(part.__mro__):
        if issubclass(base, Part) and base is not Part:
            found |= _written(inspect.getmodule(base)).get(base.__name__, {})
    return found


@cache
def _written(module: ModuleType) -> Mapping[str, Mapping[str, str]]:
    """The texts under the attributes of a module's classes."""
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    return {
        node.name: {
            attribute.target.id: text.value.value
            for attribute, text in zip(node.body, node.body[1:], strict=False)
            if isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        }
        for node in classes
    }


def _flat(text: str | None) -> str:
    return " ".join((text or "").replace("``", "`").split())


if __name__ == "__main__":
    PATH.write_text(document())
