"""What the stack tells those who use it: where to send requests, where to put models, and what serves which version."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Input, Output

from infra import config


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The stack's outputs, by their names in ``pulumi stack output``."""

    url: Output[str]
    """The gateway's address for clients."""
    address: Output[str]
    """What answers there: where the DNS record of a stack's host leads to."""
    grpc_address: Output[str] | None
    bucket: Input[str]
    repositories: Mapping[str, Output[str]]
    cluster: str
    kubeconfig: Input[str] | None
    """None for a cluster that is there already: its context is the user's own."""
    models: Mapping[str, config.Model]

    def export(self) -> None:
        """Export them all; the kubeconfig as a secret."""
        pulumi.export("url", self.url)
        pulumi.export("address", self.address)
        if self.grpc_address is not None:
            pulumi.export("grpcAddress", self.grpc_address)
        pulumi.export("bucket", self.bucket)
        pulumi.export("repositories", dict(self.repositories))
        pulumi.export("cluster", self.cluster)
        if self.kubeconfig is not None:
            pulumi.export("kubeconfig", Output.secret(self.kubeconfig))
        pulumi.export("models", {name: self._model(name, model) for name, model in sorted(self.models.items())})

    def _model(self, name: str, model: config.Model) -> dict[str, Any]:
        served: dict[str, Any] = {"accelerator": model.accelerator}
        if isinstance(model, config.ContainerModel):
            return {**served, "image": model.image}
        served["stable"] = model.stable
        if model.second is not None and isinstance(model.canary, config.Weighted):
            served["canary"] = {"version": model.second, "weight": model.canary.weight}
        if model.input is not None:
            served["url"] = Output.concat(self.url, f"/models/{name}/predict")
        return served
