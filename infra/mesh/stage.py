"""The stage: Istio itself, and the rules that nothing comes in, goes out or talks to each other that was not said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
from pulumi import Input, Output, ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource

from infra import charts, config, versions
from infra.conventions import INGRESS_NAMESPACE, PROJECT
from infra.mesh import admission, authentication, egress, ingress, namespaces, network_policies, values
from infra.mesh.ingress import Entry


@dataclass(frozen=True, kw_only=True)
class MeshArgs:
    """What the mesh is made of."""

    kubernetes: k8s.Provider
    after: Sequence[pulumi.Resource]
    """What pods wait for."""
    mirror: str | None
    models: Mapping[str, config.Model]
    ingress: config.Ingress
    image_hosts: config.ImageHosts
    entry: Entry
    """What kind of Service requests come in through."""
    model_store: egress.ModelStoreAccess
    repositories: Sequence[Input[str]]
    """The image repositories, without tag or digest, that the models' pods are made from."""
    distribution: str | None = None
    """The cluster's, where Istio has to know it."""
    api_keys: Output[Sequence[str]] | None = None
    """The keys of clients; needed where the stack file says that they come with one."""


class Mesh(pulumi.ComponentResource):
    """Istio, its namespaces, the door, the ways out, and who is let in."""

    ready: Sequence[pulumi.Resource]
    """What workloads wait for: their namespaces, a proxy for each pod, and the rules."""
    gateway: str
    """The Gateway that routes for clients attach to: ``namespace/name``."""
    ingress_principal: str
    """Who the door is, to those behind it."""
    address: Output[str]
    """Of the load balancer, or of a node's port."""
    url: Output[str]
    """Where clients send HTTP requests to."""
    grpc_address: Output[str] | None
    """Where clients send gRPC to; none unless it is switched on."""

    def __init__(self, name: str, args: MeshArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Mesh", name, None, opts)
        self._name = name
        self._args = args
        self._proxied = namespaces.proxied(args.models, args.model_store)
        self._namespaces = self._all_namespaces()
        self._istiod, cni = self._control_plane()
        rules = [*self._network_policies(), *self._admission(), *self._mesh_rules()]
        self._door()
        service = self._service()

        self.ready = [*self._namespaces.values(), self._istiod, cni, *rules]
        self.gateway = f"{INGRESS_NAMESPACE}/{ingress.GATEWAY}"
        self.ingress_principal = f"cluster.local/ns/{INGRESS_NAMESPACE}/sa/{ingress.NAME}"
        address = args.entry.address(service, ingress.serving_port(args.ingress))
        self.url = (
            Output.from_input(f"https://{args.ingress.host}")
            if args.ingress.host
            else Output.concat("http://", address)
        )
        self.address = address
        self.grpc_address = args.entry.address(service, ingress.GRPC) if args.ingress.grpc.enabled else None
        self.register_outputs(
            {
                "gateway": self.gateway,
                "ingress_principal": self.ingress_principal,
                "address": self.address,
                "url": self.url,
                "grpc_address": self.grpc_address,
            }
        )

    def _options(self, *depends_on: pulumi.Resource) -> ResourceOptions:
        return ResourceOptions(parent=self, provider=self._args.kubernetes, depends_on=depends_on)

    def _all_namespaces(self) -> dict[str, k8s.core.v1.Namespace]:
        extra = {INGRESS_NAMESPACE: self._args.entry.namespace_labels}
        return {
            namespace.name: k8s.core.v1.Namespace(
                f"{self._name}-{namespace.name}",
                metadata=k8s.meta.v1.ObjectMetaArgs(
                    name=namespace.name, labels={**namespace.labels, **extra.get(namespace.name, {})}
                ),
                opts=self._options(),
            )
            for namespace in (*namespaces.CONTROL_PLANE, *self._proxied)
        }

    def _release(
        self, chart: versions.Chart, namespace: str, content: Mapping[str, Any], *after: pulumi.Resource
    ) -> k8s.helm.v3.Release:
        return charts.release(
            f"{self._name}-{chart.name}",
            chart,
            namespace=namespace,
            values=content,
            mirror=self._args.mirror,
            opts=self._options(self._namespaces[namespace], *after),
        )

    def _control_plane(self) -> tuple[k8s.helm.v3.Release, k8s.helm.v3.Release]:
        mirror, after = self._args.mirror, self._args.after
        base = self._release(versions.ISTIO_BASE, namespaces.SYSTEM, {})
        istiod = self._release(versions.ISTIOD, namespaces.SYSTEM, values.istiod(mirror), base, *after)
        # Beside istiod, not after it: neither needs the other to start.
        cni = self._release(versions.ISTIO_CNI, namespaces.CNI, values.cni(mirror, self._args.distribution), *after)
        return istiod, cni

    def _object(self, api: str, kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> CustomResource:
        """An object of Istio's; it is istiod that checks it."""
        return CustomResource(
            f"{self._name}-{namespace}-{name}",
            api_version=api,
            kind=kind,
            metadata=k8s.meta.v1.ObjectMetaArgs(name=name, namespace=namespace),
            spec=spec,
            opts=self._options(self._istiod, self._namespaces[namespace]),
        )

    def _network_policies(self) -> list[pulumi.Resource]:
        specs = network_policies.policies(
            models=self._args.models,
            settings=self._args.ingress,
            image_hosts=self._args.image_hosts,
            model_store=self._args.model_store,
        )
        return [
            k8s.networking.v1.NetworkPolicy(
                f"{self._name}-{namespace}-{policy}",
                metadata=k8s.meta.v1.ObjectMetaArgs(name=policy, namespace=namespace),
                spec=spec,
                opts=self._options(self._namespaces[namespace]),
            )
            for namespace, policy, spec in specs
        ]

    def _admission(self) -> list[pulumi.Resource]:
        proxy = values.proxy_image(self._args.mirror).partition("@")[0]
        # Found by its label when something is left, since it is in no namespace.
        metadata = k8s.meta.v1.ObjectMetaArgs(name=admission.NAME, labels={"app.kubernetes.io/part-of": PROJECT})
        policy = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{self._name}-model-images",
            metadata=metadata,
            spec=admission.policy([*self._args.repositories, proxy]),
            opts=self._options(),
        )
        where = [namespace.name for namespace in namespaces.model_namespaces(self._args.models)]
        binding = k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{self._name}-model-images",
            metadata=metadata,
            spec=admission.binding(where),
            opts=self._options(policy),
        )
        return [policy, binding]

    def _mesh_rules(self) -> list[pulumi.Resource]:
        security, networking = versions.ISTIO_SECURITY_API, versions.ISTIO_NETWORKING_API
        # In the control plane's namespace, it holds for the whole mesh.
        rules: list[pulumi.Resource] = [
            self._object(security, "PeerAuthentication", namespaces.SYSTEM, "default", authentication.STRICT_MUTUAL_TLS)
        ]
        for namespace in (it.name for it in self._proxied):
            rules.append(
                self._object(security, "AuthorizationPolicy", namespace, "default-deny", authentication.NOTHING)
            )
            if namespace not in egress.WITHOUT_SIDECARS:
                spec = egress.sidecar(namespace, self._args.model_store)
                rules.append(self._object(networking, "Sidecar", namespace, "default", spec))
        entries = egress.service_entries(self._args.model_store, self._args.image_hosts)
        return rules + [self._object(networking, "ServiceEntry", *entry) for entry in entries]

    def _door(self) -> None:
        settings = self._args.ingress
        security = versions.ISTIO_SECURITY_API
        rules: list[pulumi.Resource] = [
            self._object(
                security,
                "AuthorizationPolicy",
                INGRESS_NAMESPACE,
                "clients",
                authentication.clients(settings, self._args.models, self._args.api_keys),
            ),
            self._object(
                versions.ISTIO_TELEMETRY_API,
                "Telemetry",
                INGRESS_NAMESPACE,
                "access-log",
                # Who asked for what, and what came of it, once for each request; behind the door, metrics will do.
                {"accessLogging": [{"providers": [{"name": "envoy"}]}]},
            ),
        ]
        if isinstance(settings.authentication, config.Jwt):
            spec = authentication.request_authentication(settings.authentication)
            rules.append(self._object(security, "RequestAuthentication", INGRESS_NAMESPACE, "clients", spec))
        spec = ingress.gateway(settings)
        self._object(versions.ISTIO_NETWORKING_API, "Gateway", INGRESS_NAMESPACE, ingress.GATEWAY, spec)
        # Last, so that there is no moment at which the door is open and the rules are not there.
        self._release(versions.ISTIO_GATEWAY, INGRESS_NAMESPACE, values.gateway(), self._istiod, *rules)

    def _service(self) -> k8s.core.v1.Service:
        entry, settings = self._args.entry, self._args.ingress
        return k8s.core.v1.Service(
            f"{self._name}-{ingress.NAME}",
            metadata=k8s.meta.v1.ObjectMetaArgs(
                name=ingress.NAME,
                namespace=INGRESS_NAMESPACE,
                labels=ingress.SELECTOR,
                annotations=entry.annotations(settings) or None,
            ),
            spec=entry.spec(settings),
            opts=self._options(self._namespaces[INGRESS_NAMESPACE], *entry.after),
        )
