"""What an evaluated program would apply to a cluster, as the engine would: with references replaced by values."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from infra.plan.evaluate import Evaluation, Secret

Manifest = dict[str, Any]

_ACCOUNT: Final = "111122223333"


def objects_of(evaluation: Evaluation) -> list[Manifest]:
    """Every Kubernetes object, namespaces first; what charts install is not among them."""
    resources = [it for it in evaluation.resources if "apiVersion" in it.inputs and "kind" in it.inputs]
    resources.sort(key=lambda resource: resource.inputs["kind"] != "Namespace")
    return [resolved(resource.inputs, evaluation) for resource in resources]


def resolved(value: Any, evaluation: Evaluation) -> Any:
    """A value of an evaluation, plain: a secret as what it is, a reference as what a provider could answer.

    Raises KeyError for a reference that nothing here knows an answer to.
    """
    match value:
        case Secret():
            return resolved(value.value, evaluation)
        case Mapping():
            return {key: resolved(item, evaluation) for key, item in value.items()}
        case list() | tuple():
            return [resolved(item, evaluation) for item in value]
        case str():
            return re.sub(r"\$\{([^}]+)\}", lambda match: _answer(match[1], evaluation), value)
        case _:
            return value


def _answer(reference: str, evaluation: Evaluation) -> str:
    name, _, output = reference.rpartition(".")
    match output:
        case "account":
            return _ACCOUNT
        case "repoDigest":
            (image,) = (it for it in evaluation.of_type("docker:index/image:Image") if it.name == name)
            tagged: str = resolved(image.inputs["imageName"], evaluation)
            return f"{tagged.rpartition(':')[0]}@sha256:{hashlib.sha256(tagged.encode()).hexdigest()}"
        case "repositoryUrl":
            (repository,) = (it for it in evaluation.of_type("aws:ecr/repository:Repository") if it.name == name)
            return f"{_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/{repository.inputs['name']}"
        case "id":
            return f"{name}-0123456789abcdef0"
        case "version":
            return "1"
    raise KeyError(reference)
