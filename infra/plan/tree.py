"""A stack's resources as a tree in text."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from infra.plan.evaluate import Evaluation, Resource

AT_DEPLOYMENT = "expands at deployment"


def tree(evaluation: Evaluation) -> Iterator[str]:
    """The lines of the tree: components with what they hold, each resource with its type."""
    children: dict[str | None, list[Resource]] = defaultdict(list)
    for resource in evaluation.resources:
        children[resource.parent].append(resource)

    def below(parent: str | None, indent: str) -> Iterator[str]:
        siblings = children[parent]
        for index, resource in enumerate(siblings):
            last = index == len(siblings) - 1
            yield f"{indent}{'└─' if last else '├─'} {_line(resource)}"
            yield from below(resource.urn, indent + ("   " if last else "│  "))

    yield evaluation.stack
    yield from below(None, "")


def _line(resource: Resource) -> str:
    marks = [AT_DEPLOYMENT] if resource.expands_at_deployment else []
    marks += ["protected"] if resource.protect else []
    return f"{resource.name}  {short_type(resource)}" + (f"  ({', '.join(marks)})" if marks else "")


def short_type(resource: Resource) -> str:
    """A type without what is said twice: ``aws:s3/Bucket``, ``kubernetes:apps/v1:Deployment``."""
    package, module, kind = resource.type.split(":", 2)
    return f"{package}:{module.split('/')[0]}/{kind}" if package == "aws" else resource.type


def counts(evaluation: Evaluation) -> list[tuple[str, int]]:
    """How many resources there are of each type, the most frequent first."""
    counter = Counter(short_type(resource) for resource in evaluation.resources)
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))
