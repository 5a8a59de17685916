"""The add-ons."""

import json
from typing import Any

import pulumi_kubernetes as k8s
import pytest

from infra import addons, versions
from infra.addons import Addons, AddonsArgs
from infra.plan.evaluate import Evaluation, evaluate
from tests.unit.infra.aws_stack import CPU, aws_stack, waits_for

RELEASE = "kubernetes:helm.sh/v3:Release"
MIRROR = "mirror.example.com"


def _charts(evaluation: Evaluation) -> set[str]:
    return {release.inputs["name"] for release in evaluation.of_type(RELEASE)}


def _values(evaluation: Evaluation, chart: versions.Chart) -> dict[str, Any]:
    (values,) = [
        release.inputs["values"] for release in evaluation.of_type(RELEASE) if release.inputs["name"] == chart.name
    ]
    return dict(values)


def _on_an_existing_cluster(metrics_server: Any = "install") -> Evaluation:
    def program() -> None:
        Addons(
            "addons",
            AddonsArgs(
                kubernetes=k8s.Provider("kubernetes", context="kind-models"),
                after=[],
                mirror=None,
                metrics_server=metrics_server,
                scale_on_requests=False,
            ),
        )

    return evaluate(program, "kind")


def test_a_cluster_in_aws_has_these_add_ons_and_no_other() -> None:
    assert _charts(aws_stack()) == {
        "aws-load-balancer-controller",
        "cluster-autoscaler",
        "kube-prometheus-stack",
        "metrics-server",
        "nvidia-device-plugin",
        "prometheus-adapter",
    }


def test_without_gpu_machines_there_is_no_device_plugin() -> None:
    assert "nvidia-device-plugin" not in _charts(aws_stack(node_groups={"cpu": CPU}))


def test_without_a_model_that_scales_on_requests_nothing_translates_metrics() -> None:
    assert "prometheus-adapter" not in _charts(aws_stack(scale_on_requests=False))


def test_an_existing_cluster_gets_nothing_of_aws() -> None:
    evaluation = _on_an_existing_cluster()
    assert _charts(evaluation) == {"kube-prometheus-stack", "metrics-server"}
    assert not [resource for resource in evaluation.resources if resource.type.startswith(("aws:", "eks:"))]


def test_a_metrics_server_that_is_there_is_left_alone() -> None:
    assert _charts(_on_an_existing_cluster("present")) == {"kube-prometheus-stack"}


def test_the_kubelets_certificates_are_checked_unless_the_stack_file_says_otherwise() -> None:
    assert _values(aws_stack(), versions.METRICS_SERVER)["args"] == []
    assert _values(_on_an_existing_cluster("install"), versions.METRICS_SERVER)["args"] == []
    unchecked = _values(_on_an_existing_cluster("install-without-kubelet-tls"), versions.METRICS_SERVER)
    assert unchecked["args"] == ["--kubelet-insecure-tls"]


def test_the_load_balancer_controller_asks_no_machine_for_its_region_and_vpc() -> None:
    values = _values(aws_stack(), versions.LOAD_BALANCER_CONTROLLER)
    assert (values["clusterName"], values["region"]) == ("model-serving-dev", "eu-central-1")
    assert values["vpcId"] == "${network-vpc.id}"


def test_the_load_balancer_controller_stands_in_no_services_way_and_keeps_its_certificate() -> None:
    values = _values(aws_stack(), versions.LOAD_BALANCER_CONTROLLER)
    assert values["enableServiceMutatorWebhook"] is False
    assert values["keepTLSSecret"] is True


def test_load_balancers_bear_the_stacks_tags() -> None:
    assert _values(aws_stack(), versions.LOAD_BALANCER_CONTROLLER)["defaultTags"]["stack"] == "dev"


@pytest.mark.parametrize("kubernetes", versions.END_OF_SUPPORT)
def test_the_autoscaler_is_of_kubernetes_own_minor(kubernetes: str) -> None:
    values = addons.cluster_autoscaler_values(
        cluster_name="model-serving-dev", region="eu-central-1", kubernetes=kubernetes, mirror=None
    )
    assert values["image"]["tag"].startswith(f"v{kubernetes}.")


