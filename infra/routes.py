"""Who may ask the models, and which version answers: Istio's objects.

Sources: https://istio.io/latest/docs/reference/config/networking/ and .../config/security/authorization-policy/
"""

from collections.abc import Mapping
from typing import Any, Final

from infra import config, model_pods
from infra.conventions import MODELS_NAMESPACE, SERVING_GRPC_PORT
from infra.mesh.authentication import API_KEY_HEADER, PREDICTIONS
from infra.mesh.ingress import authorities
from infra.model_pods import RUNTIME_LABEL, VERSION_LABEL

Spec = dict[str, Any]

GRPC_PORT: Final = 31400
VERSION_HEADER: Final = "x-model-version"
"""With a version's number in it, that version answers and not the one that the weights choose."""

_GET_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
_MESH: Final = "mesh"


def subset(version: config.Version) -> str:
    """The name of a version in routes: ``v1``, or ``latest``."""
    return model_pods.suffix(version)


def gateways(mesh_gateway: str | None) -> list[str]:
    """Where a model's routes hold: in the mesh, and at the door where gRPC is let in there."""
    return [_MESH, *([mesh_gateway] if mesh_gateway else [])]


def matches(mesh_gateway: str | None, **more: Any) -> list[Spec]:
    """Which requests are meant: all of the mesh's, and at the door predictions on the port of gRPC alone."""
    at_the_door = {
        "gateways": [mesh_gateway],
        "port": GRPC_PORT,
        "uri": {"prefix": PREDICTIONS.removesuffix("*")},
        **more,
    }
    return [{"gateways": [_MESH], **more}, *([at_the_door] if mesh_gateway else [])]


NO_RETRIES: Final[Spec] = {"attempts": 0}
"""The gateway asks again itself, and knows how often and how long; a second place would multiply the requests."""

WITHOUT_KEY: Final[Spec] = {"request": {"remove": [API_KEY_HEADER]}}
"""What a client has shown at the door is not for an image that somebody else has made."""


def traffic_policy() -> Spec:
    """How requests are spread over a version's pods."""
    return {
        # By load and not by zone: two replicas in three zones would leave one with the requests of two.
        "loadBalancer": {"simple": "LEAST_REQUEST", "localityLbSetting": {"enabled": False}},
        "outlierDetection": {
            # Only who cannot be reached is left out for a while. A full queue answers UNAVAILABLE, and leaving that
            # pod out would only fill the others'.
            "splitExternalLocalOriginErrors": True,
            "consecutiveLocalOriginFailures": 5,
            "consecutive5xxErrors": 0,
            "consecutiveGatewayErrors": 0,
            "interval": "5s",
            "baseEjectionTime": "15s",
            "maxEjectionPercent": 50,
            # With fewer than half left, all are asked again: https://istio.io/latest/news/releases/1.31.x/
            "minHealthPercent": 50,
        },
    }


def destination_rule(model: str, version: config.Version) -> Spec:
    """One version as a subset of its model's Service; Istio joins a host's rules into one.

    A rule for each version, so that a new version's subset is there before the first route to it, and an old one's
    until after the last: a route to a missing subset answers 503.
    """
    return {
        "host": model_pods.host(model),
        "subsets": [
            {"name": subset(version), "labels": {VERSION_LABEL: str(version)}, "trafficPolicy": traffic_policy()}
        ],
    }


def shares(model: config.TensorflowModel) -> dict[config.Version, int]:
    """Percent of the requests for each version."""
    match model:
        case config.TensorflowModel(
            versions=config.Versions(canary=int() as version), canary=config.Weighted(weight=weight)
        ):
            return {model.stable: 100 - weight, version: weight}
    return {model.stable: 100}


