"""The tree of all settings."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from infra import conventions
from infra.config.ingress import Gateway, ImageHosts, Ingress
from infra.config.models import Model
from infra.config.part import Part
from infra.config.platform import EksCluster, ExistingCluster, ModelStore, Network, NodeGroup
from infra.config.types import AccountId, ModelName, NodeGroupName, Region, RegistryAddress, StackName, TagName, TagText


class Settings(Part):
    """Everything a stack file says."""

    stack: StackName
    """The stack's name; the stages use it in names alone."""
    region: Region | None = None
    """The AWS region, from aws:region; none with an existing cluster."""
    account: AccountId | None = None
    """The only AWS account that the stack may be in, when it is said."""
    protect: bool = True
    """Guards what would be lost for good, and holds the stack to the rules of production."""
    tags: dict[TagName, TagText] = Field(default_factory=dict)
    """Tags of every AWS resource, beside those that the program sets."""
    cluster: Annotated[EksCluster | ExistingCluster, Field(discriminator="kind")]
    """Where everything runs."""
    network: Network = Network()
    """The VPC of an EKS cluster."""
    node_groups: dict[NodeGroupName, NodeGroup] = Field(default_factory=dict)
    """The machines of an EKS cluster, by the group's name."""
    image_mirror: RegistryAddress | None = None
    """A registry that holds the charts under charts/, and their images under their own paths without the host: for
    accounts without a way to the internet."""
    model_store: ModelStore = ModelStore()
    """Where models are uploaded to."""
    ingress: Ingress
    """How requests come in."""
    image_hosts: ImageHosts = ImageHosts()
    """Where pictures may be fetched from."""
    gateway: Gateway = Gateway()
    """The HTTP service in front of the models."""
    default_model: ModelName
    """The model behind POST /predict."""
    models: Annotated[dict[ModelName, Model], Field(min_length=1)]
    """The models, by name."""

    @model_validator(mode="after")
    def _tags_are_free(self) -> Self:
        """tags name none that the program sets, and none twice; a role's tags do not tell capitals from small."""
        taken = {"name", *conventions.tags(self.stack, {})}
        for name in self.tags:
            if name.lower() in taken:
                raise ValueError(f"tags.{name} is not free: the program sets it, or another tag; choose another name")
            taken.add(name.lower())
        return self
