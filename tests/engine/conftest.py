"""A cluster and a cloud for each module of tests, in which a stack is made."""

from collections.abc import Callable, Iterator

import pytest

from tests.engine.stack import Stack
from tests.engine.stand_in.serving import stand_in
from tests.machinery.control_plane import control_plane
from tests.machinery.crds import install

MakeStack = Callable[[str], Stack]


@pytest.fixture(scope="module")
def make_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStack]:
    """Makes a stack by its name, in a cloud and a cluster that have nothing in them."""
    with control_plane(tmp_path_factory.mktemp("plane")) as plane:
        install(plane.client())
        with stand_in(plane) as standing_in:
            yield lambda name: Stack(name, standing_in, tmp_path_factory.mktemp(name))
