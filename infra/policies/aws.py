"""The rules for what is made in AWS."""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, Final

from infra import versions
from infra.iam import WITHOUT_RESOURCES
from infra.policies.rule import Finding, Stack, Subject, Unknown, is_unknown

BUCKET: Final = "aws:s3/bucket:Bucket"
_BLOCKS: Final = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_EVERYTHING: Final = ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")

TAGS: Final = ("project", "stack", "managed-by")
# A type of AWS that is not named here has tags, or its author says here that AWS gives it none.
UNTAGGABLE: Final = frozenset(
    {
        "aws:autoscaling/tag:Tag",
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        "aws:ec2/route:Route",
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "aws:iam/rolePolicy:RolePolicy",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "aws:kms/alias:Alias",
        "aws:s3/bucketAcl:BucketAcl",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        "aws:s3/bucketNotification:BucketNotification",
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "aws:s3/bucketVersioning:BucketVersioning",
    }
)


def public_bucket(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """Every bucket has a public access block with all four switches on, and no policy lets everybody in."""
    if subject.type == BUCKET:
        if str(subject.inputs.get("acl", "private")).startswith("public"):
            yield f"acl is {subject.inputs['acl']}: remove it, or set it to private"
        blocks = _of_bucket(subject, stack, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
        if not blocks:
            yield "has no BucketPublicAccessBlock: add one with all four switches on"
        for block in blocks:
            for switch in _BLOCKS:
                if block.inputs.get(switch) is not True:
                    yield f"{block.name} has {switch} {_said(block.inputs.get(switch))}: set it to true"
    if subject.type == "aws:s3/bucketAcl:BucketAcl" and str(subject.inputs.get("acl")).startswith("public"):
        yield f"acl is {subject.inputs['acl']}: remove it, or set it to private"
    if subject.type == "aws:s3/bucketPolicy:BucketPolicy":
        for statement in _statements(subject.inputs.get("policy")):
            if statement.get("Effect") == "Allow" and _is_everybody(statement) and not _narrowed(statement):
                yield "policy allows Principal * without a condition on who: name who may come in"


def encryption(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """What keeps data encrypts it, with a key that is rotated."""
    inputs = subject.inputs
    match subject.type:
        case "aws:s3/bucket:Bucket":
            kind = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
            rules = [rule for it in _of_bucket(subject, stack, kind) for rule in it.inputs.get("rules", [])]
            defaults = [rule.get("applyServerSideEncryptionByDefault") or {} for rule in rules]
            if not any(str(default.get("sseAlgorithm", "")).startswith("aws:kms") for default in defaults):
                yield "is not encrypted with KMS: add a BucketServerSideEncryptionConfiguration with aws:kms"
        case "aws:ecr/repository:Repository":
            if not any(it.get("encryptionType") == "KMS" for it in inputs.get("encryptionConfigurations") or []):
                yield "encryptionConfigurations has no KMS: set encryptionType to KMS"
        case "aws:ec2/launchTemplate:LaunchTemplate":
            for index, device in enumerate(inputs.get("blockDeviceMappings") or []):
                encrypted = _get(device, "ebs", "encrypted")
                if str(encrypted).lower() != "true":
                    yield f"blockDeviceMappings[{index}].ebs.encrypted {_said(encrypted)}: set it to true"
        case "eks:index:Cluster" | "aws:eks/cluster:Cluster":
            if not inputs.get("encryptionConfigKeyArn") and not _get(inputs, "encryptionConfig", "provider", "keyArn"):
                yield "encryptionConfigKeyArn is not set: Kubernetes secrets need a KMS key of the stack's own"
        case "aws:kms/key:Key":
            if inputs.get("enableKeyRotation") is not True:
                yield f"enableKeyRotation {_said(inputs.get('enableKeyRotation'))}: set it to true"


def machine_credentials(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """A machine's credentials are given by IMDSv2 alone, and go no further than the machine."""
    if subject.type in ("aws:ec2/launchTemplate:LaunchTemplate", "aws:ec2/instance:Instance"):
        options = subject.inputs.get("metadataOptions") or {}
        if options.get("httpTokens") != "required":
            yield f"metadataOptions.httpTokens {_said(options.get('httpTokens'))}: set it to required (IMDSv2)"
        if options.get("httpPutResponseHopLimit") != 1:
            limit = _said(options.get("httpPutResponseHopLimit"))
            yield f"metadataOptions.httpPutResponseHopLimit {limit}: set it to 1, or pods reach the machine's role"
    if subject.type in ("eks:index:ManagedNodeGroup", "aws:eks/nodeGroup:NodeGroup") and not subject.inputs.get(
        "launchTemplate"
    ):
        yield "has no launchTemplate: EKS's own allows two hops; give it one with IMDSv2 and a hop limit of 1"


def wildcard_rights(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """A role may do what is named, on what is named; and who may take it on is named too."""
    if subject.type in ("aws:iam/rolePolicy:RolePolicy", "aws:iam/policy:Policy"):
        yield from _rights("policy", subject.inputs.get("policy"))
    if subject.type == "aws:iam/role:Role":
        for number, inline in enumerate(subject.inputs.get("inlinePolicies") or []):
            yield from _rights(f"inlinePolicies[{number}].policy", inline.get("policy"))
        yield from _everything("managedPolicyArns", subject.inputs.get("managedPolicyArns"))
        for statement in _statements(subject.inputs.get("assumeRolePolicy")):
            if statement.get("Effect") == "Allow" and _is_everybody(statement):
                yield "assumeRolePolicy lets Principal * take the role on: name who may"
    if subject.type == "aws:iam/rolePolicyAttachment:RolePolicyAttachment":
        yield from _everything("policyArn", subject.inputs.get("policyArn"))


def _rights(path: str, policy: Any) -> Iterator[Finding]:
    if is_unknown(policy):
        yield Unknown(path)
    for index, statement in enumerate(_statements(policy)):
        if statement.get("Effect") == "Allow":
            yield from (f"{path}.Statement[{index}] {problem}" for problem in _too_wide(statement))


def _everything(path: str, arns: Any) -> Iterator[Finding]:
    for arn in _list(arns):
        if (policy := str(arn).rpartition("/")[2]) in _EVERYTHING:
            yield f"{path} is {policy}: write a policy of the rights that are needed"


def access_keys(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """Credentials that never expire are not made."""
    if subject.type in ("aws:iam/accessKey:AccessKey", "aws:iam/user:User"):
        yield "is a user or a key that never expires: give the workload a role by Pod Identity"


def open_security_group(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """No security group lets the world in; the load balancer's is made, and narrowed, by its controller."""
    rules: list[Mapping[str, Any]] = []
    if subject.type in ("aws:ec2/securityGroup:SecurityGroup", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"):
        rules = subject.inputs.get("ingress") or []
    if subject.type == "aws:ec2/securityGroupRule:SecurityGroupRule" and subject.inputs.get("type") == "ingress":
        rules = [subject.inputs]
    if subject.type == "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule":
        cidrs = [subject.inputs.get("cidrIpv4"), subject.inputs.get("cidrIpv6")]
        rules = [{"cidrBlocks": [cidr for cidr in cidrs if cidr]}]
    for rule in rules:
        for cidr in (*(rule.get("cidrBlocks") or ()), *(rule.get("ipv6CidrBlocks") or ())):
            if _is_the_world(cidr):
                yield f"lets {cidr} in: name the networks that may come in"


def tags(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """What AWS can tag has the tags that costs and leftovers are found by."""
    if not subject.type.startswith(("aws:", "eks:")) or subject.type in UNTAGGABLE:
        return
    given = subject.inputs.get("tags") or {}
    missing = [tag for tag in TAGS if not given.get(tag)]
    if missing:
        yield f"has no tag {', '.join(missing)}: pass the stack's tags"


def end_of_support(subject: Subject, stack: Stack, today: date | None = None) -> Iterator[Finding]:
    """Kubernetes is upgraded before AWS takes the price of extended support for it."""
    if subject.type not in ("eks:index:Cluster", "aws:eks/cluster:Cluster"):
        return
    version = str(subject.inputs.get("version"))
    end = versions.END_OF_SUPPORT.get(version)
    if end is None:
        yield f"version {version} has no end of support in infra/versions.py: add it with its source"
    elif date.fromisoformat(end) - (today or date.today()) <= timedelta(days=90):
        yield f"version {version} leaves standard support on {end}: upgrade before"


def _of_bucket(bucket: Subject, stack: Stack, kind: str) -> list[Subject]:
    return [it for it in stack.of(kind) if bucket.urn in it.depends_on]


def _get(value: Any, *keys: str) -> Any:
    """What is that far inside; nothing where something on the way is not there."""
    for key in keys:
        value = (value or {}).get(key)
    return value


def _said(value: Any) -> str:
    return "is not set" if value is None else f"is {value}"


def _statements(policy: Any) -> list[Mapping[str, Any]]:
    if isinstance(policy, str):
        try:
            policy = json.loads(policy)
        except ValueError:
            return []
    return _list(policy.get("Statement")) if isinstance(policy, Mapping) else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_everybody(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    return principal == "*" or (isinstance(principal, Mapping) and "*" in _list(principal.get("AWS")))


def _narrowed(statement: Mapping[str, Any]) -> bool:
    """Whether a condition says who may, or from where; that the request comes by TLS says neither."""
    keys = {key.lower() for condition in (statement.get("Condition") or {}).values() for key in condition}
    return any(key.startswith(("aws:principal", "aws:source")) for key in keys)


def _is_the_world(cidr: str) -> bool:
    """Whether a network is so wide that it names nobody."""
    try:
        network = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False
    return network.prefixlen < (8 if network.version == 4 else 16)


def _too_wide(statement: Mapping[str, Any]) -> Iterator[str]:
    for negation in ("NotAction", "NotResource"):
        if negation in statement:
            yield f"allows by {negation}, all but a few: name what is allowed"
    actions = _list(statement.get("Action"))
    for action in actions:
        if "*" in action:
            yield f"allows {action}: name the actions"
    narrower = [action for action in actions if not any(action in known for known in WITHOUT_RESOURCES.values())]
    if "*" in _list(statement.get("Resource")) and narrower:
        yield f"allows {', '.join(narrower)} on resource *: name the resources"
