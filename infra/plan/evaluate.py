"""Evaluate a program in this process, with the Pulumi SDK's own test monitor: no engine, no plugins, no credentials.

What a provider would compute at deployment is not guessed: it stands in the evaluation as a reference, such as
``${network-vpc.id}``, so that one can read where each value will come from.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.struct_pb2 import ListValue, Struct, Value
from pulumi.runtime import mocks, rpc
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import configure
from pulumi.runtime.stack import run_in_stack

from infra import conventions
from infra.plan import computed

STACK_TYPE: Final = "pulumi:pulumi:Stack"


@dataclass(frozen=True)
class Secret:
    """A value that is never shown."""

    value: Any = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource as the program asked for it."""

    urn: str
    type: str
    name: str
    parent: str | None
    """The parent's URN; none for a child of the stack itself."""
    inputs: Mapping[str, Any]
    """Plain values, Secret where the program said so, references where a provider computes."""
    depends_on: frozenset[str]
    """URNs of what must be there before, whether by a value that is used or by ``depends_on``."""
    provider: str
    component: bool
    """Whether it only groups others."""
    remote: bool
    """Whether its children are made at deployment, by its provider."""
    protect: bool
    ignore_changes: frozenset[str]
    deleted_with: str

    @property
    def expands_at_deployment(self) -> bool:
        """Whether it stands for more than itself: a remote component or a Helm release."""
        return self.remote or self.type == "kubernetes:helm.sh/v3:Release"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a program asks for: its resources in a stable order, and what it exports."""

    stack: str
    resources: tuple[Resource, ...]
    outputs: Mapping[str, Any]

    def of_type(self, kind: str) -> tuple[Resource, ...]:
        """The resources of one type, for example ``aws:s3/bucket:Bucket``."""
        return tuple(resource for resource in self.resources if resource.type == kind)


class _Computed(mocks.Mocks):
    def __init__(self, account: str) -> None:
        self._account = account

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        return computed.invoke(args.token, args.args, self._account), []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return computed.identifier(args.typ, args.name, args.inputs), {
            **args.inputs,
            **computed.outputs(args.typ, args.name, args.inputs),
        }


class _RecordingMonitor(mocks.MockMonitor):
    def __init__(self, stack: str, account: str) -> None:
        super().__init__(_Computed(account))
        self.stack = stack
        self.recorded: dict[str, Resource] = {}
        self.exported: dict[str, Any] = {}
        self.unseen: set[str] = set()
        """URNs of children that are made at deployment: they are named by the component that makes them."""

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        parent_type = parent.split("::")[2] if parent else ""
        qualified = type_ if parent_type in ("", STACK_TYPE) else f"{parent_type}${type_}"
        return f"urn:pulumi:{self.stack}::{conventions.PROJECT}::{qualified}::{name}"

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> Any:
        response = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        self._hand_out_children(request, response)
        if request.type != STACK_TYPE:
            if response.urn in self.recorded:
                raise ValueError(
                    f"two resources have the URN {response.urn}: names must differ within a type and parent"
                )
            self.recorded[response.urn] = Resource(
                urn=response.urn,
                type=request.type,
                name=request.name,
                parent=None if f"::{STACK_TYPE}::" in request.parent else request.parent or None,
                inputs=_plain_struct(request.object),
                depends_on=frozenset(request.dependencies).union(
                    *(urns.urns for urns in request.propertyDependencies.values())
                )
                - self.unseen,
                provider=request.provider,
                component=not request.custom and not request.remote,
                remote=request.remote,
                protect=request.protect,
                ignore_changes=frozenset(request.ignoreChanges),
                deleted_with=request.deletedWith,
            )
        return response

    def _hand_out_children(self, request: Any, response: Any) -> None:
        """Give a remote component those of its children, made at deployment alone, that the program asks it for."""
        for output, (kind, state) in computed.children(request.type, request.name).items():
            urn = self.make_urn(response.urn, kind, request.name)
            self.unseen.add(urn)
            self.resources[urn] = self.ResourceRegistration(urn, computed.reference(request.name, output), state)
            response.object[output] = {rpc._special_sig_key: rpc._special_resource_sig, "urn": urn}

    def SupportsFeature(self, request: Any) -> Any:
        response = super().SupportsFeature(request)  # type: ignore[no-untyped-call]
        # A resource given as an argument shall arrive as its id or URN: made again from its URN in another thread, it
        # can wait for itself.
        response.hasSupport = response.hasSupport and request.id != "resourceReferences"
        return response

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> Any:
        if f"::{STACK_TYPE}::" in request.urn:
            self.exported = _plain_struct(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def _plain_struct(struct: Struct) -> dict[str, Any]:
    return {key: _plain(value) for key, value in sorted(struct.fields.items())}


def _plain(value: Value) -> Any:
    content = getattr(value, value.WhichOneof("kind") or "null_value")
    match content:
        case Struct():
            plain = _plain_struct(content)
            signature = plain.get(rpc._special_sig_key)
            return Secret(plain["value"]) if signature == rpc._special_secret_sig else plain
        case ListValue():
            return [_plain(item) for item in content.values]
        case float() if content.is_integer():
            return int(content)
        case _:
            return None if value.WhichOneof("kind") == "null_value" else content


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """The SDK keeps every future to the end: looking through them again and again makes large stacks slow."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def _run(program: Callable[[], Any]) -> None:
    # What fails first is raised; that everything which waited for it fails too would be thousands of lines more.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await run_in_stack(program)


def evaluate(program: Callable[[], Any], stack: str, account: str = computed.ACCOUNT) -> Evaluation:
    """Run a program and return what it asked for, with credentials of this account as it were.

    Whatever the program raises comes through; two resources of one URN raise ValueError.
    """
    monitor = _RecordingMonitor(stack, account)
    configure(
        mocks.MockSettings(
            monitor=monitor,
            engine=mocks.MockEngine(None),
            project=conventions.PROJECT,
            stack=stack,
            dry_run=False,
            # Or what an evaluation before this one has left unfinished would be waited for, on its own closed loop.
            outputs=set(),
        )
    )
    with _without_garbage_collection():
        asyncio.run(_run(program))
    return Evaluation(
        stack=stack,
        resources=tuple(monitor.recorded[urn] for urn in sorted(monitor.recorded)),
        outputs=monitor.exported,
    )
