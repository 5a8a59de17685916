"""The bucket of the models."""

import json

import pytest

from infra import config, iam
from infra.conventions import Names
from infra.model_store import ModelStore, ModelStoreArgs, bucket_host, bucket_name
from infra.plan.evaluate import Evaluation, evaluate

SCOPE = iam.Scope(account="111122223333", region="eu-central-1")


def _store(*, protect: bool) -> Evaluation:
    def program() -> None:
        ModelStore(
            "models",
            ModelStoreArgs(
                names=Names(stack="dev"),
                scope=SCOPE,
                settings=config.ModelStore(keep_old_versions_days=7),
                protect=protect,
                tags={"stack": "dev"},
            ),
        )

    return evaluate(program, "dev")


def test_the_bucket_is_closed_to_the_public_in_all_four_ways() -> None:
    (block,) = _store(protect=True).of_type("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
    switches = {key: value for key, value in block.inputs.items() if key != "bucket"}
    assert switches == {
        "blockPublicAcls": True,
        "blockPublicPolicy": True,
        "ignorePublicAcls": True,
        "restrictPublicBuckets": True,
    }


def test_whoever_asks_without_tls_is_refused() -> None:
    (policy,) = _store(protect=True).of_type("aws:s3/bucketPolicy:BucketPolicy")
    (statement,) = json.loads(policy.inputs["policy"])["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == ["${models-bucket.arn}", "${models-bucket.arn}/*"]


def test_objects_are_encrypted_with_the_stores_own_key_which_rotates() -> None:
    evaluation = _store(protect=True)
    (encryption,) = evaluation.of_type(
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    )
    (rule,) = encryption.inputs["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {
        "sseAlgorithm": "aws:kms",
        "kmsMasterKeyId": "${models-key.arn}",
    }
    (key,) = evaluation.of_type("aws:kms/key:Key")
    assert key.inputs["enableKeyRotation"] is True


def test_what_was_overwritten_can_be_brought_back_for_as_long_as_the_stack_file_says() -> None:
    evaluation = _store(protect=True)
    (versioning,) = evaluation.of_type("aws:s3/bucketVersioning:BucketVersioning")
    assert versioning.inputs["versioningConfiguration"] == {"status": "Enabled"}
    (lifecycle,) = evaluation.of_type("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
    assert lifecycle.inputs["rules"][0]["noncurrentVersionExpiration"] == {"noncurrentDays": 7}


def test_uploads_are_told_to_eventbridge() -> None:
    (events,) = _store(protect=True).of_type("aws:s3/bucketNotification:BucketNotification")
    assert events.inputs["eventbridge"] is True


@pytest.mark.parametrize("protect", [True, False])
def test_models_are_lost_by_a_destroy_only_where_the_stack_is_not_protected(protect: bool) -> None:
    evaluation = _store(protect=protect)
    (bucket,) = evaluation.of_type("aws:s3/bucket:Bucket")
    (key,) = evaluation.of_type("aws:kms/key:Key")
    assert (bucket.protect, key.protect) == (protect, protect)
    assert bucket.inputs["forceDestroy"] is not protect


@pytest.mark.parametrize(
    ("region", "host"),
    [("eu-central-1", "b.s3.eu-central-1.amazonaws.com"), ("cn-north-1", "b.s3.cn-north-1.amazonaws.com.cn")],
)
def test_the_host_is_the_regional_one_of_the_partition(region: str, host: str) -> None:
    assert bucket_host("b", region) == host


def test_the_name_bears_the_account_and_fits_s3_at_the_longest_stack_name() -> None:
    name = bucket_name(Names(stack="x" * 12), SCOPE.account)
    assert name.endswith(SCOPE.account)
    assert len(name) <= 63
