"""A stack file, ``Pulumi.<stack>.yaml``, read without Pulumi."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.config import Settings, SettingsError, of_stack
from infra.conventions import PROJECT


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
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        others = ", ".join(sorted(it.name.split(".")[1] for it in folder.glob("Pulumi.*.yaml")))
        raise SettingsError(f"{path.name}: there is no such file; the stacks here are: {others or 'none'}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name}: cannot be read: {_reason(error)}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path.name}: is not YAML{_where(error)}") from None
    if document is None:
        document = {}
    config = document.get("config", {}) if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping):
        raise SettingsError(f"{path.name}: must have a mapping called config, as `pulumi config set` writes it")
    for key in config:
        if ":" not in str(key):
            raise SettingsError(f"{path.name}: {key} has no namespace: write {PROJECT}:{key}")
    return StackFile(
        path=path,
        config={key: _without_secrets(value) for key, value in config.items()},
        secrets=frozenset(key for key, value in config.items() if _without_secrets(value) != value),
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
