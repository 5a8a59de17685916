"""The model store: the S3 bucket that model versions are uploaded to and copied from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from infra import config, iam
from infra.conventions import Names


def bucket_name(names: Names, account: str) -> str:
    """The bucket's name: known before it is made, and nobody else's since it bears the account."""
    return names.of(f"models-{account}")


def bucket_host(bucket: str, region: str) -> str:
    """The one host under which the bucket answers in its region.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
    """
    return f"{bucket}.{iam.s3_host(region)}"


def refuse_plain_http(bucket_arn: str) -> iam.Document:
    """The bucket's policy: whoever asks without TLS is refused."""
    return iam.document(
        {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, f"{bucket_arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


@dataclass(frozen=True, kw_only=True)
class ModelStoreArgs:
    """What the model store is made of."""

    names: Names
    scope: iam.Scope
    settings: config.ModelStore
    protect: bool
    tags: Mapping[str, str]


class ModelStore(pulumi.ComponentResource):
    """A private, versioned, encrypted bucket that tells EventBridge of each upload."""

    bucket: Output[str]
    arn: Output[str]
    key_arn: Output[str]
    region: str
    host: str
    """The host of the bucket, for the mesh's way out."""
    endpoint_url: None = None
    """S3 itself: no endpoint of another kind."""

    def __init__(self, name: str, args: ModelStoreArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("model-serving:infra:ModelStore", name, None, opts)
        child = ResourceOptions(parent=self)
        kept = ResourceOptions(parent=self, protect=args.protect)
        physical_name = bucket_name(args.names, args.scope.account)

        key = aws.kms.Key(
            f"{name}-key",
            description=f"The models of {args.names.prefix}",
            enable_key_rotation=True,
            deletion_window_in_days=30 if args.protect else 7,
            tags=dict(args.tags),
            opts=kept,
        )
        aws.kms.Alias(
            f"{name}-key-alias", name=f"alias/{args.names.of('models')}", target_key_id=key.key_id, opts=child
        )
        bucket = aws.s3.Bucket(
            f"{name}-bucket",
            bucket=physical_name,
            # The models of a stack that may be destroyed freely go with it.
            force_destroy=not args.protect,
            tags=dict(args.tags),
            opts=kept,
        )
        blocked = aws.s3.BucketPublicAccessBlock(
            f"{name}-no-public-access",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            f"{name}-ownership",
            bucket=bucket.id,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=child,
        )
        versioning = aws.s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.id,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=child,
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    # One call of KMS for many objects: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
                    bucket_key_enabled=True,
                    apply_server_side_encryption_by_default=aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                        sse_algorithm="aws:kms", kms_master_key_id=key.arn
                    ),
                )
            ],
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-lifecycle",
            bucket=bucket.id,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="old-versions",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                        noncurrent_days=args.settings.keep_old_versions_days
                    ),
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=1
                    ),
                )
            ],
            opts=ResourceOptions(parent=self, depends_on=[versioning]),
        )
        aws.s3.BucketPolicy(
            f"{name}-tls-only",
            bucket=bucket.id,
            policy=bucket.arn.apply(lambda arn: json.dumps(refuse_plain_http(arn))),
            # S3 refuses two changes of a bucket's access at the same time.
            opts=ResourceOptions(parent=self, depends_on=[blocked]),
        )
        aws.s3.BucketNotification(f"{name}-events", bucket=bucket.id, eventbridge=True, opts=child)

        self.bucket = bucket.bucket
        self.arn = bucket.arn
        self.key_arn = key.arn
        self.region = args.scope.region
        self.host = bucket_host(physical_name, args.scope.region)
        self.register_outputs({"bucket": self.bucket, "arn": self.arn, "key_arn": self.key_arn, "host": self.host})
