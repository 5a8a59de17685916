"""Which versions are loaded: the highest in the model's directory, as TensorFlow Serving's default policy has it."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from app.local.model_server.servable import Servable, ServingError

_log = logging.getLogger(__name__)
_State = get_model_status_pb2.ModelVersionStatus.State


@dataclass
class _Version:
    state: int
    servable: Servable | None = None
    error: str = ""


class Versions:
    """The versions of one model, followed on disk for as long as ``follow`` runs."""

    def __init__(self, model: str, directory: Path) -> None:
        self.model = model
        self._directory = directory
        self._versions: dict[int, _Version] = {}

    async def follow(self, poll_seconds: float) -> None:
        """Load the highest version found, then unload the others; if it cannot be loaded, they stay."""
        while True:
            found = {int(path.name) for path in self._directory.glob("*") if path.name.isdecimal() and path.is_dir()}
            highest = max(found, default=None)
            if highest is not None and not self._is_known(highest):
                await self._load(highest)
            if highest is None or self._versions[highest].state == _State.AVAILABLE:
                for version, entry in self._versions.items():
                    if version != highest and entry.state == _State.AVAILABLE:
                        self._unload(version, entry)
            await asyncio.sleep(poll_seconds)

    def _is_known(self, version: int) -> bool:
        """Whether it is loaded or failed to load; what was unloaded may be loaded again."""
        entry = self._versions.get(version)
        return entry is not None and (entry.state != _State.END or bool(entry.error))

    async def _load(self, version: int) -> None:
        entry = self._versions[version] = _Version(_State.LOADING)
        _log.info("%s version %d: loading", self.model, version)
        try:
            entry.servable = await asyncio.to_thread(Servable, version, self._directory / str(version))
        except Exception as error:  # Whatever is wrong with a model, its server stays up and says so.
            entry.state, entry.error = _State.END, str(error)
            _log.error("%s version %d: not loaded: %s", self.model, version, error)
        else:
            entry.state = _State.AVAILABLE
            _log.info("%s version %d: available", self.model, version)

    def _unload(self, version: int, entry: _Version) -> None:
        entry.state, entry.servable = _State.END, None
        _log.info("%s version %d: unloaded", self.model, version)

    def servable(self, spec: model_pb2.ModelSpec) -> Servable:
        """The version to answer with: the one named, else the latest; raises ServingError."""
        if not spec.name:
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
        loaded = {version: entry.servable for version, entry in self._versions.items() if entry.servable}
        if spec.name == self.model and loaded:
            version = spec.version.value if spec.HasField("version") else max(loaded)
            if version in loaded:
                return loaded[version]
        asked = f"Specific({spec.name}, {spec.version.value})" if spec.HasField("version") else f"Latest({spec.name})"
        raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of the version named, else of all that were ever seen; raises ServingError."""
        versions = self._versions if spec.name == self.model else {}
        if spec.HasField("version"):
            versions = {version: entry for version, entry in versions.items() if version == spec.version.value}
        if not versions:
            what = f"version {spec.version.value}" if spec.HasField("version") else "any versions"
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find {what} of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, entry in sorted(versions.items(), reverse=True):
            status = response.model_version_status.add(version=version, state=entry.state)
            status.status.error_code = grpc.StatusCode.UNKNOWN.value[0] if entry.error else 0
            status.status.error_message = entry.error
        return response
