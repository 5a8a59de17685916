"""The settings of who comes in, and of what is fetched from outside."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infra.config.part import Part, Range, Resources
from infra.config.types import CertificateArn, Cidr, HostAndPort, HostName, HttpsUrl, is_private


class Jwt(Part):
    """Tokens signed by an identity provider."""

    kind: Literal["jwt"]
    issuer: str
    """What the tokens say in ``iss``."""
    jwks_uri: HttpsUrl
    """Where the provider publishes its keys."""
    audiences: Annotated[tuple[str, ...], Field(min_length=1)]
    """What a token may say in ``aud``."""


class ApiKey(Part):
    """A key in the ``x-api-key`` header; the keys are the stack's secret ``model-serving:apiKeys``."""

    kind: Literal["api-key"]


class Open(Part):
    """Whoever reaches the ingress is served."""

    kind: Literal["open"]


class Grpc(Part):
    """TF Serving's own gRPC on port 31400, for clients that bring their own tensors."""

    enabled: bool = False
    """Whether the port is open at all."""


class Ingress(Part):
    """How requests come in."""

    public: bool = False
    """Whether the load balancer has public addresses."""
    allowed_cidrs: Annotated[tuple[Cidr, ...], Field(min_length=1)] = ("10.0.0.0/8",)
    """Who may reach the load balancer."""
    host: HostName | None = None
    """The name that the models answer at; without one, at any."""
    certificate_arn: CertificateArn | None = None
    """The certificate of host in AWS Certificate Manager; with it, port 443 is served and port 80 redirects to it."""
    authentication: Annotated[Jwt | ApiKey | Open, Field(discriminator="kind")]
    """Who is served."""
    grpc: Grpc = Grpc()
    """The door for clients that speak gRPC."""

    @model_validator(mode="after")
    def _clients_of_a_public_address(self) -> Self:
        """With public, allowedCidrs holds a public network: nobody comes from a private one over the internet."""
        if self.public and all(is_private(cidr) for cidr in self.allowed_cidrs):
            raise ValueError(
                f"allowedCidrs is {', '.join(self.allowed_cidrs)} with public true: nobody comes from there over the"
                " internet; name the networks of the clients"
            )
        return self

    @model_validator(mode="after")
    def _host_has_a_certificate(self) -> Self:
        """host and certificateArn go together."""
        if (self.host is None) != (self.certificate_arn is None):
            raise ValueError("host and certificateArn go together: set both, or neither")
        return self


class ImageHosts(Part):
    """The hosts that the gateway may fetch pictures from; no other is reachable from the mesh."""

    public: tuple[HostName, ...] = ()
    """Hosts that have public addresses alone."""
    private: tuple[HostAndPort, ...] = ()
    """Hosts that may resolve to private addresses; with a port, one is asked there, by http:// alone."""

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        """A host is public or private."""
        if both := sorted({*self.public} & {*self.private}):
            raise ValueError(f"public and private both name {both[0]}: name it in one")
        return self


class Gateway(Part):
    """The HTTP service in front of the models."""

    replicas: Range = Range(min=2, max=10)
    """How many pods."""
    resources: Resources = Resources(cpu="1", memory="512Mi")
    """What each pod asks for."""

    @model_validator(mode="after")
    def _answers_at_all(self) -> Self:
        """replicas.min is at least 1."""
        if self.replicas.min == 0:
            raise ValueError("replicas.min is 0: without a pod of the gateway nobody is answered")
        return self
