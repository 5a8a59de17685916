"""The image repositories."""

import json

import pulumi

from infra.conventions import Names
from infra.plan.evaluate import Evaluation, Secret, evaluate
from infra.registry import LocalRegistry, Registry, RegistryArgs, lifecycle


def _registry() -> Evaluation:
    def program() -> dict[str, object]:
        registry = Registry(
            "registry", RegistryArgs(names=Names(stack="dev"), images=["gateway", "serving"], protect=False, tags={})
        )
        credentials = registry.credentials("gateway")
        pulumi.export("password", credentials.password)
        pulumi.export("url", registry.repository_url("gateway"))
        return {}

    return evaluate(program, "dev")


def test_a_tag_never_changes_its_image_and_every_push_is_scanned() -> None:
    repositories = _registry().of_type("aws:ecr/repository:Repository")
    assert {it.inputs["name"] for it in repositories} == {"model-serving-dev/gateway", "model-serving-dev/serving"}
    for repository in repositories:
        assert repository.inputs["imageTagMutability"] == "IMMUTABLE"
        assert repository.inputs["imageScanningConfiguration"] == {"scanOnPush": True}


def test_content_of_before_gets_a_tag_that_was_never_used() -> None:
    def program() -> None:
        registry = Registry(
            "registry", RegistryArgs(names=Names(stack="dev"), images=["gateway"], protect=False, tags={})
        )
        pulumi.export("tag", registry.tag("gateway", "0a1b"))

    evaluation = evaluate(program, "dev")
    (count,) = evaluation.of_type("aws:ssm/parameter:Parameter")
    assert count.inputs["value"] == Secret("0a1b"), "AWS counts the values that the content has had"
    assert evaluation.outputs["tag"] == "0a1b-${registry-gateway-build.version}"


def test_images_are_encrypted_with_a_key_of_the_stack() -> None:
    for repository in _registry().of_type("aws:ecr/repository:Repository"):
        assert repository.inputs["encryptionConfigurations"] == [
            {"encryptionType": "KMS", "kmsKey": "${registry-key.arn}"}
        ]


def test_the_password_of_the_registry_is_a_secret() -> None:
    assert isinstance(_registry().outputs["password"], Secret)


def test_old_images_go_by_number_and_untagged_ones_by_age() -> None:
    untagged, many = json.loads(lifecycle(5))["rules"]
    assert untagged["selection"] == {
        "tagStatus": "untagged",
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": 1,
    }
    assert many["selection"] == {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5}
    assert untagged["rulePriority"] < many["rulePriority"]


def test_a_local_registry_asks_for_no_password() -> None:
    credentials = LocalRegistry("localhost:5001").credentials("gateway")
    assert (credentials.username, credentials.password) == (None, None)
