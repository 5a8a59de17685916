"""The images: built from this repository, pushed to the stack's registry, and used by digest."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import pulumi
import pulumi_docker as docker
from pulumi import Output, ResourceOptions

from infra.config import Accelerator, ContainerModel, Model, TensorflowModel

ROOT: Final = Path(__file__).resolve().parent.parent
PLATFORM: Final = "linux/amd64"
TAG_LENGTH: Final = 16
_COPY: Final = "infra/copy.Dockerfile"


@dataclass(frozen=True, kw_only=True)
class Build:
    """How one image is built, from the project's root."""

    image: str
    dockerfile: str
    sources: tuple[str, ...]
    """The files and folders that the Dockerfile copies: what its ``Dockerfile.dockerignore`` lets in."""
    arguments: Mapping[str, str]


def _service(image: str, folder: str) -> Build:
    return Build(
        image=image,
        dockerfile=f"app/{folder}/Dockerfile",
        sources=("app/__init__.py", f"app/{folder}", "app/protocol", "constraints.txt"),
        arguments={},
    )


def _serving(image: str, variant: str) -> Build:
    return Build(
        image=image,
        dockerfile="app/serving/Dockerfile",
        sources=("app/serving",),
        arguments={"VARIANT": variant},
    )


GATEWAY: Final = _service("gateway", "gateway")
MODEL_SYNC: Final = _service("model-sync", "model_sync")
SERVING: Final[Mapping[Accelerator, Build]] = {
    "cpu": _serving("serving", "cpu"),
    "gpu": _serving("serving-gpu", "gpu"),
}


def accelerators(models: Mapping[str, Model]) -> frozenset[Accelerator]:
    """What the TensorFlow models run on."""
    return frozenset(model.accelerator for model in models.values() if isinstance(model, TensorflowModel))


def containers(models: Mapping[str, Model]) -> dict[str, str]:
    """The images that models bring, by model."""
    return {name: model.image for name, model in models.items() if isinstance(model, ContainerModel)}


def copy_of(model: str, source: str) -> Build:
    """A copy of the image that a model brings: what runs depends on no registry but ours."""
    return Build(image=f"model-{model}", dockerfile=_COPY, sources=(_COPY,), arguments={"SOURCE": source})


def builds(accelerators: frozenset[Accelerator], containers: Mapping[str, str]) -> tuple[Build, ...]:
    """What a stack needs whose TensorFlow models run on these accelerators, and whose others bring these images."""
    return (
        GATEWAY,
        MODEL_SYNC,
        *(SERVING[accelerator] for accelerator in sorted(accelerators)),
        *(copy_of(model, source) for model, source in sorted(containers.items())),
    )


def names(models: Mapping[str, Model]) -> list[str]:
    """What the images of a stack with these models are called."""
    return [build.image for build in builds(accelerators(models), containers(models))]


def tag(build: Build, root: Path = ROOT) -> str:
    """A tag that changes exactly when the image's content does.

    It is a hash of the names and contents of the sources and of the arguments: neither the files' times nor where the
    project lies have a part in it.
    """
    digest = hashlib.sha256(repr(sorted(build.arguments.items())).encode())
    for path in sorted(_files(build, root)):
        content = path.read_bytes()
        digest.update(f"\n{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:TAG_LENGTH]


def _files(build: Build, root: Path) -> Iterator[Path]:
    for source in build.sources:
        path = root / source
        yield from (
            file
            for file in (path.rglob("*") if path.is_dir() else [path])
            if file.is_file() and "__pycache__" not in file.parts
        )


class Registry(Protocol):
    """Where images go: what ``registry.Registry`` and ``registry.LocalRegistry`` have in common."""

    def repository_url(self, image: str) -> Output[str]:
        """Where the image called so is pushed to and pulled from."""

    def tag(self, image: str, content: str) -> Output[str]:
        """What an image of this content is tagged with."""

    def credentials(self, image: str) -> docker.RegistryArgs:
        """What Docker logs in with to push it."""


@dataclass(frozen=True, kw_only=True)
class ImagesArgs:
    """What the images are made of."""

    registry: Registry
    accelerators: frozenset[Accelerator]
    """Of the TensorFlow models: a serving image is built for each."""
    containers: Mapping[str, str]
    """The images that other models bring, by model."""


class Images(pulumi.ComponentResource):
    """The images of the stack, each as ``repository@sha256:…``."""

    gateway: Output[str]
    model_sync: Output[str]
    serving: Mapping[Accelerator, Output[str]]
    containers: Mapping[str, Output[str]]
    """The copies of the images that models bring, by model."""

    def __init__(self, name: str, args: ImagesArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:Images", name, None, opts)
        self._name = name
        self._registry = args.registry
        self.gateway = self._build(GATEWAY)
        self.model_sync = self._build(MODEL_SYNC)
        self.serving = {accelerator: self._build(SERVING[accelerator]) for accelerator in sorted(args.accelerators)}
        self.containers = {
            model: self._build(copy_of(model, image)) for model, image in sorted(args.containers.items())
        }
        self.register_outputs(
            {
                "gateway": self.gateway,
                "model_sync": self.model_sync,
                "serving": dict(self.serving),
                "containers": dict(self.containers),
            }
        )

    def _build(self, build: Build) -> Output[str]:
        image = docker.Image(
            f"{self._name}-{build.image}",
            image_name=Output.concat(
                self._registry.repository_url(build.image), ":", self._registry.tag(build.image, tag(build))
            ),
            registry=self._registry.credentials(build.image),
            build=docker.DockerBuildArgs(
                # From the project's folder, where Pulumi runs: a whole path would differ from machine to machine.
                context=".",
                dockerfile=build.dockerfile,
                platform=PLATFORM,
                builder_version=docker.BuilderVersion.BUILDER_BUILD_KIT,
                args=dict(build.arguments),
            ),
            opts=ResourceOptions(parent=self),
        )
        digest: Output[str] = image.repo_digest
        return digest
