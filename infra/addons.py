"""What the cluster needs beside the mesh and the models, each installed by its own Helm chart.

The values are plain functions; a chart's default that is repeated here would be noise, so each line changes one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions

from infra import charts, iam, versions
from infra.cluster import Cluster
from infra.conventions import (
    GATEWAY_NAMESPACE,
    INGRESS_NAMESPACE,
    MODEL_SYNC_PORT_NAME,
    MODELS_BASELINE_NAMESPACE,
    MODELS_NAMESPACE,
    MONITORING_NAMESPACE,
    PROJECT,
)

Values = dict[str, Any]

REQUESTS_IN_FLIGHT = "requests_in_flight"
"""The metric of a pod that a GPU model scales on."""

_SYSTEM = "kube-system"
_LOAD_BALANCER_CONTROLLER = "load-balancer-controller"
_CLUSTER_AUTOSCALER = "cluster-autoscaler"
_PROMETHEUS = f"{MONITORING_NAMESPACE}-prometheus"
_SCRAPE_INTERVAL = "15s"


def requests_and_limits(cpu: str, memory: str) -> Values:
    """A container's resources: no limit on the CPU, since one slows it down when there is CPU to spare."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


def load_balancer_controller_values(
    *, cluster_name: str, region: str, vpc_id: Input[str], tags: Mapping[str, str], mirror: str | None
) -> Values:
    """The controller of network load balancers.

    Source: https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/helm/aws-load-balancer-controller/values.yaml
    """
    return {
        "clusterName": cluster_name,
        # Asked of the machine otherwise, whose answers do not reach pods.
        "region": region,
        "vpcId": vpc_id,
        "image": {"repository": charts.image("public.ecr.aws/eks/aws-load-balancer-controller", mirror)},
        "serviceAccount": {"name": _LOAD_BALANCER_CONTROLLER},
        "resources": requests_and_limits("100m", "200Mi"),
        "defaultTags": dict(tags),
        "defaultTargetType": "ip",
        # Services name their class; the webhook would stand in the way of every Service while the controller is down.
        "enableServiceMutatorWebhook": False,
        # A new certificate at each upgrade would be a difference without a change.
        "keepTLSSecret": True,
        # Ingresses and application load balancers, which nothing here makes.
        "createIngressClassResource": False,
        "ingressClassParams": {"create": False},
        "enableShield": False,
        "enableWaf": False,
        "enableWafv2": False,
    }


def cluster_autoscaler_values(*, cluster_name: str, region: str, kubernetes: str, mirror: str | None) -> Values:
    """The autoscaler of node groups, of Kubernetes' own minor.

    Source: https://github.com/kubernetes/autoscaler/blob/cluster-autoscaler-chart-9.59.0/cluster-autoscaler/charts/cluster-autoscaler/values.yaml
    """
    return {
        "fullnameOverride": _CLUSTER_AUTOSCALER,
        "awsRegion": region,
        "autoDiscovery": {"clusterName": cluster_name},
        "image": {
            "repository": charts.image("registry.k8s.io/autoscaling/cluster-autoscaler", mirror),
            "tag": versions.CLUSTER_AUTOSCALER_IMAGE[kubernetes],
        },
        "rbac": {"serviceAccount": {"name": _CLUSTER_AUTOSCALER}},
        "resources": requests_and_limits("100m", "600Mi"),
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containerSecurityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "extraArgs": {
            "balance-similar-node-groups": True,
            "expander": "least-waste",
            # Models lie on their pods' own disks, and are copied anew: such pods may move.
            "skip-nodes-with-local-storage": False,
            "skip-nodes-with-system-pods": False,
        },
    }


def metrics_server_values(*, check_kubelets: bool, mirror: str | None) -> Values:
    """What horizontal autoscaling measures CPU with.

    Source: https://github.com/kubernetes-sigs/metrics-server/blob/metrics-server-helm-chart-3.13.1/charts/metrics-server/values.yaml
    """
    return {
        "image": {"repository": charts.image("registry.k8s.io/metrics-server/metrics-server", mirror)},
        "args": [] if check_kubelets else ["--kubelet-insecure-tls"],
        "resources": requests_and_limits("100m", "200Mi"),
    }


