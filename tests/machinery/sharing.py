"""One control plane for several processes, such as the workers of a test run."""

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.machinery.client import Client
from tests.machinery.control_plane import ControlPlane, control_plane


@contextmanager
def shared_control_plane(
    folder: Path, nodes: Sequence[Mapping[str, Any]], prepare: Callable[[Client], None]
) -> Iterator[ControlPlane]:
    """The control plane of this folder: the first process starts and prepares it, and ends it when no other uses it.

    The locks go with the processes that hold them, so that one which was killed leaves no trace. Raises as
    ``control_plane`` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    running = folder / "url"
    with (
        (folder / "coming-and-going.lock").open("w") as coming_and_going,
        (folder / "owner.lock").open("w") as owner,
        (folder / "users.lock").open("w") as users,
    ):
        fcntl.flock(coming_and_going, fcntl.LOCK_EX)
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(coming_and_going, fcntl.LOCK_UN)
            yield ControlPlane(url=running.read_text(), folder=folder)
            return
        with control_plane(folder, nodes) as plane:
            prepare(plane.client())
            running.write_text(plane.url)
            fcntl.flock(coming_and_going, fcntl.LOCK_UN)
            try:
                yield plane
            finally:
                fcntl.flock(coming_and_going, fcntl.LOCK_EX)
                fcntl.flock(users, fcntl.LOCK_EX)
