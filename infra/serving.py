"""The models' servers: for each version its pods, how many of them, how they are found, and what may move them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions
from pulumi_kubernetes.core.v1 import PodSpecArgsDict

from infra import config, model_pods, pods
from infra.conventions import SERVING_GRPC_PORT
from infra.mesh import namespace_of
from infra.model_pods import (
    CONFIG_FILE,
    MODEL_LABEL,
    NAME_LABEL,
    REVISION,
    SERVING_REST_PORT,
    VERSION_LABEL,
    workload_name,
)


@dataclass(frozen=True, kw_only=True)
class Store:
    """How model-sync reaches the model store."""

    bucket: Input[str]
    environment: Mapping[str, Input[str]]
    """AWS's own variables: the region, and for another S3 API than Amazon's its address."""
    secret: Input[str] | None = None
    """The name of a Secret in the models' namespace, whose keys are variables as well."""


@dataclass(frozen=True, kw_only=True)
class ServingArgs:
    """Which models are served, and from what."""

    kubernetes: k8s.Provider
    models: Mapping[str, config.Model]
    images: Mapping[config.Accelerator, Input[str]]
    """TensorFlow Serving's, by digest."""
    model_sync_image: Input[str]
    mirrored_images: Mapping[str, Input[str]]
    """Of the models of the container runtime: their images as our registry has them, by model."""
    store: Store
    roles: Mapping[str, pulumi.Resource]
    """What lets a model's service account read its part of the store: pods that start before would never be let in."""
    after: Sequence[pulumi.Resource]
    """What pods wait for."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model as it is served, for those who route to it."""

    ready: tuple[pulumi.Resource, ...]
    """What a route waits for: its pods and the Services in front of them."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What Flagger is to roll out of a model."""

    template: Output[str]
    """A hash of the pods' template and their autoscaler."""
    checksum: Output[str]
    """Flagger's own checksum of the configuration, which differs whenever the template does."""