def prometheus_values(*, mirror: str | None) -> Values:
    """Prometheus for canaries and autoscaling: it scrapes the mesh's proxies and model-sync, and remembers a day.

    A proxy hands out its own metrics with those of the container behind it (the gateway's, TF Serving's).
    Sources: https://github.com/prometheus-community/helm-charts/blob/kube-prometheus-stack-88.5.3/charts/kube-prometheus-stack/values.yaml
    and https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging
    """
    off: Values = {"enabled": False}
    nobody_reads = (
        "alertmanager",
        "coreDns",
        "grafana",
        "kubeApiServer",
        "kubeControllerManager",
        "kubeEtcd",
        "kubeProxy",
        "kubeScheduler",
        "kubeStateMetrics",
        "kubelet",
        "kubernetesServiceMonitors",
        "nodeExporter",
    )
    return {
        **({"global": {"imageRegistry": mirror}} if mirror else {}),
        **dict.fromkeys(nobody_reads, off),
        "fullnameOverride": MONITORING_NAMESPACE,
        "defaultRules": {"create": False},
        "prometheusOperator": {
            # They check rules and alerts, of which there are none.
            "admissionWebhooks": off,
            "tls": off,
            "kubeletService": off,
            "kubeletEndpointsEnabled": False,
            "serviceMonitor": {"selfMonitor": False},
            "resources": requests_and_limits("50m", "128Mi"),
        },
        "prometheus": {
            "serviceMonitor": {"selfMonitor": False},
            "prometheusSpec": {
                "scrapeInterval": _SCRAPE_INTERVAL,
                "retention": "24h",
                "resources": requests_and_limits("200m", "2Gi"),
                "podMonitorSelectorNilUsesHelmValues": False,
            },
            "additionalPodMonitors": [_proxies(), _model_sync()],
        },
    }


def _proxies() -> Values:
    return {
        "name": "mesh-proxies",
        "selector": {},
        "namespaceSelector": {
            "matchNames": [GATEWAY_NAMESPACE, INGRESS_NAMESPACE, MODELS_NAMESPACE, MODELS_BASELINE_NAMESPACE]
        },
        "podMetricsEndpoints": [
            {
                "port": "http-envoy-prom",
                "path": "/stats/prometheus",
                "relabelings": [
                    # The named port has the proxy's metrics alone; the agent's, 15020, has the merged ones.
                    {
                        "sourceLabels": ["__meta_kubernetes_pod_ip"],
                        "targetLabel": "__address__",
                        "replacement": "$1:15020",
                    }
                ],
                "metricRelabelings": [
                    {
                        "sourceLabels": ["__name__"],
                        "regex": "envoy_.*|istio_agent_.*|istio_(request|response)_bytes_.*",
                        "action": "drop",
                    }
                ],
            }
        ],
    }


def _model_sync() -> Values:
    return {
        "name": "model-sync",
        "selector": {},
        "namespaceSelector": {"matchNames": [MODELS_NAMESPACE]},
        "podMetricsEndpoints": [{"port": MODEL_SYNC_PORT_NAME, "path": "/metrics"}],
    }


def prometheus_adapter_values(*, mirror: str | None) -> Values:
    """What horizontal autoscaling reads Prometheus' metrics with, of which there is one.

    The requests in flight of a pod are the seconds that its requests take, for each second that passes (Little's law),
    which the mesh measures already. Source: https://github.com/kubernetes-sigs/prometheus-adapter/blob/master/docs/config.md
    """
    return {
        "image": {"repository": charts.image("registry.k8s.io/prometheus-adapter/prometheus-adapter", mirror)},
        "prometheus": {"url": f"http://{_PROMETHEUS}.{MONITORING_NAMESPACE}.svc", "port": 9090},
        "resources": requests_and_limits("50m", "128Mi"),
        "rules": {
            "default": False,
            "custom": [
                {
                    "seriesQuery": 'istio_request_duration_milliseconds_sum{reporter="destination",pod!=""}',
                    "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
                    "name": {"as": REQUESTS_IN_FLIGHT},
                    "metricsQuery": (
                        'sum(rate(<<.Series>>{<<.LabelMatchers>>,reporter="destination"}[1m])) by (<<.GroupBy>>) / 1000'
                    ),
                }
            ],
        },
    }


def nvidia_device_plugin_values(*, mirror: str | None) -> Values:
    """What tells the scheduler of GPUs, on the machines that are labelled as having one.

    Source: https://github.com/NVIDIA/k8s-device-plugin/blob/v0.20.0/deployments/helm/nvidia-device-plugin/values.yaml
    """
    return {
        "image": {"repository": charts.image("nvcr.io/nvidia/k8s-device-plugin", mirror)},
        "nodeSelector": {"nvidia.com/gpu.present": "true"},
        "resources": requests_and_limits("50m", "128Mi"),
    }


@dataclass(frozen=True, kw_only=True)
class OnAws:
    """What the add-ons for a cluster in AWS need."""

    scope: iam.Scope
    cluster: Cluster
    vpc_id: Input[str]
    gpu: bool
    """Whether any node group has GPUs."""
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class AddonsArgs:
    """Which add-ons there are, and where they come from."""

    kubernetes: k8s.Provider
    after: Sequence[pulumi.Resource]
    """What pods wait for."""
    mirror: str | None
    metrics_server: Literal["install", "install-without-kubelet-tls", "present"]
    scale_on_requests: bool
    """Whether any model scales on its requests in flight."""
    aws: OnAws | None = None


