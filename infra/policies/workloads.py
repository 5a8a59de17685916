"""The rules for pods."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.conventions import MODELS_BASELINE_NAMESPACE
from infra.policies.rule import Finding, Stack, Subject, Unknown, is_unknown

_BY_DIGEST: Final = re.compile(r"@sha256:([0-9a-f]{64}|\$\{[^}]*\})$")
_SERVERS: Final = ("Deployment", "StatefulSet", "DaemonSet")
_TEMPLATES: Final = (*_SERVERS, "ReplicaSet", "ReplicationController", "Job")

Container = Mapping[str, Any]


def template(subject: Subject) -> Mapping[str, Any]:
    """The metadata and spec of the pods that an object makes, or is; empty for one that makes none."""
    match subject.kind:
        case "Pod":
            return subject.inputs
        case "CronJob":
            return ((subject.spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
        case kind if kind in _TEMPLATES:
            return subject.spec.get("template") or {}
    return {}


def pod(subject: Subject) -> Mapping[str, Any]:
    """The spec of those pods."""
    return template(subject).get("spec") or {}


def containers(subject: Subject) -> Iterator[tuple[str, Container]]:
    """The containers of those pods, with the paths that messages name them by."""
    spec = pod(subject)
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or []:
            yield f"{group}[{container.get('name')}]", container


def image_by_digest(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """What runs is what was tried: a digest cannot be moved to another image."""
    for path, container in containers(subject):
        image = str(container.get("image"))
        if is_unknown(image):
            # Pulumi's Docker provider computes it; everything else that is computed cannot be judged.
            if not image.endswith(".repoDigest}"):
                yield Unknown(f"{path}.image")
        elif not _BY_DIGEST.search(image):
            yield f"{path}.image is {image}: name it by digest (repository@sha256:…)"


def latest_image(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """Nothing is called latest, nor left to be it by having no tag and no digest."""
    for path, container in containers(subject):
        if _is_latest(str(container.get("image"))):
            yield f"{path}.image is {container.get('image')}: name a version, or better a digest"
    if subject.type == "docker:index/image:Image" and _is_latest(str(subject.inputs.get("imageName"))):
        yield f"imageName is {subject.inputs.get('imageName')}: tag it by its content"
    if subject.type == "kubernetes:helm.sh/v3:Release":
        if not subject.inputs.get("version"):
            yield "has no version: a chart without one is the latest"
        for path in _latest_tags(subject.inputs.get("values"), "values"):
            yield f"{path} is latest: name a version"


def runs_as_root(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """No container runs as root, but in the namespace of models that the stack file sets to baseline."""
    if subject.namespace == MODELS_BASELINE_NAMESPACE:
        return
    of_pod = pod(subject).get("securityContext") or {}
    for path, container in containers(subject):
        context = {**of_pod, **_context(container)}
        if context.get("runAsNonRoot") is not True:
            yield f"{path} may run as root: set securityContext.runAsNonRoot to true"
        if context.get("runAsUser") == 0:
            yield f"{path}.securityContext.runAsUser is 0: name another user"


def writable_root(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """No container changes its own image's files, but in the namespace of models that are set to baseline."""
    if subject.namespace == MODELS_BASELINE_NAMESPACE:
        return
    for path, container in containers(subject):
        if _context(container).get("readOnlyRootFilesystem") is not True:
            yield f"{path} can write its root: set securityContext.readOnlyRootFilesystem to true"


