"""The rules as Pulumi's engine runs them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

from infra.policies.rules import RULES

PACK = Path(__file__).parents[2] / "infra/policies"
BUCKET = "aws:s3/bucket:Bucket"
BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"


@pytest.fixture(scope="module")
def analyzer() -> Iterator[analyzer_pb2_grpc.AnalyzerStub]:
    """The pack, started as the engine's language host starts it."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(PACK)],
        cwd=PACK,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield analyzer_pb2_grpc.AnalyzerStub(channel)
    finally:
        process.kill()
        process.communicate()


def resource(kind: str, name: str, properties: dict[str, Any], uses: str = "") -> analyzer_pb2.AnalyzerResource:
    struct = struct_pb2.Struct()
    struct.update(properties)
    return analyzer_pb2.AnalyzerResource(
        type=kind,
        name=name,
        urn=f"urn:pulumi:dev::model-serving::{kind}::{name}",
        properties=struct,
        dependencies=[uses] if uses else [],
    )


def findings(
    analyzer: analyzer_pb2_grpc.AnalyzerStub, *resources: analyzer_pb2.AnalyzerResource
) -> dict[str, list[analyzer_pb2.AnalyzeDiagnostic]]:
    response = analyzer.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=resources))
    found: dict[str, list[analyzer_pb2.AnalyzeDiagnostic]] = {}
    for diagnostic in response.diagnostics:
        found.setdefault(diagnostic.policyName, []).append(diagnostic)
    return found


def test_the_engine_is_told_of_every_rule_with_its_level(analyzer: analyzer_pb2_grpc.AnalyzerStub) -> None:
    info = analyzer.GetAnalyzerInfo(empty_pb2.Empty())
    levels = {"mandatory": analyzer_pb2.MANDATORY, "warning": analyzer_pb2.ADVISORY}
    assert {it.name: it.enforcementLevel for it in info.policies} == {rule.name: levels[rule.level] for rule in RULES}


def test_a_broken_rule_stops_the_engine_at_the_resource(analyzer: analyzer_pb2_grpc.AnalyzerStub) -> None:
    bucket = resource(BUCKET, "models", {"bucket": "models"})
    (found,) = findings(analyzer, bucket)["no-public-bucket"]
    assert found.urn == bucket.urn
    assert found.enforcementLevel == analyzer_pb2.MANDATORY
    assert "has no BucketPublicAccessBlock" in found.message


def test_what_belongs_to_a_bucket_is_found_though_its_name_is_not_known_yet(
    analyzer: analyzer_pb2_grpc.AnalyzerStub,
) -> None:
    bucket = resource(BUCKET, "models", {})
    switches = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    block = resource(BLOCK, "private", {"bucket": UNKNOWN_STRING_VALUE, **dict.fromkeys(switches, True)}, bucket.urn)
    assert "no-public-bucket" not in findings(analyzer, bucket, block)


def test_numbers_that_travel_as_fractions_are_the_numbers_that_they_were(
    analyzer: analyzer_pb2_grpc.AnalyzerStub,
) -> None:
    options = {"httpTokens": "required", "httpPutResponseHopLimit": 1}
    template = resource("aws:ec2/launchTemplate:LaunchTemplate", "machines", {"metadataOptions": options})
    assert "machine-credentials" not in findings(analyzer, template)


def test_components_of_which_the_engine_tells_only_outputs_are_judged_by_their_children(
    analyzer: analyzer_pb2_grpc.AnalyzerStub,
) -> None:
    components = [
        resource("eks:index:Cluster", "cluster", {"kubeconfigJson": UNKNOWN_STRING_VALUE}),
        resource("eks:index:ManagedNodeGroup", "cpu", {}),
    ]
    assert findings(analyzer, *components) == {}
    tags = {"project": "model-serving", "stack": "dev", "managed-by": "pulumi"}
    cluster = resource("aws:eks/cluster:Cluster", "cluster", {"tags": tags, "version": "1.20"})
    nodes = resource("aws:eks/nodeGroup:NodeGroup", "cpu", {"tags": tags})
    assert {"encryption", "machine-credentials", "end-of-support"} == findings(
        analyzer, *components, cluster, nodes
    ).keys()


def test_kubernetes_objects_of_a_cluster_that_is_not_there_yet_are_judged_once_it_is(
    analyzer: analyzer_pb2_grpc.AnalyzerStub,
) -> None:
    release = "kubernetes:helm.sh/v3:Release"
    assert findings(analyzer, resource(release, "istiod", {})) == {}
    assert "no-latest" in findings(analyzer, resource(release, "istiod", {"chart": "istiod"}))
