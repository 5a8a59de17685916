"""A wait for what AWS says is made a few seconds before it is."""

import time
from typing import Any, Final

from pulumi import Input, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

_SECONDS: Final = 15


class PatienceProvider(ResourceProvider):
    """What Pulumi does to make such a wait: it waits, once for each thing that is waited for."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Wait."""
        time.sleep(_SECONDS)
        return CreateResult(str(props["of"]), props)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        """Wait for something else."""
        time.sleep(_SECONDS)
        return UpdateResult(news)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Whether it is something else that is waited for."""
        return DiffResult(changes=olds.get("of") != news["of"])


class Patience(Resource, module="model-serving", name="Patience"):
    """A few seconds after what it depends on."""

    def __init__(self, name: str, *, of: Input[str], opts: ResourceOptions | None = None) -> None:
        super().__init__(PatienceProvider(), name, {"of": of}, opts)
