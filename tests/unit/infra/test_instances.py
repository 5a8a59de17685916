"""What is known of EC2's machines, and the node groups that are refused because of it."""

import pytest
from pydantic import ValidationError

from infra import config, instances


@pytest.mark.parametrize("machine", ["m7g.large", "c7gn.xlarge", "t4g.small", "g5g.xlarge", "im4gn.large", "a1.large"])
def test_graviton_is_told_by_the_letter_after_the_generation(machine: str) -> None:
    assert instances.is_arm(machine)


@pytest.mark.parametrize("machine", ["m7i.large", "g5.xlarge", "g4dn.xlarge", "g6e.xlarge", "c5n.large", "t3.micro"])
def test_machines_of_intel_amd_and_nvidia_are_not_taken_for_graviton(machine: str) -> None:
    assert not instances.is_arm(machine)


def test_no_gpu_family_here_is_arm() -> None:
    assert not [family for family in instances.ACCELERATORS if instances.is_arm(f"{family}.xlarge")]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            {"accelerator": "gpu", "gpus": 1, "instanceTypes": ["g5.xlarge", "g6.xlarge"]},
            "instanceTypes are of g5, g6: a group with accelerator gpu has one family of",
        ),
        (
            {"accelerator": "gpu", "gpus": 1, "instanceTypes": ["m7i.large"]},
            "instanceTypes are of m7i: a group with accelerator gpu has one family of",
        ),
        (
            {"instanceTypes": ["m7i.large", "g5.xlarge"]},
            "instanceTypes are of g5, which have GPUs: set accelerator gpu",
        ),
        ({"instanceTypes": ["m7g.large"]}, "instanceTypes names m7g.large, which is arm64"),
        ({"instanceTypes": ["large"]}, "an EC2 instance type such as"),
        ({"instanceTypes": []}, "at least 1 item"),
    ],
)
def test_machines_that_do_not_fit_their_group_are_refused(group: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config.NodeGroup.model_validate({"size": {"min": 0, "max": 2}, **group})


def test_sizes_of_one_family_may_be_mixed() -> None:
    group = config.NodeGroup.model_validate(
        {
            "accelerator": "gpu",
            "gpus": 1,
            "instanceTypes": ["g6.xlarge", "g6.2xlarge"],
            "size": {"min": 0, "max": 2},
        }
    )
    assert len(group.instance_types) == 2
