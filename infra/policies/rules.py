"""All rules, each with its level and the sentence that an auditor would read."""

from typing import Final

from infra.policies import aws, mesh, workloads
from infra.policies.rule import Check, Rule


def _mandatory(name: str, check: Check) -> Rule:
    return Rule(name=name, level="mandatory", description=_sentence(check), check=check)


def _warning(name: str, check: Check) -> Rule:
    return Rule(name=name, level="warning", description=_sentence(check), check=check)


def _sentence(check: Check) -> str:
    return (check.__doc__ or "").partition("\n")[0]


RULES: Final = (
    _mandatory("no-public-bucket", aws.public_bucket),
    _mandatory("encryption", aws.encryption),
    _mandatory("machine-credentials", aws.machine_credentials),
    _mandatory("no-wildcard-rights", aws.wildcard_rights),
    _mandatory("no-access-keys", aws.access_keys),
    _mandatory("no-open-security-group", aws.open_security_group),
    _mandatory("tags", aws.tags),
    _mandatory("image-by-digest", workloads.image_by_digest),
    _mandatory("no-latest", workloads.latest_image),
    _mandatory("non-root", workloads.runs_as_root),
    _mandatory("read-only-root", workloads.writable_root),
    _mandatory("no-privileges", workloads.privileges),
    _mandatory("requests-and-limits", workloads.requests_and_limits),
    _mandatory("probes", workloads.probes),
    _mandatory("disruption-budget", workloads.disruption_budget),
    _mandatory("mutual-tls", mesh.mutual_tls),
    _mandatory("closed-egress", mesh.closed_egress),
    _mandatory("network-policy", mesh.network_policy),
    _warning("end-of-support", aws.end_of_support),
)
