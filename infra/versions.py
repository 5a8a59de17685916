"""Every version that the platform stands on, one line each, with its source and the end of its support.

Kubernetes, Istio and the autoscaler are chosen together: Istio 1.31 supports Kubernetes 1.32 to 1.36, and the
autoscaler's minor must be Kubernetes' own. Before raising an add-on, ask AWS what fits:
``aws eks describe-addon-versions --kubernetes-version 1.36 --addon-name vpc-cni``.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Chart:
    """A Helm chart of a repository; one that begins with ``oci://`` is a registry."""

    repository: str
    name: str
    version: str


# Kubernetes on EKS: the end of standard support of each minor that all of the below support.
# https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
KUBERNETES: Final = "1.36"
END_OF_SUPPORT: Final = {"1.35": "2027-03-27", "1.36": "2027-08-02"}

# EKS's managed add-ons, for each of those minors.
# https://docs.aws.amazon.com/eks/latest/userguide/eks-add-ons.html
VPC_CNI: Final = "v1.23.2-eksbuild.1"
POD_IDENTITY_AGENT: Final = "v1.4.0-eksbuild.3"
COREDNS: Final = "v1.14.7-eksbuild.11"
KUBE_PROXY: Final = {"1.35": "v1.35.0-eksbuild.2", "1.36": "v1.36.0-eksbuild.45"}

# Add-ons by Helm.
# https://github.com/kubernetes-sigs/aws-load-balancer-controller/releases/tag/v3.5.0
LOAD_BALANCER_CONTROLLER: Final = Chart("https://aws.github.io/eks-charts", "aws-load-balancer-controller", "3.5.0")
# https://github.com/kubernetes/autoscaler/releases (the chart's own image is a minor behind)
CLUSTER_AUTOSCALER: Final = Chart("https://kubernetes.github.io/autoscaler", "cluster-autoscaler", "9.59.0")
CLUSTER_AUTOSCALER_IMAGE: Final = {"1.35": "v1.35.0", "1.36": "v1.36.1"}
# https://github.com/kubernetes-sigs/metrics-server#compatibility-matrix (0.8 from Kubernetes 1.31 on)
METRICS_SERVER: Final = Chart("https://kubernetes-sigs.github.io/metrics-server", "metrics-server", "3.13.1")
# https://github.com/prometheus-community/helm-charts/tree/kube-prometheus-stack-88.5.3/charts/kube-prometheus-stack
PROMETHEUS: Final = Chart("https://prometheus-community.github.io/helm-charts", "kube-prometheus-stack", "88.5.3")
# https://github.com/prometheus-community/helm-charts/tree/main/charts/prometheus-adapter (application 0.12.0)
PROMETHEUS_ADAPTER: Final = Chart("https://prometheus-community.github.io/helm-charts", "prometheus-adapter", "5.3.0")
# https://github.com/NVIDIA/k8s-device-plugin/releases/tag/v0.20.0
NVIDIA_DEVICE_PLUGIN: Final = Chart("https://nvidia.github.io/k8s-device-plugin", "nvidia-device-plugin", "0.20.0")

# The mesh. Istio 1.31 is supported until about February 2027, six weeks after 1.33 comes out.
# https://istio.io/latest/news/releases/1.31.x/announcing-1.31.1/
ISTIO: Final = "1.31.1"
# https://istio.io/latest/docs/releases/supported-releases/#support-status-of-istio-releases
ISTIO_KUBERNETES: Final = ("1.32", "1.36")
# The only place from 1.31 on: https://istio.io/latest/blog/2026/retirement-of-gcp/
_ISTIO_CHARTS: Final = "oci://ghcr.io/istio/release/charts"
ISTIO_BASE: Final = Chart(_ISTIO_CHARTS, "base", ISTIO)
ISTIOD: Final = Chart(_ISTIO_CHARTS, "istiod", ISTIO)
ISTIO_CNI: Final = Chart(_ISTIO_CHARTS, "cni", ISTIO)
ISTIO_GATEWAY: Final = Chart(_ISTIO_CHARTS, "gateway", ISTIO)
# By digest, as the models' namespaces admit images; to be raised with the version above:
# docker buildx imagetools inspect docker.io/istio/proxyv2:1.31.1
ISTIO_PROXY: Final = "docker.io/istio/proxyv2@sha256:d86cba0dd1eb15c00b6901c69ce5ae3d2d5f8427a47751098cf8c3ab2a4a62e9"
ISTIO_NETWORKING_API: Final = "networking.istio.io/v1"
ISTIO_SECURITY_API: Final = "security.istio.io/v1"
ISTIO_TELEMETRY_API: Final = "telemetry.istio.io/v1"

# The S3 API of a cluster without one, release 5.2.2: docker buildx imagetools inspect docker.io/motoserver/moto:5.2.2
MOTO: Final = "docker.io/motoserver/moto@sha256:d8ae5edc2bf080e7e4c13f9bd4b29b53ac3b4427e92956318db3dbe23ec43eb7"

# Progressive canaries; only the latest release is supported.
# https://github.com/fluxcd/flagger/blob/v1.44.0/CHANGELOG.md
FLAGGER: Final = Chart("oci://ghcr.io/fluxcd/charts", "flagger", "1.44.0")
FLAGGER_LOAD_TESTER: Final = Chart("oci://ghcr.io/fluxcd/charts", "loadtester", "0.38.0")
FLAGGER_API: Final = "flagger.app/v1beta1"
