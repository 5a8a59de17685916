"""The same rules as policies of Pulumi's engine, which judges them with every preview and update."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pulumi_policy as policy
from pulumi_policy.proxy import UnknownValueError

from infra.policies.rule import Rule, Stack, Subject, Unknown

_LEVELS: Final = {"mandatory": policy.EnforcementLevel.MANDATORY, "warning": policy.EnforcementLevel.ADVISORY}


def as_policy(rule: Rule) -> policy.StackValidationPolicy:
    """A rule as the engine runs it; what is not known yet is not reported: it is judged again in the update."""

    def validate(args: policy.StackValidationArgs, report: policy.ReportViolation) -> None:
        stack = Stack(as_subject(resource) for resource in args.resources if _can_be_judged(resource))
        for subject in stack.subjects:
            for finding in rule.findings(subject, stack):
                if not isinstance(finding, Unknown):
                    report(finding, subject.urn)

    return policy.StackValidationPolicy(
        name=rule.name, description=rule.description, validate=validate, enforcement_level=_LEVELS[rule.level]
    )


def _can_be_judged(resource: policy.PolicyResource) -> bool:
    """Whether the engine tells what a resource was given.

    Of a whole stack it tells the outputs. Those of pulumi-eks's components are others than their inputs, which their
    children have; and before there is a cluster, a preview has no outputs of Kubernetes objects at all.
    """
    if resource.resource_type.startswith("eks:"):
        return False
    return bool(resource.props) or not resource.resource_type.startswith("kubernetes:")


def as_subject(resource: policy.PolicyResource) -> Subject:
    """A resource of the engine's as the rules see it."""
    by_property = (it for used in resource.property_dependencies.values() for it in used)
    return Subject(
        type=resource.resource_type,
        name=resource.name,
        urn=resource.urn,
        inputs=_plain(resource.props),
        depends_on=frozenset(it.urn for it in (*resource.dependencies, *by_property)),
    )


def _plain(value: Any) -> Any:
    """A copy of the engine's value, which refuses to be read where it is unknown, with references in those places."""
    if isinstance(value, Mapping):
        return {key: _read(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_read(value, index) for index in range(len(value))]
    # Numbers travel as floats.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read(container: Any, key: Any) -> Any:
    try:
        return _plain(container[key])
    except UnknownValueError:
        return "${unknown}"
