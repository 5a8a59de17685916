"""AWS and Docker: they keep what they are given, and compute what the program asks of them."""

import hashlib
import re
from typing import Any, Final

from infra.plan import computed
from tests.engine.stand_in.world import Properties, Thing, World

CLUSTER: Final = "aws:eks/cluster:Cluster"
NODE_GROUP: Final = "aws:eks/nodeGroup:NodeGroup"

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-central-1"

_NAMED_BY: Final = {
    "aws:cloudwatch/logGroup:LogGroup": "name",
    "aws:ecr/repository:Repository": "name",
    CLUSTER: "name",
    "aws:iam/role:Role": "name",
    "aws:kms/alias:Alias": "name",
    "aws:s3/bucket:Bucket": "bucket",
}
"""What AWS knows by a name of our own, and takes once: the property that is its id."""

_REPLACING: Final = ("availabilityZone", "bucket", "cidrBlock", "imageName", "name")
"""The properties that nothing can change where it is."""


class Cloud:
    """Everything outside of the cluster."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create(self, kind: str, name: str, inputs: Properties) -> tuple[str, Properties]:
        """Make a thing and return its id and outputs; raises RefusedError as AWS would."""
        token = self._world.token()
        label = kind.rpartition(":")[2].lower()
        identifier = inputs.get(_NAMED_BY.get(kind, ""), f"{label}-{token}")
        thing = Thing(type=kind, id=identifier, name=name, token=token, inputs=inputs)
        self._world.add(thing)
        return thing.id, inputs | self._outputs(thing)

    def read(self, kind: str, identifier: str, inputs: Properties) -> tuple[Properties, Properties] | None:
        """The inputs as they are now, and what was computed from them; none if the thing is gone."""
        thing = self._world.things.get((kind, identifier))
        return (thing.inputs, self._outputs(thing)) if thing else None

    def update(self, kind: str, identifier: str, inputs: Properties, outputs: Properties) -> Properties:
        """Change a thing and return its outputs."""
        self._world.change(kind, identifier, inputs)
        return outputs | inputs

    def delete(self, kind: str, identifier: str) -> None:
        """Take a thing away; raises RefusedError while it is in use."""
        self._world.remove(kind, identifier)

    def replaced(self, kind: str, before: Properties, after: Properties) -> list[str]:
        """The properties whose change needs another thing."""
        return [key for key in _REPLACING if before.get(key) != after.get(key)]

    def invoke(self, token: str, arguments: Properties) -> Properties:
        """The answer of a function."""
        return dict(_filled(computed.invoke(token, arguments, ACCOUNT), lambda reference: reference))

    def _outputs(self, thing: Thing) -> Properties:
        def value(reference: str) -> str:
            match reference.rpartition(".")[2]:
                case "arn":
                    service, _, label = thing.type.removeprefix("aws:").partition("/")
                    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{label.partition(':')[0]}/{thing.name}-{thing.token}"
                case "repositoryUrl":
                    return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{thing.inputs['name']}"
                case "repoDigest":
                    image = thing.inputs["imageName"]
                    return f"{image.rpartition(':')[0]}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"
                case output:
                    return f"{output}-{thing.token}"

        if thing.type == NODE_GROUP:
            _, state = computed.children("eks:index:ManagedNodeGroup", thing.name)["nodeGroup"]
            return dict(_filled(state, value))
        return dict(_filled(computed.outputs(thing.type, thing.name, thing.inputs), value))


def _filled(template: Any, value: Any) -> Any:
    """A template of ``infra.plan.computed`` with a value in the place of each reference."""
    match template:
        case str():
            return re.sub(r"\$\{(.+?)\}", lambda match: value(match[1]), template)
        case dict():
            return {key: _filled(item, value) for key, item in template.items()}
        case list():
            return [_filled(item, value) for item in template]
        case _:
            return template