class Addons(pulumi.ComponentResource):
    """The controllers around the models."""

    load_balancer_controller: pulumi.Resource | None
    """What Services of type LoadBalancer wait for, so that it still runs when they are deleted; none outside of AWS."""
    prometheus_address: str
    ready: Sequence[pulumi.Resource]

    def __init__(self, name: str, args: AddonsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Addons", name, None, opts)
        self._name = name
        self._args = args
        monitoring = k8s.core.v1.Namespace(
            f"{name}-monitoring",
            metadata=k8s.meta.v1.ObjectMetaArgs(
                name=MONITORING_NAMESPACE,
                # Outside of the mesh: the ports that are scraped are outside of its mutual TLS, too.
                labels={
                    "app.kubernetes.io/part-of": PROJECT,
                    "istio-injection": "disabled",
                    "pod-security.kubernetes.io/enforce": "restricted",
                },
            ),
            opts=ResourceOptions(parent=self, provider=args.kubernetes, depends_on=args.after),
        )
        prometheus = self._release(
            versions.PROMETHEUS, prometheus_values(mirror=args.mirror), MONITORING_NAMESPACE, after=[monitoring]
        )
        self.prometheus_address = f"http://{_PROMETHEUS}.{MONITORING_NAMESPACE}.svc:9090"
        self.ready = [prometheus]
        if args.scale_on_requests:
            adapter = prometheus_adapter_values(mirror=args.mirror)
            self.ready += [
                self._release(versions.PROMETHEUS_ADAPTER, adapter, MONITORING_NAMESPACE, after=[prometheus])
            ]
        if args.metrics_server != "present":
            values = metrics_server_values(check_kubelets=args.metrics_server == "install", mirror=args.mirror)
            self.ready += [self._release(versions.METRICS_SERVER, values)]
        self.load_balancer_controller = None
        if args.aws:
            self.load_balancer_controller = self._load_balancer_controller(args.aws)
            self.ready += [self.load_balancer_controller, self._cluster_autoscaler(args.aws)]
            if args.aws.gpu:
                plugin = nvidia_device_plugin_values(mirror=args.mirror)
                self.ready += [self._release(versions.NVIDIA_DEVICE_PLUGIN, plugin)]
        self.register_outputs({"prometheus_address": self.prometheus_address})

    def _release(
        self,
        chart: versions.Chart,
        values: Values,
        namespace: str = _SYSTEM,
        *,
        after: Sequence[pulumi.Resource] = (),
    ) -> k8s.helm.v3.Release:
        return charts.release(
            f"{self._name}-{chart.name}",
            chart,
            namespace=namespace,
            values=values,
            mirror=self._args.mirror,
            opts=ResourceOptions(parent=self, provider=self._args.kubernetes, depends_on=[*self._args.after, *after]),
        )

    def _role(self, service_account: str, on_aws: OnAws, document: Input[iam.Document]) -> iam.WorkloadRole:
        return iam.WorkloadRole(
            f"{self._name}-{service_account}",
            iam.WorkloadRoleArgs(
                cluster_name=on_aws.cluster.name,
                cluster=on_aws.cluster.control_plane,
                namespace=_SYSTEM,
                service_account=service_account,
                document=document,
                tags=on_aws.tags,
            ),
            ResourceOptions(parent=self),
        )

    def _load_balancer_controller(self, on_aws: OnAws) -> k8s.helm.v3.Release:
        document = Output.from_input(on_aws.vpc_id).apply(
            lambda vpc_id: iam.load_balancer_controller(on_aws.scope, cluster_name=on_aws.cluster.name, vpc_id=vpc_id)
        )
        values = load_balancer_controller_values(
            cluster_name=on_aws.cluster.name,
            region=on_aws.scope.region,
            vpc_id=on_aws.vpc_id,
            tags=on_aws.tags,
            mirror=self._args.mirror,
        )
        role = self._role(_LOAD_BALANCER_CONTROLLER, on_aws, document)
        return self._release(versions.LOAD_BALANCER_CONTROLLER, values, after=[role])

    def _cluster_autoscaler(self, on_aws: OnAws) -> k8s.helm.v3.Release:
        document = iam.cluster_autoscaler(on_aws.scope, cluster_name=on_aws.cluster.name)
        values = cluster_autoscaler_values(
            cluster_name=on_aws.cluster.name,
            region=on_aws.scope.region,
            kubernetes=on_aws.cluster.version,
            mirror=self._args.mirror,
        )
        role = self._role(_CLUSTER_AUTOSCALER, on_aws, document)
        return self._release(versions.CLUSTER_AUTOSCALER, values, after=[role])
