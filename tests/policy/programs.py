"""For each rule, programs that break it, and one that no rule finds fault with."""

# Manifests are put together from parts here, and some are wrong on purpose: their types cannot be told.
# mypy: disable-error-code="call-overload, arg-type, list-item, misc"

import json
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_docker as docker
import pulumi_eks as eks
import pulumi_kubernetes as k8s
from pulumi_kubernetes.apiextensions import CustomResource

Program = Callable[[], None]

DIGEST = "registry.example.com/server@sha256:" + "0" * 64
TAGS = {"project": "model-serving", "stack": "test", "managed-by": "pulumi"}


def allow(action: object, resource: object, **more: object) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def role_policy(policy: pulumi.Input[str]) -> Program:
    return lambda: _ignored(aws.iam.RolePolicy("rights", role="server", policy=policy))


def bucket(
    *, blocked: Mapping[str, bool] | None = None, algorithm: str | None = "aws:kms", policy: str = ""
) -> Program:
    switches = {
        "block_public_acls": True,
        "block_public_policy": True,
        "ignore_public_acls": True,
        "restrict_public_buckets": True,
    }

    def program() -> None:
        made = aws.s3.Bucket("models", bucket="models", tags=TAGS)
        if blocked is not None:
            aws.s3.BucketPublicAccessBlock("private", bucket=made.id, **{**switches, **blocked})
        if algorithm:
            default = {"sse_algorithm": algorithm}
            aws.s3.BucketServerSideEncryptionConfiguration(
                "encrypted", bucket=made.id, rules=[{"apply_server_side_encryption_by_default": default}]
            )
        if policy:
            aws.s3.BucketPolicy("policy", bucket=made.id, policy=policy)

    return program


def launch_template(*, encrypted: str = "true", **options: Any) -> Program:
    safe = {"http_tokens": "required", "http_put_response_hop_limit": 1}
    return lambda: _ignored(
        aws.ec2.LaunchTemplate(
            "machines",
            metadata_options={**safe, **options},
            block_device_mappings=[{"device_name": "/dev/xvda", "ebs": {"encrypted": encrypted}}],
            tags=TAGS,
        )
    )


def security_group(cidr: str) -> Program:
    rule = {"protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": [cidr]}
    return lambda: _ignored(aws.ec2.SecurityGroup("group", ingress=[rule], tags=TAGS))


