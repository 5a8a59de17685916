"""What may run where the models run: images by digest, from the stack's own registry, and the mesh's proxy."""

import json
from collections.abc import Sequence
from typing import Final

import pulumi_kubernetes as k8s
from pulumi import Input, Output

NAME: Final = "model-images.model-serving"

# https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
_IMAGES = " + ".join(
    f"object.spec.?{containers}.orValue([]).map(container, container.image)"
    for containers in ("containers", "initContainers", "ephemeralContainers")
)
_BY_DIGEST = "image.matches('@sha256:[0-9a-f]{64}$')"
_KNOWN = "image.split('@')[0] in variables.repositories"


def policy(repositories: Sequence[Input[str]]) -> k8s.admissionregistration.v1.ValidatingAdmissionPolicySpecArgs:
    """Pods as they are after injection, with all of their containers, those added for debugging included."""
    rule = k8s.admissionregistration.v1.NamedRuleWithOperationsArgs(
        api_groups=[""],
        api_versions=["v1"],
        operations=["CREATE", "UPDATE"],
        resources=["pods", "pods/ephemeralcontainers"],
    )
    known: Output[str] = Output.all(*repositories).apply(lambda names: json.dumps(sorted(set(names))))
    return k8s.admissionregistration.v1.ValidatingAdmissionPolicySpecArgs(
        failure_policy="Fail",
        match_constraints=k8s.admissionregistration.v1.MatchResourcesArgs(resource_rules=[rule]),
        variables=[
            k8s.admissionregistration.v1.VariableArgs(name="images", expression=_IMAGES),
            k8s.admissionregistration.v1.VariableArgs(name="repositories", expression=known),
        ],
        validations=[
            _all(_BY_DIGEST, "is not named by digest (repository@sha256:...)"),
            _all(_KNOWN, "is not of the registry of this stack"),
        ],
    )


def _all(rule: str, problem: str) -> k8s.admissionregistration.v1.ValidationArgs:
    return k8s.admissionregistration.v1.ValidationArgs(
        expression=f"variables.images.all(image, {rule})",
        message_expression=f"variables.images.filter(image, !({rule})).join(', ') + ' {problem}'",
        reason="Forbidden",
    )


def binding(namespaces: Sequence[str]) -> k8s.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpecArgs:
    """Where the policy holds."""
    selector = k8s.meta.v1.LabelSelectorArgs(
        match_expressions=[
            k8s.meta.v1.LabelSelectorRequirementArgs(
                key="kubernetes.io/metadata.name", operator="In", values=list(namespaces)
            )
        ]
    )
    return k8s.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpecArgs(
        policy_name=NAME,
        match_resources=k8s.admissionregistration.v1.MatchResourcesArgs(namespace_selector=selector),
        validation_actions=["Deny"],
    )
