"""A stack file, ``Pulumi.<stack>.yaml``, read without Pulumi."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from infra.config import Settings, SettingsError, of_stack
from infra.conventions import PROJECT

_NOT_JSON: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("binary", "omap", "pairs", "set", "timestamp"))


class _Loader(yaml.SafeLoader):
    """As Pulumi reads it: each key stands once, and values are those of JSON, so that a date is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NOT_JSON]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: constructor for tag, constructor in yaml.SafeLoader.yaml_constructors.items() if tag not in _NOT_JSON
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; raises ConstructorError for a key that stands twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """What a stack file says."""

    path: Path
    config: Mapping[str, Any]
    """Every value by its whole key, such as ``aws:region``; a secret is a stand-in that changes when it does."""
    secrets: frozenset[str]
    """The keys whose values are, or hold, a secret."""

    @property
    def as_pulumi_config(self) -> dict[str, str]:
        """The values as Pulumi hands them to a program: text, or JSON."""
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in self.config.items()}

    @property
    def settings(self) -> Settings:
        """What it says of this project; raises SettingsError for what is wrong there."""
        return of_stack(self.path.name.split(".")[1], self.as_pulumi_config)


def read(stack: str, folder: Path) -> StackFile:
    """Read the file of a stack; raises SettingsError if it is not there or is not one."""
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        document = yaml.load(path.read_text(), _Loader)  # noqa: S506 - a safe one
    except FileNotFoundError:
        others = ", ".join(sorted(it.name.split(".")[1] for it in folder.glob("Pulumi.*.yaml")))
        raise SettingsError(f"{path.name}: there is no such file; the stacks here are: {others or 'none'}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name}: cannot be read: {_reason(error)}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path.name}: is not YAML{_where(error)}") from None
    except ValueError:
        raise SettingsError(f"{path.name}: holds a number of more digits than can be read") from None
    if document is None:
        document = {}
    config = document.get("config", {}) if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping):
        raise SettingsError(f"{path.name}: must have a mapping called config, as `pulumi config set` writes it")
    for key in config:
        if ":" not in str(key):
            raise SettingsError(f"{path.name}: {key} has no namespace: write {PROJECT}:{key}")
    try:
        readable = {key: _without_secrets(value) for key, value in config.items()}
    except RecursionError:
        raise SettingsError(f"{path.name}: holds a value that is a part of itself") from None
    return StackFile(
        path=path,
        config=readable,
        secrets=frozenset(key for key, value in config.items() if readable[key] != value),
    )


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else "it is not UTF-8"


def _where(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f": line {error.problem_mark.line + 1}: {error.problem}"
    return ""


def _without_secrets(value: Any) -> Any:
    match value:
        case {"secure": ciphertext, **rest} if not rest:
            return hashlib.sha256(str(ciphertext).encode()).hexdigest()
        case Mapping():
            return {key: _without_secrets(item) for key, item in value.items()}
        case list():
            return [_without_secrets(item) for item in value]
        case _:
            return value