def privileges(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """No container gets more rights than it starts with, nor any of the node's."""
    spec = pod(subject)
    for setting in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(setting):
            yield f"{setting} is true: remove it"
    for volume in spec.get("volumes") or []:
        if "hostPath" in volume:
            yield f"volume {volume.get('name')} is a folder of the node: use an emptyDir or a claim"
    for path, container in containers(subject):
        context = {**(spec.get("securityContext") or {}), **_context(container)}
        yield from (f"{path} {problem}" for problem in _rights(context, container))
        dropped = (context.get("capabilities") or {}).get("drop") or []
        if subject.namespace != MODELS_BASELINE_NAMESPACE and "ALL" not in dropped:
            yield f"{path} keeps capabilities: set securityContext.capabilities.drop to [ALL]"


def _rights(context: Mapping[str, Any], container: Container) -> Iterator[str]:
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges: set securityContext.allowPrivilegeEscalation to false"
    if context.get("privileged"):
        yield "is privileged: remove it"
    for capability in (context.get("capabilities") or {}).get("add") or []:
        if capability != "NET_BIND_SERVICE":
            yield f"gets the capability {capability}: remove it"
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield "may make any system call: set securityContext.seccompProfile.type to RuntimeDefault"
    for port in container.get("ports") or []:
        if port.get("hostPort"):
            yield f"has port {port['hostPort']} of the node: remove hostPort, and use a Service"


def requests_and_limits(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """The scheduler knows what a container needs, and the node is safe from one that takes more memory."""
    for path, container in containers(subject):
        resources = container.get("resources") or {}
        for group, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
            if not (resources.get(group) or {}).get(name):
                yield f"{path}.resources.{group}.{name} is not set: say how much"


def probes(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """Kubernetes learns whether a container may get requests, and whether it has come up or hangs."""
    if subject.kind not in _SERVERS:
        return
    for path, container in containers(subject):
        if path.startswith("initContainers"):
            if container.get("restartPolicy") == "Always" and not container.get("startupProbe"):
                yield f"{path} has no startupProbe: without, what needs this sidecar starts too early"
            continue
        if not container.get("readinessProbe"):
            yield f"{path} has no readinessProbe: without, it gets requests before it can answer"
        if not (container.get("livenessProbe") or container.get("startupProbe")):
            yield f"{path} has neither livenessProbe nor startupProbe: without, one that hangs stays"


def disruption_budget(subject: Subject, stack: Stack) -> Iterator[Finding]:
    """What has more than one replica keeps some of them while nodes are drained."""
    if subject.kind not in ("Deployment", "StatefulSet"):
        return
    replicas = _replicas(subject, stack)
    if not isinstance(replicas, int):
        yield Unknown("spec.replicas")
        return
    labels = (template(subject).get("metadata") or {}).get("labels") or {}
    budgets = [
        it
        for it in stack.of("PodDisruptionBudget")
        if it.namespace == subject.namespace and selects(it.spec.get("selector"), labels)
    ]
    if replicas > 1 and not budgets:
        yield f"has {replicas} replicas and no PodDisruptionBudget that selects its pods: add one"
    if len(budgets) > 1:
        yield f"has pods that {len(budgets)} PodDisruptionBudgets select: with two, none can be evicted; leave one"
    for budget in budgets:
        allowed, kept = budget.spec.get("maxUnavailable"), budget.spec.get("minAvailable")
        if allowed in (0, "0", "0%") or kept == "100%" or (isinstance(kept, int) and kept >= replicas):
            yield "has a PodDisruptionBudget that lets no pod go: nodes are never drained; set maxUnavailable to 1"
        if allowed == "100%" or kept in (0, "0", "0%"):
            yield "has a PodDisruptionBudget that lets all pods go at once: set maxUnavailable to 1"


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects pods of these labels; an empty one selects all, none selects none."""
    if not isinstance(selector, Mapping):
        return False
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(expression, labels) for expression in selector.get("matchExpressions") or []
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = str(expression.get("key")), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _replicas(subject: Subject, stack: Stack) -> Any:
    """How many there are at least; a reference where only a deployment knows it."""
    name = (subject.inputs.get("metadata") or {}).get("name")
    for scaler in stack.of("HorizontalPodAutoscaler"):
        target = scaler.spec.get("scaleTargetRef") or {}
        if scaler.namespace == subject.namespace and (target.get("kind"), target.get("name")) == (subject.kind, name):
            return scaler.spec.get("minReplicas") or 1
    replicas = subject.spec.get("replicas")
    return 1 if replicas is None else replicas


def _context(container: Container) -> Mapping[str, Any]:
    return container.get("securityContext") or {}


def _is_latest(image: str) -> bool:
    if "@" in image or is_unknown(image):
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in ("", "latest") and not image.endswith("}")


def _latest_tags(values: Any, path: str) -> Iterator[str]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            if key == "tag" and value == "latest":
                yield f"{path}.{key}"
            yield from _latest_tags(value, f"{path}.{key}")
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _latest_tags(value, f"{path}[{index}]")