def deployment(
    container: Mapping[str, Any] | None = None,
    *,
    pod: Mapping[str, Any] | None = None,
    without: str = "",
    replicas: int = 1,
    scaled_to: int | None = None,
    budget_for: str | None = None,
    budget: Mapping[str, Any] | None = None,
    budgets: int = 1,
    metadata: Mapping[str, Any] | None = None,
    sidecar: Mapping[str, Any] | None = None,
) -> Program:
    probe = {"httpGet": {"path": "/readyz", "port": 8080}}
    good = {
        "name": "server",
        "image": DIGEST,
        "readinessProbe": probe,
        "livenessProbe": probe,
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    server = {key: value for key, value in {**good, **(container or {})}.items() if key != without}
    spec = {"containers": [server], **(pod or {})}
    if sidecar is not None:
        spec["initContainers"] = [{**good, "name": "sidecar", "restartPolicy": "Always", **sidecar}]
    labels = {"app": "server"}
    its = metadata or {}

    def program() -> None:
        metadata = {"name": "server", "namespace": "models"}
        template = {"metadata": {**its, "labels": {**labels, **its.get("labels", {})}}, "spec": spec}
        k8s.apps.v1.Deployment(
            "server",
            metadata=metadata,
            spec={"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
        )
        if scaled_to is not None:
            target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "server"}
            scaling = {"scaleTargetRef": target, "minReplicas": scaled_to, "maxReplicas": 9}
            k8s.autoscaling.v2.HorizontalPodAutoscaler("server", metadata=metadata, spec=scaling)
        for number in range(budgets if budget_for else 0):
            selector = {"matchLabels": {"app": budget_for}}
            k8s.policy.v1.PodDisruptionBudget(
                f"server-{number}", metadata=metadata, spec={"selector": selector, **(budget or {"maxUnavailable": 1})}
            )

    return program


def namespace(
    *,
    mutual_tls: str | None = "STRICT",
    denied: tuple[str, ...] = ("Egress", "Ingress"),
    ingress: list[dict[str, Any]] | None = None,
    of: dict[str, Any] | None = None,
) -> Program:
    def program() -> None:
        k8s.core.v1.Namespace("models", metadata={"name": "models", "labels": {"istio-injection": "enabled"}})
        if mutual_tls:
            spec = {"mtls": {"mode": mutual_tls}, **({"selector": of} if of else {})}
            istio("security.istio.io/v1", "PeerAuthentication", spec, where="istio-system")()
        if denied:
            network_policy({"podSelector": {}, "policyTypes": list(denied), "ingress": ingress or []})()

    return program


def network_policy(spec: Mapping[str, Any]) -> Program:
    metadata = {"name": "policy", "namespace": "models"}
    return lambda: _ignored(k8s.networking.v1.NetworkPolicy("policy", metadata=metadata, spec=spec))


def egress_to(block: Mapping[str, Any]) -> Program:
    return network_policy({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": block}]}]})


def istio(api: str, kind: str, spec: Mapping[str, Any], where: str = "models") -> Program:
    metadata = {"name": "default", "namespace": where}
    return lambda: _ignored(CustomResource(kind.lower(), api_version=api, kind=kind, metadata=metadata, spec=spec))


CLOSED = {"meshConfig": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}}


def without_proxy(metadata: dict[str, Any]) -> Program:
    """A Deployment of a namespace that is in the mesh."""

    def program() -> None:
        namespace()()
        deployment(metadata=metadata)()

    return program


def told_to_the_mesh(what: str, value: str) -> Program:
    return deployment(metadata={"annotations": {f"traffic.sidecar.istio.io/{what}": value}})


def release(chart: str = "istiod", version: str | None = "1.31.1", values: Mapping[str, Any] | None = None) -> Program:
    given = CLOSED if values is None else values
    return lambda: _ignored(
        k8s.helm.v3.Release(chart, chart=f"oci://charts/{chart}", version=version, values=given, namespace="default")
    )


def cluster(version: str = "1.36", **settings: Any) -> Program:
    good = {"encryption_config_key_arn": "arn:aws:kms:eu-central-1:111122223333:key/1", "tags": TAGS}
    return lambda: _ignored(eks.Cluster("cluster", version=version, **{**good, **settings}))


def with_security(**context: Any) -> Program:
    safe = {
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    return deployment({"securityContext": {**safe, **context}})


def _ignored(_: pulumi.Resource) -> None:
    """A program returns nothing."""


EVERYBODY = allow("s3:GetObject", "*", Principal="*")
SIDECAR, ENTRY = ("networking.istio.io/v1", "Sidecar"), ("networking.istio.io/v1", "ServiceEntry")

BREAKING: dict[str, dict[str, Program]] = {
    "no-public-bucket": {
        "nothing blocks": bucket(),
        "one switch is off": bucket(blocked={"block_public_policy": False}),
        "everybody may read": bucket(blocked={}, policy=EVERYBODY),
        "everybody may read over TLS": bucket(
            blocked={},
            policy=allow("s3:GetObject", "*", Principal="*", Condition={"Bool": {"aws:SecureTransport": "true"}}),
        ),
        "a list of rights beside it is public": lambda: _ignored(
            aws.s3.BucketAcl("acl", bucket="b", acl="public-read-write")
        ),
        "its list of rights is public": lambda: _ignored(aws.s3.Bucket("b", acl="public-read", tags=TAGS)),
    },
    "encryption": {
        "bucket without a rule": bucket(blocked={}, algorithm=None),
        "bucket with S3's own key": bucket(blocked={}, algorithm="AES256"),
        "plain disk": launch_template(encrypted="false"),
        "repository with S3's own key": lambda: _ignored(aws.ecr.Repository("images", tags=TAGS)),
        "key that stays the same": lambda: _ignored(aws.kms.Key("key", tags=TAGS)),
        "cluster without a key": cluster(encryption_config_key_arn=None),
    },
    "machine-credentials": {
        "the first version of IMDS": launch_template(http_tokens="optional"),
        "two hops": launch_template(http_put_response_hop_limit=2),
        "EKS's own template": lambda: _ignored(
            eks.ManagedNodeGroup("nodes", cluster="cluster", node_role_arn="role", tags=TAGS)
        ),
    },
    "no-wildcard-rights": {
        "every action": role_policy(allow("*", "arn:aws:s3:::models")),
        "every action of a service": role_policy(allow(["s3:*"], ["arn:aws:s3:::models"])),
        "every resource": role_policy(allow(["s3:GetObject"], ["*"])),
        "all but one action": role_policy(
            json.dumps({"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:aws:s3:::models"}]})
        ),
        "one statement and no list": role_policy(
            json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::models"}})
        ),
        "a role for everybody": lambda: _ignored(
            aws.iam.Role("role", assume_role_policy=allow("sts:AssumeRole", None, Principal={"AWS": "*"}), tags=TAGS)
        ),
        "rights inside of the role": lambda: _ignored(
            aws.iam.Role(
                "role",
                assume_role_policy=allow("sts:AssumeRole", None, Principal={"Service": "ec2.amazonaws.com"}),
                inline_policies=[aws.iam.RoleInlinePolicyArgs(name="all", policy=allow("*", "*"))],
                tags=TAGS,
            )
        ),
        "the administrator's rights, given with the role": lambda: _ignored(
            aws.iam.Role(
                "role",
                assume_role_policy=allow("sts:AssumeRole", None, Principal={"Service": "ec2.amazonaws.com"}),
                managed_policy_arns=["arn:aws:iam::aws:policy/AdministratorAccess"],
                tags=TAGS,
            )
        ),
        "the administrator's rights": lambda: _ignored(
            aws.iam.RolePolicyAttachment("a", role="r", policy_arn="arn:aws:iam::aws:policy/AdministratorAccess")
        ),
    },
    "no-access-keys": {"a key": lambda: _ignored(aws.iam.AccessKey("key", user="somebody"))},
    "no-open-security-group": {
        "to all of IPv4": security_group("0.0.0.0/0"),
        "to half of IPv4": security_group("128.0.0.0/1"),
        "to all of IPv6, in a rule of its own": lambda: _ignored(
            aws.vpc.SecurityGroupIngressRule(
                "rule", security_group_id="sg-1", ip_protocol="tcp", cidr_ipv6="::/0", tags=TAGS
            )
        ),
    },
    "tags": {
        "none": lambda: _ignored(aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16")),
        "one is missing": lambda: _ignored(
            aws.ec2.Vpc("vpc", cidr_block="10.0.0.0/16", tags={"project": "model-serving", "stack": "test"})
        ),
    },
    "image-by-digest": {"a tag": deployment({"image": "registry.example.com/server:1.2"})},
    "no-latest": {
        "said": deployment({"image": "registry.example.com:5000/server:latest"}),
        "left out": deployment({"image": "registry.example.com:5000/server"}),
        "chart without a version": release(version=None),
        "inside of a chart's values": release("prometheus", values={"operator": {"image": {"tag": "latest"}}}),
        "built so": lambda: _ignored(docker.Image("image", image_name="registry.example.com/server:latest")),
    },
    "non-root": {"not said": with_security(runAsNonRoot=None), "root itself": with_security(runAsUser=0)},
    "read-only-root": {"not said": with_security(readOnlyRootFilesystem=None)},
    "no-privileges": {
        "may gain some": with_security(allowPrivilegeEscalation=None),
        "has them all": with_security(privileged=True),
        "keeps capabilities": with_security(capabilities={"drop": ["NET_RAW"]}),
        "the node's network": deployment(pod={"hostNetwork": True}),
        "is given one more": with_security(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        "any system call": with_security(seccompProfile={"type": "Unconfined"}),
        "any system call, said of the pod": deployment(
            pod={"securityContext": {"seccompProfile": {"type": "Unconfined"}}}
        ),
        "a port of the node": deployment({"ports": [{"containerPort": 80, "hostPort": 80}]}),
        "the node's files": deployment(pod={"volumes": [{"name": "logs", "hostPath": {"path": "/var/log"}}]}),
    },
    "requests-and-limits": {
        "none": deployment(without="resources"),
        "no limit of memory": deployment({"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}),
    },
    "probes": {
        "no readiness": deployment(without="readinessProbe"),
        "no liveness": deployment(without="livenessProbe"),
        "a sidecar that nothing waits for": deployment(sidecar={}),
    },
    "disruption-budget": {
        "none": deployment(replicas=2),
        "none for what a scaler makes two": deployment(replicas=1, scaled_to=2),
        "for other pods": deployment(replicas=2, budget_for="other"),
        "one that nothing can be drained with": deployment(
            replicas=2, budget_for="server", budget={"maxUnavailable": 0}
        ),
        "one that keeps all of a single replica": deployment(budget_for="server", budget={"minAvailable": 1}),
        "one that lets all go": deployment(replicas=2, budget_for="server", budget={"maxUnavailable": "100%"}),
        "two, with which Kubernetes evicts none": deployment(replicas=2, budget_for="server", budgets=2),
    },
    "mutual-tls": {
        "not said": namespace(mutual_tls=None),
        "not demanded": namespace(mutual_tls="PERMISSIVE"),
        "demanded of some pods alone": namespace(mutual_tls="STRICT", of={"matchLabels": {"app": "server"}}),
        "off for a port": istio(
            "security.istio.io/v1",
            "PeerAuthentication",
            {"mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}},
        ),
        "off for a host": istio(
            "networking.istio.io/v1", "DestinationRule", {"host": "h", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
        ),
        "off for a subset": istio(
            "networking.istio.io/v1",
            "DestinationRule",
            {"host": "h", "subsets": [{"name": "v1", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}]},
        ),
        "off for a port of a host": istio(
            "networking.istio.io/v1",
            "DestinationRule",
            {
                "host": "h",
                "trafficPolicy": {"portLevelSettings": [{"port": {"number": 1}, "tls": {"mode": "DISABLE"}}]},
            },
        ),
        "pods without a proxy, by label": without_proxy({"labels": {"sidecar.istio.io/inject": "false"}}),
        "pods without a proxy, by annotation": without_proxy({"annotations": {"sidecar.istio.io/inject": "false"}}),
        "a port past the proxy": told_to_the_mesh("excludeInboundPorts", "9697,8500"),
        "few ports for the proxy": told_to_the_mesh("includeInboundPorts", "8500"),
    },
    "closed-egress": {
        "istiod's default": release(values={}),
        "open for a namespace": istio(*SIDECAR, {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}),
        "addresses past the proxies": release(values={**CLOSED, "global": {"proxy": {"excludeIPRanges": "0.0.0.0/0"}}}),
        "few addresses for the proxies": release(
            values={**CLOSED, "global": {"proxy": {"includeIPRanges": "10.0.0.0/8"}}}
        ),
        "addresses past a pod's proxy": told_to_the_mesh("excludeOutboundIPRanges", "0.0.0.0/0"),
        "a port past a pod's proxy": told_to_the_mesh("excludeOutboundPorts", "443"),
        "a host with every address": istio(*ENTRY, {"hosts": ["one.example.com"], "addresses": ["0.0.0.0/0"]}),
        "every host of a domain": istio(*ENTRY, {"hosts": ["*.amazonaws.com"]}),
        "anywhere": network_policy({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": []}]}),
        "the machine's credentials": egress_to({"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}),
    },
    "network-policy": {
        "none": namespace(denied=()),
        "one way alone": namespace(denied=("Ingress",)),
        "anybody comes in": namespace(ingress=[{"ports": [{"port": 80}]}]),
    },
    "end-of-support": {"nobody knows it": cluster(version="1.30")},
}

KEEPING: dict[str, Program] = {
    "bucket": bucket(blocked={}),
    "bucket that everybody may not read without TLS": bucket(
        blocked={}, policy=json.dumps({"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*"}]})
    ),
    "launch template": launch_template(),
    "role policy": role_policy(allow(["s3:GetObject"], ["arn:aws:s3:::models/models/clothing/*"])),
    "actions that AWS cannot narrow": role_policy(allow(["ec2:DescribeSubnets", "ec2:DescribeTags"], ["*"])),
    "security group": security_group("10.0.0.0/16"),
    "deployment": deployment(),
    "scaled deployment with a budget": deployment(replicas=1, scaled_to=2, budget_for="server"),
    "sidecar": deployment(sidecar={"startupProbe": {"httpGet": {"path": "/readyz", "port": 9697}}}),
    "namespace": namespace(),
    "pods without a proxy beside the mesh": deployment(metadata={"labels": {"sidecar.istio.io/inject": "false"}}),
    "model-sync's metrics past the proxy": told_to_the_mesh("excludeInboundPorts", "9697"),
    "egress": egress_to({"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}),
    "istiod": release(),
    "other chart": release("base", values={}),
    "service entry": istio(*ENTRY, {"hosts": ["models.s3.eu-central-1.amazonaws.com"]}),
    "cluster": cluster(),
}
