"""The registry: one ECR repository for each image that the stack runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws
import pulumi_docker as docker
from pulumi import Output, ResourceOptions

from infra.conventions import Names

KEPT_IMAGES: Final = 30
"""How many images of each repository are kept: enough to roll back by, few enough to cost little."""


def lifecycle(kept: int) -> str:
    """A repository's lifecycle policy: the newest ``kept`` images stay, and what lost its tag goes after a day.

    Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
    """
    rules = [
        {
            "rulePriority": 1,
            "description": "What has lost its tag",
            "selection": {
                "tagStatus": "untagged",
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 1,
            },
            "action": {"type": "expire"},
        },
        {
            "rulePriority": 2,
            "description": f"All but the newest {kept}",
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": kept},
            "action": {"type": "expire"},
        },
    ]
    return json.dumps({"rules": rules}, sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """What the registry is made of."""

    names: Names
    images: Sequence[str]
    """The images' names; a repository is made for each."""
    protect: bool
    tags: Mapping[str, str]


class Registry(pulumi.ComponentResource):
    """Private repositories: encrypted, scanned on push, with tags that never change their image."""

    def __init__(self, name: str, args: RegistryArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Registry", name, None, opts)
        child = ResourceOptions(parent=self)
        key = aws.kms.Key(
            f"{name}-key",
            description=f"The images of {args.names.prefix}",
            enable_key_rotation=True,
            deletion_window_in_days=30 if args.protect else 7,
            tags=dict(args.tags),
            opts=child,
        )
        self._name = name
        self._args = args
        self._child = child
        self._repositories: dict[str, aws.ecr.Repository] = {}
        for image in args.images:
            repository = aws.ecr.Repository(
                f"{name}-{image}",
                name=f"{args.names.prefix}/{image}",
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration=aws.ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
                encryption_configurations=[
                    aws.ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=key.arn)
                ],
                # Images can be built again from the program's own sources.
                force_delete=True,
                tags=dict(args.tags),
                opts=child,
            )
            aws.ecr.LifecyclePolicy(
                f"{name}-{image}-lifecycle", repository=repository.name, policy=lifecycle(KEPT_IMAGES), opts=child
            )
            self._repositories[image] = repository
        self.register_outputs({"repositories": {name: it.repository_url for name, it in self._repositories.items()}})

    def repository_url(self, image: str) -> Output[str]:
        """Where the image called so is pushed to and pulled from."""
        url: Output[str] = self._repositories[image].repository_url
        return url

    def tag(self, image: str, content: str) -> Output[str]:
        """A tag for an image of this content, new whenever the content is another than the last.

        Who goes back to a content of before builds an image anew, with times and so a digest of its own, and its old
        tag cannot be given to it. The count is a parameter's, which AWS raises with each new value:
        https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
        """
        count = aws.ssm.Parameter(
            f"{self._name}-{image}-build",
            name=f"/{self._args.names.prefix}/images/{image}",
            type="String",
            value=content,
            tags=dict(self._args.tags),
            opts=self._child,
        )
        return Output.concat(content, "-", count.version.apply(str))

    def credentials(self, image: str) -> docker.RegistryArgs:
        """What Docker logs in with to push the image; valid for twelve hours, and a secret."""
        token = aws.ecr.get_authorization_token_output(registry_id=self._repositories[image].registry_id)
        return docker.RegistryArgs(
            server=self.repository_url(image), username=token.user_name, password=Output.secret(token.password)
        )


class LocalRegistry:
    """A registry that is there already and asks for no password, such as one beside a kind cluster."""

    def __init__(self, address: str) -> None:
        self._address = address

    def repository_url(self, image: str) -> Output[str]:
        """Where the image called so is pushed to and pulled from."""
        return Output.from_input(f"{self._address}/{image}")

    def tag(self, image: str, content: str) -> Output[str]:
        """The content's own: tags may be given again here."""
        return Output.from_input(content)

    def credentials(self, image: str) -> docker.RegistryArgs:
        """Nothing but the address."""
        return docker.RegistryArgs(server=self._address)
