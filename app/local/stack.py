"""The stack file of this machine, ``local.yaml``: read, checked, and edited without losing its comments."""

import re
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from app.gateway import routing
from app.local.errors import LocalError
from app.local.files import write

VersionNumber = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Versions(_Strict, frozen=True, kw_only=True):
    """Which versions are served."""

    stable: VersionNumber
    canary: VersionNumber | None = None


class Canary(_Strict, frozen=True, kw_only=True):
    """How the canary is tried."""

    strategy: Literal["weighted"]
    weight: Annotated[int, msgspec.Meta(ge=0, le=100)]
    """Its share of the predictions, in percent."""


class Model(_Strict, frozen=True, kw_only=True):
    """One model; what only a cluster can do (GPUs, containers, progressive canaries) is refused."""

    runtime: Literal["tensorflow"] = "tensorflow"
    accelerator: Literal["cpu"] = "cpu"
    versions: Versions
    canary: Canary | None = None
    input: routing.Input
    output: routing.Output

    @property
    def weights(self) -> dict[int, int]:
        """The share of each version, in percent, the stable one first."""
        if self.versions.canary is None or self.canary is None:
            return {self.versions.stable: 100}
        return {self.versions.stable: 100 - self.canary.weight, self.versions.canary: self.canary.weight}


class Ports(_Strict, frozen=True, kw_only=True):
    """The ports on the loopback address."""

    gateway: Port
    mesh: Port
    mesh_admin: Port
    store: Port
    pictures: Port
    serving: Annotated[int, msgspec.Meta(ge=1024, le=65000)]
    """The first of those that the model servers choose from."""


class Stack(_Strict, frozen=True, kw_only=True):
    """Everything that the platform on this machine is to be."""

    default_model: str
    models: dict[routing.Name, Model]
    image_hosts: routing.ImageHosts
    ports: Ports


def load(path: Path) -> Stack:
    """Read a stack file; raises LocalError, naming file, key, value and rule."""
    document = _read(path, YAML(typ="safe"))
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict) or not document["models"]:
        raise LocalError(f"{path}: there is no mapping `models` with at least one model in it")
    for name, model in document["models"].items():
        # By themselves first: msgspec does not name the key of a mapping in which something is wrong.
        _convert(model, Model, path, "models", str(name))
    stack: Stack = _convert(document, Stack, path)
    for name, model in stack.models.items():
        _check_canary(model, f"{path}: models.{name}")
    if stack.default_model not in stack.models:
        known = ", ".join(stack.models)
        raise LocalError(f"{path}: default_model is {stack.default_model!r}: it must be one of the models ({known})")
    ports = msgspec.structs.asdict(stack.ports)
    for name, port in ports.items():
        if twin := next((other for other in ports if other != name and ports[other] == port), None):
            raise LocalError(f"{path}: ports.{name} and ports.{twin} are both {port}: each needs its own")
    return stack


def promote(path: Path, model: str) -> int:
    """Make the model's canary its stable version, in the file; returns that version."""
    document = _model_in(path, model)
    entry = document["models"][model]
    if "canary" not in entry["versions"]:
        raise LocalError(
            f"{path}: models.{model}.versions has no canary to promote; it is at {entry['versions']['stable']}"
        )
    promoted = int(entry["versions"].pop("canary"))
    entry["versions"]["stable"] = promoted
    del entry["canary"]
    _write(path, document)
    return promoted


def set_weight(path: Path, model: str, weight: int) -> None:
    """Give the model's canary another share of the predictions, in the file."""
    document = _model_in(path, model)
    entry = document["models"][model]
    if "canary" not in entry:
        raise LocalError(f"{path}: models.{model} has no canary, so there is nothing to weigh")
    _convert({"strategy": "weighted", "weight": weight}, Canary, path, "models", model, "canary")
    entry["canary"]["weight"] = weight
    _write(path, document)


def _model_in(path: Path, model: str) -> Any:
    stack = load(path)
    if model not in stack.models:
        raise LocalError(f"{path}: there is no model {model!r}; there are {', '.join(stack.models)}")
    return _read(path, _commented())


def _commented() -> YAML:
    """Keeps comments and layout, at the price of types of its own."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _read(path: Path, yaml: YAML) -> Any:
    try:
        return yaml.load(path)
    except FileNotFoundError:
        raise LocalError(f"{path}: there is no such file: the platform needs its stack file there") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    except YAMLError as error:
        raise LocalError(f"{path}: not YAML: {_one_line(error)}") from None


def _write(path: Path, document: Any) -> None:
    text = StringIO()
    _commented().dump(document, text)
    write(path, text.getvalue())


def _check_canary(model: Model, where: str) -> None:
    if (model.versions.canary is None) != (model.canary is None):
        present, missing = ("canary", "versions.canary") if model.canary else ("versions.canary", "canary")
        raise LocalError(
            f"{where}: {present} is set and {missing} is not: a canary needs both, its version and its weight"
        )
    if model.versions.canary == model.versions.stable:
        raise LocalError(f"{where}.versions: stable and canary are both {model.versions.stable}: they must differ")


def _convert(document: Any, to: Any, path: Path, *place: str) -> Any:
    """``document``, which stands at ``place`` in the file, as ``to``."""
    try:
        return msgspec.convert(document, to)
    except msgspec.ValidationError as error:
        rule, _, inner = str(error).partition(" - at `$")
        keys = re.findall(r"[^.\[\]`]+", inner)
        value = document
        for key in keys:
            value = value[int(key)] if isinstance(value, list) else value.get(key)
        said = "" if isinstance(value, dict) else f" is {value!r}"
        rule = rule[:1].lower() + rule[1:]
        raise LocalError(f"{path}: {'.'.join([*place, *keys]) or 'the file'}{said}: {rule}") from None


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))
