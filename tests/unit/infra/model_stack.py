"""Serving, gateway and rollout of a few models, evaluated together."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pydantic import TypeAdapter

from infra import canary, config
from infra.gateway import Gateway, GatewayArgs
from infra.plan.evaluate import Evaluation, Resource, evaluate
from infra.promotion import Access
from infra.rollout import Rollout, RolloutArgs
from infra.serving import Serving, ServingArgs, Store

DIGEST = "sha256:" + "0" * 64
MESH_GATEWAY = "ingress/public"
DOOR = "cluster.local/ns/ingress/sa/ingress"

PICTURE: dict[str, Any] = {
    "input": {"tensor": "in", "size": [8, 8], "scaling": "unit"},
    "output": {"tensor": "out", "labels": ["a", "b"]},
}
STABLE: dict[str, Any] = {"versions": {"stable": 1}, **PICTURE}
WEIGHTED: dict[str, Any] = {
    "versions": {"stable": 1, "canary": 2},
    "canary": {"strategy": "weighted", "weight": 30},
    **PICTURE,
}
PROGRESSIVE: dict[str, Any] = {"versions": {"stable": 1}, "canary": {"strategy": "progressive"}, **PICTURE}
GPU: dict[str, Any] = {"accelerator": "gpu", "versions": {"stable": 3}, "replicas": {"min": 1, "max": 4}}
HTTP: dict[str, Any] = {"runtime": "container", "image": f"docker.io/them/flask@{DIGEST}", "port": 5000}
LAX: dict[str, Any] = {**HTTP, "podSecurity": "baseline", "healthPath": "/health"}
GRPC: dict[str, Any] = {**HTTP, "protocol": "grpc", "port": 50051}

MODELS: dict[str, dict[str, Any]] = {
    "clothing": STABLE,
    "digits": WEIGHTED,
    "faces": PROGRESSIVE,
    "resnet": GPU,
    "flask": HTTP,
    "lax": LAX,
    "triton": GRPC,
}

_MODEL: TypeAdapter[config.Model] = TypeAdapter(config.Model)


def parsed(models: Mapping[str, Any]) -> dict[str, config.Model]:
    return {name: _MODEL.validate_python(model) for name, model in models.items()}


def model_stack(models: Mapping[str, Any], *, grpc: bool = True, host: str | None = None) -> Evaluation:
    """The three stages, as ``program.build`` wires them."""
    settings = parsed(models)
    default = next(name for name, model in sorted(settings.items()) if getattr(model, "input", None))
    ingress = config.Ingress.model_validate(
        {
            "authentication": {"kind": "open"},
            "grpc": {"enabled": grpc},
            "host": host,
            "certificate_arn": f"arn:aws:acm:eu-central-1:{'1' * 12}:certificate/a" if host else None,
        }
    )

    def program() -> None:
        kubernetes = k8s.Provider("kubernetes", context="test")
        mesh = pulumi.CustomResource("test:index:Mesh", "mesh")
        roles: dict[str, pulumi.Resource] = {
            name: pulumi.CustomResource("test:index:Role", name)
            for name, model in settings.items()
            if isinstance(model, config.TensorflowModel)
        }
        serving = Serving(
            "serving",
            ServingArgs(
                kubernetes=kubernetes,
                models=settings,
                images={"cpu": f"registry/serving@{DIGEST}", "gpu": f"registry/serving-gpu@{DIGEST}"},
                model_sync_image=f"registry/model-sync@{DIGEST}",
                mirrored_images={
                    name: f"registry/{name}@{DIGEST}"
                    for name, model in settings.items()
                    if isinstance(model, config.ContainerModel)
                },
                store=Store(bucket="the-bucket", environment={"AWS_REGION": "eu-central-1"}),
                roles=roles,
                after=[mesh],
            ),
        )
        Gateway(
            "gateway",
            GatewayArgs(
                kubernetes=kubernetes,
                image=f"registry/gateway@{DIGEST}",
                settings=config.Gateway(),
                default_model=default,
                models=settings,
                image_hosts=config.ImageHosts(public=("images.example.com",)),
                host=host,
                mesh_gateway=MESH_GATEWAY,
                ingress_principal=DOOR,
                load_principal=canary.load_principal(settings),
                after=[mesh],
                models_ready=[it for workload in serving.workloads.values() for it in workload.ready],
            ),
        )
        Rollout(
            "rollout",
            RolloutArgs(
                kubernetes=kubernetes,
                models=settings,
                workloads=serving.workloads,
                revisions=serving.revisions,
                ingress=ingress,
                mesh_gateway=MESH_GATEWAY,
                ingress_principal=DOOR,
                prometheus_address="http://monitoring-prometheus.monitoring.svc:9090",
                mirror=None,
                access=Access(context="test"),
                after=[mesh],
                monitoring=[],
            ),
        )

    return evaluate(program, "dev")


@cache
def all_kinds() -> Evaluation:
    return model_stack(MODELS)


def objects(evaluation: Evaluation, kind: str) -> dict[str, Resource]:
    """The Kubernetes objects of one kind, by ``namespace/name``."""
    found = {}
    for resource in evaluation.resources:
        if resource.type.startswith("kubernetes:") and resource.type.endswith(f":{kind}"):
            metadata = resource.inputs["metadata"]
            found[f"{metadata['namespace']}/{metadata['name']}"] = resource
    return found


def spec(evaluation: Evaluation, kind: str, name: str) -> dict[str, Any]:
    return dict(objects(evaluation, kind)[name].inputs["spec"])


def pod(evaluation: Evaluation, name: str) -> dict[str, Any]:
    return dict(spec(evaluation, "Deployment", name)["template"]["spec"])


def changed(before: Evaluation, after: Evaluation) -> set[str]:
    """The kinds and names of what differs between two evaluations."""

    def indexed(evaluation: Evaluation) -> dict[str, Any]:
        return {f"{it.type.rpartition(':')[2]} {it.name}": it.inputs for it in evaluation.resources}

    old, new = indexed(before), indexed(after)
    return {urn for urn in old.keys() | new.keys() if old.get(urn) != new.get(urn)}