class Serving(pulumi.ComponentResource):
    """The Deployments of all models, with what belongs to each."""

    workloads: Mapping[str, Workload]
    revisions: Mapping[str, Revision]
    """Of the models that are rolled out by Flagger."""

    def __init__(self, name: str, args: ServingArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Serving", name, None, opts)
        self._name = name
        self._args = args
        self._revisions: dict[str, Revision] = {}
        self.workloads = {model: self._model(model, settings) for model, settings in sorted(args.models.items())}
        self.revisions = self._revisions
        self.register_outputs({})

    def _model(self, model: str, settings: config.Model) -> Workload:
        after = [*self._args.after, self._service_account(model, settings)]
        match settings:
            case config.ContainerModel():
                return self._container(model, settings, after)
            case config.TensorflowModel(canary=config.Progressive()):
                return self._progressive(model, settings, [*after, *self._role(model)])
            case config.TensorflowModel():
                return self._weighted(model, settings, [*after, *self._role(model)])

    def _role(self, model: str) -> list[pulumi.Resource]:
        return [self._args.roles[model]] if model in self._args.roles else []

    def _weighted(self, model: str, settings: config.TensorflowModel, after: Sequence[pulumi.Resource]) -> Workload:
        """A Deployment for each version; the shares of the requests are the routes' business."""
        versions = [version for version in (settings.stable, settings.second) if version]
        ready: list[pulumi.Resource] = [self._service(model, settings, model, {MODEL_LABEL: model}, _TENSORFLOW_PORTS)]
        for version in versions:
            workload = workload_name(model, version)
            labels = model_pods.pod_labels(model, settings, version)
            configuration = model_pods.models_config(model, version)
            config_map = self._config_map(workload, settings, {CONFIG_FILE: configuration})
            own = {key: labels[key] for key in (NAME_LABEL, VERSION_LABEL)}
            ready += [
                self._service(workload, settings, model, own, [pods.service_port("grpc", SERVING_GRPC_PORT)]),
                self._deployment(
                    workload,
                    settings,
                    selector=own,
                    labels=labels,
                    annotations=model_pods.tensorflow_annotations(configuration),
                    pod=self._tensorflow_pod(model, settings, version, workload),
                    after=[*after, config_map],
                ),
                self._replicas(workload, settings, model_pods.SERVING, own),
            ]
        return Workload(ready=tuple(ready))

    def _progressive(self, model: str, settings: config.TensorflowModel, after: Sequence[pulumi.Resource]) -> Workload:
        """One Deployment, whose changes Flagger carries over to its own copy.

        The Service is there for its name, by which the model is called: the routes lead to Flagger's own.
        """
        version = settings.stable
        configuration = model_pods.models_config(model, version)
        labels = model_pods.pod_labels(model, settings, version)
        annotations = model_pods.tensorflow_annotations(configuration)
        pod = self._tensorflow_pod(model, settings, version, model)
        # Flagger's own copy of the autoscaler follows a promotion and nothing else.
        scaler_spec = pods.autoscaler(model, settings.replicas, model_pods.SERVING, settings.accelerator)
        revision = Output.json_dumps([labels, annotations, pod, scaler_spec], sort_keys=True).apply(model_pods.digest)
        # Whatever changes one of them changes the configuration, by which Flagger tells one revision from another.
        data = {CONFIG_FILE: Output.from_input(configuration), REVISION: revision}
        config_map = self._config_map(model, settings, data)
        deployment = self._deployment(
            model,
            settings,
            selector={NAME_LABEL: model},
            labels=labels,
            annotations=annotations,
            pod=pod,
            after=[*after, config_map],
            # Flagger has it at no replicas while nothing is rolled out, and it is the promotion that is waited for.
            metadata_annotations={"pulumi.com/skipAwait": "true"},
        )
        scaler = self._replicas(model, settings, model_pods.SERVING, {MODEL_LABEL: model})
        self._revisions[model] = Revision(
            template=revision, checksum=Output.all(**data).apply(model_pods.config_checksum)
        )
        service = self._service(model, settings, model, {MODEL_LABEL: model}, _TENSORFLOW_PORTS)
        return Workload(ready=(service, deployment, scaler))

    def _container(self, model: str, settings: config.ContainerModel, after: Sequence[pulumi.Resource]) -> Workload:
        labels = model_pods.pod_labels(model, settings)
        own = {NAME_LABEL: model}
        deployment = self._deployment(
            model,
            settings,
            selector=own,
            labels=labels,
            annotations={},
            pod=model_pods.container_pod(model, settings, image=self._args.mirrored_images[model]),
            after=after,
        )
        self._replicas(model, settings, model_pods.MODEL, own)
        port = pods.service_port(settings.protocol, settings.port)
        return Workload(ready=(self._service(model, settings, model, own, [port]), deployment))

    def _tensorflow_pod(
        self, model: str, settings: config.TensorflowModel, version: config.Version, config_map: str
    ) -> PodSpecArgsDict:
        return model_pods.tensorflow_pod(
            model,
            settings,
            version=version,
            serving_image=self._args.images[settings.accelerator],
            model_sync_image=self._args.model_sync_image,
            bucket=self._args.store.bucket,
            environment=self._args.store.environment,
            secret=self._args.store.secret,
            config_map=config_map,
        )

    def _metadata(
        self, name: str, settings: config.Model, annotations: Mapping[str, str] | None = None
    ) -> k8s.meta.v1.ObjectMetaArgs:
        return k8s.meta.v1.ObjectMetaArgs(name=name, namespace=namespace_of(settings), annotations=annotations)

    def _options(self, after: Sequence[pulumi.Resource]) -> ResourceOptions:
        return ResourceOptions(parent=self, provider=self._args.kubernetes, depends_on=after)

    def _service_account(self, model: str, settings: config.Model) -> k8s.core.v1.ServiceAccount:
        return k8s.core.v1.ServiceAccount(
            f"{self._name}-{model}",
            metadata=self._metadata(model, settings),
            automount_service_account_token=False,
            opts=self._options(self._args.after),
        )

    def _config_map(self, name: str, settings: config.Model, data: Mapping[str, Input[str]]) -> k8s.core.v1.ConfigMap:
        return k8s.core.v1.ConfigMap(
            f"{self._name}-{name}",
            metadata=self._metadata(name, settings),
            data=data,
            opts=self._options(self._args.after),
        )

    def _service(
        self,
        name: str,
        settings: config.Model,
        model: str,
        selector: Mapping[str, str],
        ports: Sequence[k8s.core.v1.ServicePortArgsDict],
    ) -> k8s.core.v1.Service:
        return k8s.core.v1.Service(
            f"{self._name}-{name}",
            # It is there before its pods are ready, and is no reason to wait for them.
            metadata=self._metadata(name, settings, {"pulumi.com/skipAwait": "true"}),
            spec={"selector": selector, "ports": ports},
            opts=self._options(self._args.after),
        )

    def _deployment(
        self,
        name: str,
        settings: config.Model,
        *,
        selector: Mapping[str, str],
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        pod: PodSpecArgsDict,
        after: Sequence[pulumi.Resource],
        metadata_annotations: Mapping[str, str] | None = None,
    ) -> k8s.apps.v1.Deployment:
        spec = pods.deployment(
            selector=selector, labels=labels, annotations=annotations, pod=pod, replicas=settings.replicas.min
        )
        minutes = f"{pods.ROLLOUT_SECONDS // 60 + 1}m"
        waiting = ResourceOptions(
            ignore_changes=["spec.replicas"],
            custom_timeouts=pulumi.CustomTimeouts(create=minutes, update=minutes),
        )
        return k8s.apps.v1.Deployment(
            f"{self._name}-{name}",
            metadata=self._metadata(name, settings, metadata_annotations),
            spec=spec,
            opts=ResourceOptions.merge(self._options(after), waiting),
        )

    def _replicas(
        self, name: str, settings: config.Model, container: str, labels: Mapping[str, str]
    ) -> k8s.autoscaling.v2.HorizontalPodAutoscaler:
        k8s.policy.v1.PodDisruptionBudget(
            f"{self._name}-{name}",
            metadata=self._metadata(name, settings),
            spec=pods.disruption_budget(labels),
            opts=self._options(self._args.after),
        )
        return k8s.autoscaling.v2.HorizontalPodAutoscaler(
            f"{self._name}-{name}",
            metadata=self._metadata(name, settings),
            spec=pods.autoscaler(name, settings.replicas, container, settings.accelerator),
            opts=self._options(self._args.after),
        )


_TENSORFLOW_PORTS = [pods.service_port("grpc", SERVING_GRPC_PORT), pods.service_port("http", SERVING_REST_PORT)]
