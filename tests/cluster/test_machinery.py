"""What these tests stand on is what the program asks for, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from infra import versions
from tests.cluster.conftest import Cluster
from tests.machinery.binaries import required
from tests.machinery.client import eventually

# Starts a program beside itself, says which, and waits to be killed.
_HOST = """
import pathlib, sys, time
from tests.machinery.processes import processes
with processes(pathlib.Path(sys.argv[1])) as programs:
    programs.start(["sh", "-c", "echo $$ && exec sleep 600"], name="program")
    time.sleep(600)
"""


def test_the_control_plane_is_of_the_minor_that_the_program_is_for(cluster: Cluster) -> None:
    kubelets = {node["status"]["nodeInfo"]["kubeletVersion"] for node in cluster.client.items("v1", "Node")}
    server = cluster.client.version()
    assert server == required("kubernetes", "k8s.io/kubernetes")
    assert kubelets == {server}
    assert server.startswith(f"v{versions.KUBERNETES}.")


def test_flagger_is_the_release_that_the_program_installs() -> None:
    assert required("flagger", "github.com/fluxcd/flagger") == f"v{versions.FLAGGER.version}"


def test_what_runs_beside_the_tests_ends_with_them_even_when_they_are_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOST, tmp_path]) as host:
        try:
            log = tmp_path / "program.log"
            program = int(eventually(lambda: log.read_text() if log.exists() else "", "the program saying its id"))
        finally:
            host.send_signal(signal.SIGKILL)
    eventually(lambda: not _runs(program), "the program ending")


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # Ended, and not yet taken notice of.
    return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
