"""What the program must know of EC2's machines, from their types alone."""

import re
from collections.abc import Mapping
from typing import Final

# The label of each family's GPU, with which the autoscaler tells GPUs apart and knows to wait for a new machine's.
# Source: the label and its values, https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/aws_cloud_provider.go
# and the GPU of each family, https://docs.aws.amazon.com/dlami/latest/devguide/gpu.html
ACCELERATOR_LABEL: Final = "k8s.amazonaws.com/accelerator"
ACCELERATORS: Final[Mapping[str, str]] = {
    "g4dn": "nvidia-tesla-t4",
    "g5": "nvidia-a10g",
    "g6": "nvidia-l4",
    "g6e": "nvidia-l40s",
    "p3": "nvidia-tesla-v100",
    "p4d": "nvidia-tesla-a100",
}

# GPUs of each machine, by its size or its whole type; all others of these families have one.
# Source: https://github.com/kubernetes/autoscaler/blob/cluster-autoscaler-1.36.1/cluster-autoscaler/cloudprovider/aws/ec2_instance_types.go
_SEVERAL_GPUS: Final[Mapping[str, int]] = {
    "12xlarge": 4,
    "24xlarge": 4,
    "48xlarge": 8,
    "metal": 8,
    "p3.8xlarge": 4,
    "p3.16xlarge": 8,
    "p4d.24xlarge": 8,
}


def gpus(instance_type: str) -> int:
    """The GPUs of a machine of one of the families above."""
    size = instance_type.partition(".")[2]
    return _SEVERAL_GPUS.get(instance_type) or _SEVERAL_GPUS.get(size, 1)


def has_gpus(instance_type: str) -> bool:
    """Whether machines of this type have GPUs, known here or not: those of the families g, gr and p.

    Source: https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html
    """
    return re.match(r"(gr?|p)\d", instance_type) is not None


def family(instance_type: str) -> str:
    """The family of a type: ``g5`` of ``g5.xlarge``."""
    return instance_type.partition(".")[0]


def is_arm(instance_type: str) -> bool:
    """Whether machines of this type are arm64: after the generation, Graviton's families have a ``g``.

    Source: https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
    """
    return re.match(r"a1$|[a-z]+\d+g", family(instance_type)) is not None