def virtual_service(
    model: str, settings: config.TensorflowModel, *, host: str | None, mesh_gateway: str | None
) -> Spec:
    """The routes to a model's versions; with a ``mesh_gateway``, from the door too."""

    def destination(version: config.Version) -> Spec:
        port = {"number": SERVING_GRPC_PORT}
        return {"destination": {"host": model_pods.host(model), "subset": subset(version), "port": port}}

    weights = shares(settings)
    forced = [
        {
            "name": subset(version),
            "match": matches(mesh_gateway, headers={VERSION_HEADER: {"exact": str(version)}}),
            "retries": NO_RETRIES,
            "route": [destination(version)],
        }
        for version in weights
    ]
    weighted = {
        "name": "weights",
        "match": matches(mesh_gateway),
        "retries": NO_RETRIES,
        "route": [{**destination(version), "weight": weight} for version, weight in weights.items()],
    }
    return _front(model, [*forced, weighted], host=host, mesh_gateway=mesh_gateway)


def delegating_virtual_service(model: str, *, host: str | None, mesh_gateway: str | None) -> Spec:
    """The way to a model whose weights Flagger moves: on to a VirtualService of Flagger's own.

    Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate
    """
    on = {
        "name": "progressive",
        "match": matches(mesh_gateway),
        "retries": NO_RETRIES,
        "delegate": {"name": model_pods.progressive_name(model), "namespace": MODELS_NAMESPACE},
    }
    return _front(model, [on], host=host, mesh_gateway=mesh_gateway)


def _front(model: str, http: list[Spec], *, host: str | None, mesh_gateway: str | None) -> Spec:
    return {
        "hosts": authorities(model, MODELS_NAMESPACE, host if mesh_gateway else None),
        "gateways": gateways(mesh_gateway),
        "http": http,
    }


def grpc_container_routes(
    model: str, settings: config.ContainerModel, *, namespace: str, host: str | None, mesh_gateway: str
) -> Spec:
    """The way from the door to a container that speaks gRPC."""
    service = model_pods.host(model, namespace)
    return {
        "hosts": authorities(model, namespace, host),
        "gateways": [mesh_gateway],
        "http": [
            {
                "match": [{"port": GRPC_PORT}],
                "retries": NO_RETRIES,
                "headers": WITHOUT_KEY,
                "route": [{"destination": {"host": service, "port": {"number": settings.port}}}],
            }
        ],
    }


def tensorflow_callers(gateway_principal: str, ingress_principal: str | None) -> Spec:
    """Who may ask TensorFlow Serving: the gateway, and the door where gRPC is let in there.

    Nobody may call what loads other models, which shares the port, or the REST API: the kubelet and Prometheus are
    answered by the mesh's agent.
    """
    operations = {gateway_principal: [PREDICTIONS, _GET_STATUS]}
    if ingress_principal:
        operations[ingress_principal] = [PREDICTIONS]
    return {
        "selector": {"matchLabels": {RUNTIME_LABEL: "tensorflow"}},
        "action": "ALLOW",
        "rules": [
            {
                "from": [{"source": {"principals": [principal]}}],
                "to": [{"operation": {"ports": [str(SERVING_GRPC_PORT)], "paths": paths}}],
            }
            for principal, paths in operations.items()
        ],
    }


def container_callers(model: str, settings: config.ContainerModel, ingress_principal: str) -> Spec:
    """Who may ask an image that serves by itself: the door."""
    return {
        "selector": {"matchLabels": {model_pods.MODEL_LABEL: model}},
        "action": "ALLOW",
        "rules": [
            {
                "from": [{"source": {"principals": [ingress_principal]}}],
                "to": [{"operation": {"ports": [str(settings.port)]}}],
            }
        ],
    }


def weighted(models: Mapping[str, config.Model]) -> dict[str, config.TensorflowModel]:
    """The models whose routes stand in the stack file."""
    return {
        name: model
        for name, model in sorted(models.items())
        if isinstance(model, config.TensorflowModel) and not isinstance(model.canary, config.Progressive)
    }


def progressive(
    models: Mapping[str, config.Model],
) -> dict[str, tuple[config.TensorflowModel, config.Progressive]]:
    """The models whose routes Flagger moves."""
    return {
        name: (model, model.canary)
        for name, model in sorted(models.items())
        if isinstance(model, config.TensorflowModel) and isinstance(model.canary, config.Progressive)
    }
