"""The provider protocol, for one package, in front of whatever keeps its resources.

Source: https://github.com/pulumi/pulumi/blob/v3.250.0/proto/pulumi/provider.proto
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Protocol

import grpc
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from tests.engine.stand_in.world import OutageError, Properties, RefusedError, World


class Backend(Protocol):
    """What keeps the resources of a package."""

    def create(self, kind: str, name: str, inputs: Properties) -> tuple[str, Properties]:
        """Make it; return its id and outputs."""

    def read(self, kind: str, identifier: str, inputs: Properties) -> tuple[Properties, Properties] | None:
        """Its inputs as they are now, and what else it has; none if it is gone."""

    def update(self, kind: str, identifier: str, inputs: Properties, outputs: Properties) -> Properties:
        """Change it; return its outputs."""

    def delete(self, kind: str, identifier: str) -> None:
        """Take it away."""

    def replaced(self, kind: str, before: Properties, after: Properties) -> list[str]:
        """The properties whose change needs another one in its place."""

    def invoke(self, token: str, arguments: Properties) -> Properties:
        """Answer a function."""


def plain(struct: Struct) -> Properties:
    """Properties without their protocol buffers, whose only kind of number is the float."""
    return dict(_with_integers(MessageToDict(struct)))


def _with_integers(value: Any) -> Any:
    match value:
        case dict():
            return {key: _with_integers(item) for key, item in value.items()}
        case list():
            return [_with_integers(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def struct(properties: Properties) -> Struct:
    """Properties as protocol buffers."""
    return ParseDict(properties, Struct())


def _changed(before: Properties, after: Properties) -> list[str]:
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _difference(changed: list[str], replaced: list[str]) -> provider_pb2.DiffResponse:
    kind = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
    return provider_pb2.DiffResponse(changes=kind, diffs=changed, replaces=replaced, deleteBeforeReplace=True)


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The protocol's calls, with the engine's own bookkeeping left to the engine."""

    def __init__(self, package: str, world: World, backend: Backend) -> None:
        self._package = package
        self._world = world
        self._backend = backend

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> None:
        # Without it, the engine asks a provider for nothing during a preview.
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "a preview takes all values as they are given")

    def Attach(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=metadata.version(f"pulumi-{self._package}"))

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        return _difference(_changed(plain(request.old_inputs), plain(request.news)), replaced=[])

    def Configure(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.ConfigureResponse:
        return provider_pb2.ConfigureResponse()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.InvokeResponse:
        response = provider_pb2.InvokeResponse()
        # Its one field has the name of a keyword.
        getattr(response, "return").update(self._backend.invoke(request.tok, plain(request.args)))
        return response

    def Check(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def Diff(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        before, after = plain(request.old_inputs), plain(request.news)
        changed = _changed(before, after)
        return _difference(changed, self._backend.replaced(request.type, before, after) if changed else [])

    def Create(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        with self._watched("create", request, context):
            identifier, outputs = self._backend.create(request.type, request.name, plain(request.properties))
        return provider_pb2.CreateResponse(id=identifier, properties=struct(outputs))

    def Read(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        found = self._backend.read(request.type, request.id, plain(request.inputs))
        if found is None:
            return provider_pb2.ReadResponse()
        inputs, computed = found
        outputs = plain(request.properties) | inputs | computed
        return provider_pb2.ReadResponse(id=request.id, inputs=struct(inputs), properties=struct(outputs))

    def Update(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        with self._watched("update", request, context):
            olds, news = plain(request.olds), plain(request.news)
            outputs = self._backend.update(request.type, request.id, news, olds)
        return provider_pb2.UpdateResponse(properties=struct(outputs))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        with self._watched("delete", request, context):
            self._backend.delete(request.type, request.id)
        return empty_pb2.Empty()

    @contextmanager
    def _watched(self, operation: str, request: Any, context: grpc.ServicerContext) -> Iterator[None]:
        try:
            self._world.watch(operation, request.urn)
            yield
            self._world.watch(f"{operation.removesuffix('e')}ed", request.urn)
        except OutageError as outage:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(outage))
        except RefusedError as refused:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(refused))
