"""A cluster and a cloud for each module of tests, in which a stack is made."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.engine.stack import Stack
from tests.engine.stand_in.serving import stand_in
from tests.machinery import crds
from tests.machinery.binaries import GoMissingError, binary
from tests.machinery.control_plane import control_plane

MakeStack = Callable[[str], Stack]


@pytest.fixture(scope="module")
def make_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStack]:
    """Makes a stack by its name, in a cloud and a cluster that have nothing in them."""
    with ExitStack() as running:
        try:
            binary("pulumi")
            plane = running.enter_context(control_plane(tmp_path_factory.mktemp("plane")))
        except GoMissingError as error:
            pytest.skip(str(error))
        crds.install(plane.client())
        standing_in = running.enter_context(stand_in(plane))
        yield lambda name: Stack(name, standing_in, tmp_path_factory.mktemp(name))
