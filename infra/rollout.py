"""Which version gets which requests: by the weights of the stack file, or by Flagger's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource

from infra import canary, charts, config, gateway, handover, model_pods, promotion, routes, versions
from infra.conventions import GATEWAY_NAMESPACE, MODELS_NAMESPACE, MONITORING_NAMESPACE
from infra.mesh import namespace_of
from infra.serving import Revision, Workload


@dataclass(frozen=True, kw_only=True)
class RolloutArgs:
    """Which models are rolled out, and how they are reached."""

    kubernetes: k8s.Provider
    models: Mapping[str, config.Model]
    workloads: Mapping[str, Workload]
    revisions: Mapping[str, Revision]
    """Of the progressive ones."""
    ingress: config.Ingress
    mesh_gateway: str
    """The Istio Gateway that clients come in through: ``namespace/name``."""
    ingress_principal: str
    prometheus_address: str
    mirror: str | None
    access: promotion.Access
    """How the waits for pods and promotions reach the API server."""
    after: Sequence[pulumi.Resource]
    """What the objects of the mesh wait for."""
    monitoring: Sequence[pulumi.Resource]
    """What Flagger waits for: Prometheus, and the namespace that both are in."""


class Rollout(pulumi.ComponentResource):
    """The routes to all versions of all models, and who may ask for them."""

    def __init__(self, name: str, args: RolloutArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Rollout", name, None, opts)
        self._name = name
        self._args = args
        grpc = args.ingress.grpc.enabled
        self._host = args.ingress.host
        self._grpc_gateway = args.mesh_gateway if grpc else None

        self._callers(grpc)
        for model, settings in routes.weighted(args.models).items():
            self._weighted(model, settings)
        progressive = routes.progressive(args.models)
        if progressive:
            flagger = self._flagger(load=canary.load_principal(args.models) is not None)
            for model, (settings, strategy) in progressive.items():
                self._progressive(model, settings, strategy, flagger)
        self.register_outputs({})

    def _options(self, *after: pulumi.Resource) -> ResourceOptions:
        return ResourceOptions(parent=self, provider=self._args.kubernetes, depends_on=[*self._args.after, *after])

    def _object(
        self,
        api: str,
        kind: str,
        name: str,
        spec: Mapping[str, Any],
        *after: pulumi.Resource,
        namespace: str = MODELS_NAMESPACE,
        annotations: Mapping[str, Any] | None = None,
    ) -> CustomResource:
        return CustomResource(
            f"{self._name}-{name}",
            api_version=api,
            kind=kind,
            metadata=k8s.meta.v1.ObjectMetaArgs(name=name, namespace=namespace, annotations=annotations),
            spec=spec,
            opts=self._options(*after),
        )

    def _callers(self, grpc: bool) -> None:
        security, kind = versions.ISTIO_SECURITY_API, "AuthorizationPolicy"
        door = self._args.ingress_principal
        containers = {
            model: settings
            for model, settings in sorted(self._args.models.items())
            if isinstance(settings, config.ContainerModel)
        }
        if len(containers) < len(self._args.models):
            spec = routes.tensorflow_callers(gateway.PRINCIPAL, door if grpc else None)
            self._object(security, kind, "tensorflow", spec)
        for model, settings in containers.items():
            where = namespace_of(settings)
            if settings.protocol == "http" or grpc:
                spec = routes.container_callers(model, settings, door)
                # No model's name ends so: it cannot be that of another policy.
                self._object(security, kind, f"{model}-callers", spec, namespace=where)
            if self._grpc_gateway and settings.protocol == "grpc":
                spec = routes.grpc_container_routes(
                    model, settings, namespace=where, host=self._host, mesh_gateway=self._grpc_gateway
                )
                self._object(versions.ISTIO_NETWORKING_API, "VirtualService", model, spec, namespace=where)

    def _weighted(self, model: str, settings: config.TensorflowModel) -> None:
        """The subsets wait for nothing, the routes for the subsets and for as many pods as they send requests to."""
        networking = versions.ISTIO_NETWORKING_API
        subsets = [
            self._object(
                networking,
                "DestinationRule",
                f"{model}-{routes.subset(version)}",
                routes.destination_rule(model, version),
            )
            for version in routes.shares(settings)
        ]
        ready = [*subsets, *self._args.workloads[model].ready]
        handovers = [
            self._handover(model_pods.workload_name(model, version), model, settings, percent, *ready)
            for version, percent in routes.shares(settings).items()
        ]
        spec = routes.virtual_service(model, settings, host=self._host, mesh_gateway=self._grpc_gateway)
        self._object(networking, "VirtualService", model, spec, *ready, *handovers)

    def _handover(
        self, workload: str, model: str, settings: config.TensorflowModel, percent: int, *after: pulumi.Resource
    ) -> handover.Handover:
        """Deleted before what it waits for, so that this stays while requests may still come."""
        return handover.Handover(
            f"{self._name}-{workload}",
            namespace=MODELS_NAMESPACE,
            model=model,
            workload=workload,
            percent=percent,
            most=settings.replicas.max,
            access=self._args.access,
            opts=ResourceOptions(parent=self, depends_on=after, deleted_with=self._args.kubernetes),
        )

    def _flagger(self, *, load: bool) -> list[pulumi.Resource]:
        """Flagger with what it judges by; whoever depends on it is deleted before it."""
        address, mirror = self._args.prometheus_address, self._args.mirror
        release = charts.release(
            f"{self._name}-{versions.FLAGGER.name}",
            versions.FLAGGER,
            namespace=MONITORING_NAMESPACE,
            values=canary.flagger_values(address, mirror),
            mirror=mirror,
            opts=self._options(*self._args.monitoring),
        )
        templates = [
            self._object(versions.FLAGGER_API, "MetricTemplate", name, spec, release)
            for name, spec in canary.metric_templates(address).items()
        ]
        return [release, *templates, *(self._load_tester() if load else [])]

    def _load_tester(self) -> list[pulumi.Resource]:
        name = f"{self._name}-{canary.LOAD_TESTER}"
        metadata = k8s.meta.v1.ObjectMetaArgs(name=canary.LOAD_TESTER, namespace=GATEWAY_NAMESPACE)
        account = k8s.core.v1.ServiceAccount(
            name, metadata=metadata, automount_service_account_token=False, opts=self._options()
        )
        picture = k8s.core.v1.ConfigMap(
            name,
            metadata=metadata,
            binary_data={canary.LOAD_PICTURE: canary.LOAD_PICTURE_BASE64},
            opts=self._options(),
        )
        policies = [
            k8s.networking.v1.NetworkPolicy(
                f"{self._name}-{policy}",
                metadata=k8s.meta.v1.ObjectMetaArgs(name=policy, namespace=GATEWAY_NAMESPACE),
                spec=spec,
                opts=self._options(),
            )
            for policy, spec in canary.load_network_policies().items()
        ]
        release = charts.release(
            name,
            versions.FLAGGER_LOAD_TESTER,
            namespace=GATEWAY_NAMESPACE,
            values=canary.load_tester_values(self._args.mirror),
            mirror=self._args.mirror,
            opts=self._options(account, picture),
        )
        return [release, *policies]

    def _progressive(
        self,
        model: str,
        settings: config.TensorflowModel,
        strategy: config.Progressive,
        flagger: Sequence[pulumi.Resource],
    ) -> None:
        """The routes wait for Flagger's, which are there once the first revision is promoted."""
        revision = self._args.revisions[model]
        rolled_out = self._object(
            versions.FLAGGER_API,
            "Canary",
            model,
            canary.canary(model, settings, strategy),
            *flagger,
            *self._args.workloads[model].ready,
            annotations={canary.REVISION_ANNOTATION: revision.template},
        )
        promoted = promotion.Promotion(
            f"{self._name}-{model}",
            namespace=MODELS_NAMESPACE,
            canary=model,
            checksum=revision.checksum,
            seconds=canary.longest_seconds(strategy),
            access=self._args.access,
            opts=ResourceOptions(parent=self, depends_on=[rolled_out]),
        )
        # For a model that was, or will be, a weighted one: between its own revisions, Flagger hands over.
        handed_over = self._handover(f"{model}-primary", model, settings, 100, promoted)
        spec = routes.delegating_virtual_service(model, host=self._host, mesh_gateway=self._grpc_gateway)
        self._object(versions.ISTIO_NETWORKING_API, "VirtualService", model, spec, promoted, handed_over)
