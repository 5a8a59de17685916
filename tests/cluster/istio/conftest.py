"""A mesh for each stack, shared by all workers of a test run."""

import functools
from collections.abc import Callable

import pytest

from tests.cluster.conftest import run_folder, running
from tests.cluster.istio import data_plane
from tests.cluster.istio import stack as stacks
from tests.cluster.istio.data_plane import DataPlane
from tests.cluster.istio.mesh import Mesh, mesh
from tests.cluster.istio.network import NoNetworkError
from tests.cluster.istio.stack import STACKS, Stack
from tests.machinery.binaries import GoMissingError


@functools.cache
def _loaded(name: str) -> Stack:
    try:
        return stacks.load(name)
    except GoMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def flowing(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> DataPlane:
    """The mesh of the dev stack with packets that flow."""
    stack = data_plane.without_metrics(_loaded("dev"))
    shared = mesh(stack, run_folder(tmp_path_factory) / "data-plane", data_plane.start)
    try:
        return DataPlane(pytestconfig.stash[running].enter_context(shared))
    except NoNetworkError as error:
        pytest.skip(str(error))


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> Stack:
    """Each stack in turn, nothing of which runs."""
    return _loaded(request.param)


@pytest.fixture(scope="session")
def started(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Mesh]:
    """What gives the mesh of a stack, which then runs until the workers are through."""

    @functools.cache
    def start(name: str) -> Mesh:
        shared = mesh(_loaded(name), run_folder(tmp_path_factory) / f"mesh-{name}")
        return pytestconfig.stash[running].enter_context(shared)

    return start


@pytest.fixture(params=STACKS)
def meshed(request: pytest.FixtureRequest, started: Callable[[str], Mesh]) -> Mesh:
    """The mesh of each stack in turn."""
    return started(request.param)
