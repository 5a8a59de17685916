"""The components of pulumi-eks: each makes what of its children the program stands on, as remote components do."""

from typing import Any

import grpc
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2, resource_pb2, resource_pb2_grpc

from tests.engine.stand_in.cloud import CLUSTER, NODE_GROUP
from tests.engine.stand_in.provider import Backend, Provider, plain, struct
from tests.engine.stand_in.world import Properties, World


class Components(Provider):
    """The eks package; its components have the one child that the program stands on."""

    def __init__(self, package: str, world: World, backend: Backend, *, kubeconfig: str) -> None:
        super().__init__(package, world, backend)
        self._kubeconfig = kubeconfig

    def Configure(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.ConfigureResponse:
        return provider_pb2.ConfigureResponse(acceptSecrets=True)

    def Construct(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.ConstructResponse:
        inputs = plain(request.inputs)
        with grpc.insecure_channel(request.monitorEndpoint) as channel:
            family = _Family(resource_pb2_grpc.ResourceMonitorStub(channel), request)
            if request.type == "eks:index:Cluster":
                child = family.child(CLUSTER, _cluster(inputs))
                made = self._world.things.get((CLUSTER, child.id))
                state: Properties = {
                    "clusterSecurityGroupId": f"sg-{made.token}" if made else rpc.UNKNOWN,
                    "kubeconfigJson": self._kubeconfig if made else rpc.UNKNOWN,
                }
            else:
                child = family.child(NODE_GROUP, _node_group(inputs))
                state = {"nodeGroup": {rpc._special_sig_key: rpc._special_resource_sig, "urn": child.urn}}
            family.finish(state)
        dependencies = provider_pb2.ConstructResponse.PropertyDependencies(urns=[child.urn])
        return provider_pb2.ConstructResponse(
            urn=family.urn, state=struct(state), stateDependencies=dict.fromkeys(state, dependencies)
        )


class _Family:
    """A component and its child, registered with the engine on behalf of the program."""

    def __init__(self, monitor: resource_pb2_grpc.ResourceMonitorStub, request: Any) -> None:
        self._monitor = monitor
        self._request = request
        self._after = sorted(
            {*request.dependencies, *(urn for it in request.inputDependencies.values() for urn in it.urns)}
        )
        self.urn = self._register(request.type, parent=request.parent, custom=False, properties={}).urn

    def child(self, kind: str, properties: Properties) -> Any:
        return self._register(kind, parent=self.urn, custom=True, properties=properties)

    def finish(self, state: Properties) -> None:
        self._monitor.RegisterResourceOutputs(
            resource_pb2.RegisterResourceOutputsRequest(urn=self.urn, outputs=struct(state))
        )

    def _register(self, kind: str, *, parent: str, custom: bool, properties: Properties) -> Any:
        return self._monitor.RegisterResource(
            resource_pb2.RegisterResourceRequest(
                type=kind,
                name=self._request.name,
                parent=parent,
                custom=custom,
                object=struct(properties),
                protect=self._request.protect,
                dependencies=self._after,
                acceptSecrets=True,
                acceptResources=True,
                supportsPartialValues=True,
            )
        )


def _cluster(inputs: Properties) -> Properties:
    return {
        "name": inputs["name"],
        "version": inputs["version"],
        "role": inputs["serviceRole"],
        "vpcConfig": {"vpcId": inputs["vpcId"], "subnetIds": inputs["subnetIds"]},
        "encryptionConfig": {"provider": {"keyArn": inputs["encryptionConfigKeyArn"]}, "resources": ["secrets"]},
        "tags": inputs["tags"],
    }


def _node_group(inputs: Properties) -> Properties:
    kept = ("nodeRoleArn", "subnetIds", "launchTemplate", "instanceTypes", "version", "tags")
    return {key: inputs[key] for key in kept}
