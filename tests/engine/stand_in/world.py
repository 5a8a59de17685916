"""What exists in the stand-in's cloud, and when it is out of order."""

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

Properties = dict[str, Any]
Watch = Callable[[str, str], None]
"""Takes what begins (create, update, delete) or has ended (created, updated, deleted), and the URN."""

_TOKEN: Final = re.compile(r"\b0[0-9a-f]{16}\b")
"""What is in every identifier that the stand-in gives out, and in nothing else."""

_NAMES: Final = {
    "bucket": "aws:s3/bucket:Bucket",
    "clusterName": "aws:eks/cluster:Cluster",
    "repository": "aws:ecr/repository:Repository",
    "role": "aws:iam/role:Role",
}
"""The properties that refer to something by its name, and its type."""


class RefusedError(Exception):
    """What a cloud answers to a request that it cannot carry out."""


class OutageError(Exception):
    """What a cloud answers that is out of order."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something that exists."""

    type: str
    id: str
    name: str
    """What the program calls it."""
    token: str
    inputs: Properties = field(repr=False)

    def names(self) -> Iterator[tuple[str, str]]:
        """The type and name of each thing that this one refers to by name."""
        for key, value in self.inputs.items():
            if key in _NAMES and _NAMES[key] != self.type and isinstance(value, str):
                yield _NAMES[key], value

    def tokens(self) -> set[str]:
        """The tokens of what this one refers to."""
        return set(_TOKEN.findall(json.dumps(self.inputs))) - {self.token}


@dataclass
class World:
    """What exists, safe for many threads."""

    things: dict[tuple[str, str], Thing] = field(default_factory=dict)
    watch: Watch = lambda _operation, _urn: None
    """Sees each operation on a resource, as it begins and as it ends."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def watched(self, watch: Watch) -> Iterator[None]:
        """Let ``watch`` see each operation: it may wait, or raise OutageError."""
        before, self.watch = self.watch, watch
        try:
            yield
        finally:
            self.watch = before

    @staticmethod
    def token() -> str:
        """A new token: 17 hexadecimal digits, as in the identifiers of EC2."""
        return f"0{uuid.uuid4().hex[:16]}"

    def add(self, thing: Thing) -> None:
        """Make a thing; raises RefusedError where its id is taken, or where it refers to what does not exist."""
        with self._lock:
            if (thing.type, thing.id) in self.things:
                raise RefusedError(f"{thing.type} {thing.id} already exists")
            self._check(thing)
            self.things[thing.type, thing.id] = thing

    def change(self, kind: str, identifier: str, inputs: Properties) -> None:
        """Give a thing other inputs; raises RefusedError where it is gone, or refers to what does not exist."""
        with self._lock:
            before = self.things.get((kind, identifier))
            if before is None:
                raise RefusedError(f"{kind} {identifier} does not exist")
            thing = replace(before, inputs=inputs)
            self._check(thing)
            self.things[kind, identifier] = thing

    def remove(self, kind: str, identifier: str) -> None:
        """Take a thing away; raises RefusedError while another one refers to it."""
        with self._lock:
            thing = self.things.get((kind, identifier))
            if thing is None:
                return
            for other in self.things.values():
                if other is not thing and (thing.token in other.tokens() or (kind, identifier) in other.names()):
                    raise RefusedError(f"{kind} {identifier} is in use by {other.type} {other.id}")
            del self.things[kind, identifier]

    def of_type(self, kind: str) -> list[Thing]:
        """All things of one type."""
        with self._lock:
            return [thing for thing in self.things.values() if thing.type == kind]

    def _check(self, thing: Thing) -> None:
        if missing := thing.tokens() - {other.token for other in self.things.values()}:
            raise RefusedError(f"{thing.type} {thing.id} refers to {sorted(missing)}, which does not exist")
        for kind, name in thing.names():
            if (kind, name) not in self.things:
                raise RefusedError(f"{thing.type} {thing.id} refers to {kind} {name}, which does not exist")
