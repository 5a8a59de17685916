"""What istioctl, which knows what else goes wrong than a schema tells, says of each stack."""

import copy
from pathlib import Path
from typing import Any

from tests.cluster.istio.analysis import analyse
from tests.cluster.istio.stack import Stack, load


def test_istioctl_finds_nothing_to_complain_of(stack: Stack, tmp_path: Path) -> None:
    found, said = analyse(stack.everything, stack.mesh_config, tmp_path)
    assert found == [], said


def test_istioctl_would_find_mistakes_and_so_its_silence_says_something(tmp_path: Path) -> None:
    stack = load("everything")
    objects: list[Any] = copy.deepcopy(list(stack.everything))
    routes = next(it for it in objects if (it["kind"], it["metadata"]["name"]) == ("VirtualService", "clothing"))
    routes["spec"]["gateways"].append("ingress/back-door")
    routes["spec"]["http"][-1]["route"][0]["destination"]["subset"] = "v9"
    found, said = analyse(objects, stack.mesh_config, tmp_path)
    assert found.count("IST0101") == 2, said
    assert "ingress/back-door" in said
    assert "v9" in said