def test_service_accounts_are_those_that_the_roles_trust() -> None:
    evaluation = aws_stack()
    trusted = {
        (association.inputs["namespace"], association.inputs["serviceAccount"])
        for association in evaluation.of_type("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    }
    controller = _values(evaluation, versions.LOAD_BALANCER_CONTROLLER)["serviceAccount"]["name"]
    autoscaler = _values(evaluation, versions.CLUSTER_AUTOSCALER)["rbac"]["serviceAccount"]["name"]
    assert {("kube-system", controller), ("kube-system", autoscaler)} <= trusted


@pytest.mark.parametrize(
    ("chart", "role"),
    [
        (versions.LOAD_BALANCER_CONTROLLER, "addons-load-balancer-controller-association"),
        (versions.CLUSTER_AUTOSCALER, "addons-cluster-autoscaler-association"),
    ],
)
def test_a_controller_starts_after_it_was_given_its_role(chart: versions.Chart, role: str) -> None:
    evaluation = aws_stack()
    (release,) = [release for release in evaluation.of_type(RELEASE) if release.inputs["name"] == chart.name]
    assert f"PodIdentityAssociation {role}" in waits_for(evaluation, release)


def test_controllers_go_before_the_nodes_the_cluster_and_the_network() -> None:
    evaluation = aws_stack()
    for release in evaluation.of_type(RELEASE):
        assert {
            "ManagedNodeGroup node-groups-cpu",
            "ManagedNodeGroup node-groups-gpu",
            "Addon node-groups-coredns",
            "Cluster cluster",
            "Subnet network-private-a",
            "NatGateway network-nat-a",
        } <= waits_for(evaluation, release)


def test_of_the_prometheus_stack_only_prometheus_and_its_operator_run() -> None:
    values = addons.prometheus_values(mirror=None)
    off = {part for part, value in values.items() if value == {"enabled": False}}
    assert {"alertmanager", "grafana", "kubeStateMetrics", "nodeExporter", "kubelet", "kubeEtcd"} <= off
    assert values["defaultRules"] == {"create": False}


def test_prometheus_scrapes_the_proxies_merged_metrics_and_model_sync_in_the_meshs_namespaces() -> None:
    monitors = {
        monitor["name"]: monitor
        for monitor in addons.prometheus_values(mirror=None)["prometheus"]["additionalPodMonitors"]
    }
    assert set(monitors) == {"mesh-proxies", "model-sync"}
    (proxies,) = monitors["mesh-proxies"]["podMetricsEndpoints"]
    assert proxies["relabelings"][0]["replacement"].endswith(":15020")
    assert monitors["mesh-proxies"]["namespaceSelector"] == {
        "matchNames": ["gateway", "ingress", "models", "models-baseline"]
    }
    assert monitors["model-sync"]["namespaceSelector"] == {"matchNames": ["models"]}


def test_monitors_need_no_label_of_the_chart_to_be_seen() -> None:
    specification = addons.prometheus_values(mirror=None)["prometheus"]["prometheusSpec"]
    assert specification["podMonitorSelectorNilUsesHelmValues"] is False


def test_the_adapter_asks_the_prometheus_that_is_there() -> None:
    asked = addons.prometheus_adapter_values(mirror=None)["prometheus"]
    full_name = addons.prometheus_values(mirror=None)["fullnameOverride"]
    assert asked == {"url": f"http://{full_name}-prometheus.monitoring.svc", "port": 9090}


def test_the_monitoring_namespace_is_outside_of_the_mesh_and_restricted() -> None:
    (namespace,) = aws_stack().of_type("kubernetes:core/v1:Namespace")
    assert namespace.inputs["metadata"]["name"] == "monitoring"
    labels = namespace.inputs["metadata"]["labels"]
    assert labels["istio-injection"] == "disabled"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_with_a_mirror_nothing_is_pulled_from_anywhere_else() -> None:
    upstream = ("registry.k8s.io", "public.ecr.aws", "nvcr.io", "quay.io", "ghcr.io", "docker.io", "https://")
    for release in aws_stack(mirror=MIRROR).of_type(RELEASE):
        assert release.inputs["chart"].startswith(f"oci://{MIRROR}/")
        values = json.dumps(
            {part: value for part, value in release.inputs["values"].items() if part in ("image", "global")}
        )
        assert MIRROR in values
        assert not [host for host in upstream if host in values]


def test_every_container_of_an_add_on_has_requests_and_a_memory_limit() -> None:
    evaluation = aws_stack()
    stack = _values(evaluation, versions.PROMETHEUS)
    said = [stack["prometheusOperator"]["resources"], stack["prometheus"]["prometheusSpec"]["resources"]]
    said += [
        release.inputs["values"]["resources"]
        for release in evaluation.of_type(RELEASE)
        if release.inputs["name"] != versions.PROMETHEUS.name
    ]
    for resources in said:
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert resources["limits"] == {"memory": resources["requests"]["memory"]}
