"""The platform as a whole: brought from whatever state it is in to the one that the stack file describes."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from app.local import gateway, pods, ports, store
from app.local import state as memory
from app.local.errors import LocalError
from app.local.examples import prepared
from app.local.files import Folders
from app.local.mesh import Mesh
from app.local.pods import PORTS_PER_POD, Pod
from app.local.progress import Progress
from app.local.stack import Stack
from app.local.store import ModelBucket
from app.local.supervision import Group, Program, Supervisor, wait_for

_DRAIN_SECONDS = 30


class Platform:
    """Everything in one state folder."""

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self.supervisor = Supervisor(folders)
        self._state_file = folders.run / "state.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold off other commands; raises LocalError if one is at work."""
        self.folders.make()
        with (self.folders.state / "lock").open("w") as lock:
            try:
                flock(lock, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                raise LocalError(
                    f"another command is at work on {self.folders.state}: wait for it, or end it"
                ) from None
            yield

    # --- Up -----------------------------------------------------------------------------------------------------------

    def up(self, stack: Stack, source: Path, progress: Progress) -> None:
        """Make it what the stack (read from ``source``) says.

        What is as it should be stays untouched, so that an interrupted run is finished by the next.
        Raises LocalError.
        """
        mesh = Mesh(self.folders, stack.ports.mesh, stack.ports.mesh_admin)
        bucket = ModelBucket(stack.ports.store, self.folders)

        progress.step("Checking this machine")
        self._check_ports(stack, source, mesh)
        self.supervisor.ensure_up()

        progress.step(f"S3 API on port {stack.ports.store}")
        self._run_single(store.group(stack.ports.store), lambda: bucket.is_up)
        bucket.fill()

        progress.step("Example models")
        self._provide_examples(stack, bucket, progress)
        self._run_single(
            pictures_group(stack.ports.pictures, self.folders), lambda: ports.answers(stack.ports.pictures)
        )

        progress.step("Model servers")
        if pods.server_command()[0] == sys.executable:
            progress.note("tensorflow_model_server is not on PATH: a stand-in in Python speaks its protocol")
        wanted = self._wanted_pods(stack, source, bucket)
        self._start_pods(list(wanted.values()), bucket, progress)

        progress.step(f"Envoy on port {stack.ports.mesh}")
        mesh.configure()
        self._run_single(mesh.group(), lambda: mesh.is_up)
        unwanted = self._running_pods() - {pod.name for pod in wanted.values()}
        self._route(stack, wanted, unwanted, mesh, progress)

        progress.step(f"Gateway on port {stack.ports.gateway}")
        table = gateway.write_routing_table(stack, wanted, self.folders)
        self._run_gateway(stack)
        # Only then may what the old table names be ended, and the new be tried.
        wait_for(
            lambda: gateway.follows(stack.ports.gateway, table),
            30,
            f"the gateway has not taken its routing table after 30 s; its logs are {self.folders.logs}/gateway-*.log",
        )

        progress.step("Tidying up")
        for name in sorted(unwanted):
            progress.note(f"{name}: waiting for its last requests, then ending it")
            mesh.wait_until_drained(name, _DRAIN_SECONDS)
            pods.remove(name, self.folders, self.supervisor)
        mesh.set_clusters({pod.name: pod.port for pod in wanted.values()})
        self._forget_all_but({pod.name for pod in wanted.values()})
        bucket.keep()

    def _check_ports(self, stack: Stack, source: Path, mesh: Mesh) -> None:
        """Whoever needs a port and does not run yet finds it free; raises LocalError before anything is started."""
        if not self.supervisor.is_up:
            self.supervisor.end_leftovers()
        needed = (
            (store.group(stack.ports.store), ("store",)),
            (pictures_group(stack.ports.pictures, self.folders), ("pictures",)),
            (mesh.group(), ("mesh", "mesh_admin")),
            (gateway.group(stack.ports.gateway, self.folders), ("gateway",)),
        )
        for group, keys in needed:
            if self.supervisor.runs(group):
                continue
            for key in keys:
                port = getattr(stack.ports, key)
                if not ports.is_free(port) and not self._is_own(port):
                    raise LocalError(
                        f"port {port} is taken{ports.by_whom(port)}: end that, or change ports.{key} in {source}"
                    )

    def _is_own(self, port: int) -> bool:
        """Whether a process of ours, about to be replaced, listens there."""
        own = {process.pid for process in self.supervisor.leftovers()}
        return bool(own & ports.listeners(port))

    def _run_single(self, group: Group, is_up: Callable[[], bool]) -> None:
        self.supervisor.add(group)
        for program in group.programs:
            process = f"{group.name}:{program.name}"
            self.supervisor.start(process)
            self.supervisor.wait_until(is_up, process, 60)

    def _provide_examples(self, stack: Stack, bucket: ModelBucket, progress: Progress) -> None:
        """Train the examples that the stack has, upload them, and lay out their pictures."""
        for name in sorted(prepared.EXAMPLES.keys() & stack.models.keys()):
            example = prepared.prepare(name, self.folders, progress)
            for line in example.report.splitlines():
                progress.note(line)
            state = memory.load(self._state_file)
            if state.examples.get(name) != example.folder.name:
                for version in example.versions:
                    bucket.remove(name, version)
                state.examples[name] = example.folder.name
                memory.save(self._state_file, state)
            for version, folder in example.versions.items():
                if not bucket.has(name, version):
                    bucket.upload(name, folder, version, quiet=True)
            for picture in example.pictures:
                shutil.copy2(picture, self.folders.pictures)

    def _wanted_pods(self, stack: Stack, source: Path, bucket: ModelBucket) -> dict[tuple[str, int], Pod]:
        """A pod for each version in the stack; one that runs keeps its ports."""
        state = memory.load(self._state_file)
        running = self._running_pods()
        state.ports = {name: port for name, port in state.ports.items() if name in running}
        wanted = {}
        for model, entry in stack.models.items():
            for version in entry.weights:
                if not bucket.has(model, version):
                    there = ", ".join(map(str, bucket.versions(model))) or "none"
                    raise LocalError(
                        f"{source}: models.{model}.versions names version {version}, which is not in the model store"
                        f" (there: {there}): upload it with `make upload MODEL={model} DIR=<folder of the SavedModel>`"
                    )
                template = pods.template(bucket, model, version, state.restarts.get(model, 0))
                name = pods.pod_name(model, version, template)
                if name not in state.ports:
                    state.ports[name] = ports.first_free(
                        stack.ports.serving, PORTS_PER_POD, 3, set(state.ports.values())
                    )
                wanted[model, version] = Pod(model, version, template, state.ports[name])
        memory.save(self._state_file, state)
        return wanted

    def _start_pods(self, wanted: list[Pod], bucket: ModelBucket, progress: Progress) -> None:
        for pod in wanted:
            pods.start(pod, bucket, self.folders, self.supervisor)
        for pod in wanted:
            pods.wait_until_available(pod, self.supervisor)
            progress.note(f"{pod.model} v{pod.version}: available on {pod.grpc_address}")

    def _route(
        self,
        stack: Stack,
        wanted: dict[tuple[str, int], Pod],
        unwanted: set[str],
        mesh: Mesh,
        progress: Progress,
    ) -> None:
        """Move the traffic; the pods it leaves stay known, for what is still under way to them."""
        known = memory.load(self._state_file).ports
        pods_known = unwanted | {pod.name for pod in wanted.values()}
        mesh.set_clusters({name: port for name, port in known.items() if name in pods_known})
        weights = {
            model: {wanted[model, version].name: weight for version, weight in entry.weights.items()}
            for model, entry in stack.models.items()
        }
        mesh.set_routes(weights)
        for model, entry in stack.models.items():
            progress.note(f"{model}: " + ", ".join(f"{weight} % to v{v}" for v, weight in entry.weights.items()))

    def _run_gateway(self, stack: Stack) -> None:
        state = memory.load(self._state_file)
        template = gateway.template(state.restarts.get(gateway.GROUP, 0))
        if state.gateway == template and self.supervisor.runs(gateway.group(stack.ports.gateway, self.folders)):
            return
        gateway.roll(stack.ports.gateway, self.folders, self.supervisor)
        state.gateway = template
        memory.save(self._state_file, state)

    def _running_pods(self) -> set[str]:
        singles = {"store", "pictures", "mesh", gateway.GROUP}
        return {name for name in self.supervisor.groups() if name not in singles}

    def _forget_all_but(self, names: set[str]) -> None:
        state = memory.load(self._state_file)
        state.ports = {name: port for name, port in state.ports.items() if name in names}
        memory.save(self._state_file, state)
        for folder in self.folders.pods.iterdir():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)

    # --- And the rest -------------------------------------------------------------------------------------------------

    def ask_for_restart(self, what: str, stack: Stack) -> None:
        """Make the next ``up`` replace the processes of a model, or the gateway; raises LocalError for others."""
        if what not in (known := (gateway.GROUP, *stack.models)):
            raise LocalError(f"there is no {what!r} to restart; there are {', '.join(known)}")
        state = memory.load(self._state_file)
        state.restarts[what] = state.restarts.get(what, 0) + 1
        memory.save(self._state_file, state)

    def down(self) -> None:
        """End everything, however it was started and whatever of it is left."""
        self.supervisor.end()


def pictures_group(port: int, folders: Folders) -> Group:
    """The process that serves pictures, in place of some image host."""
    command = (
        sys.executable,
        "-m",
        "http.server",
        "--bind",
        ports.HOST,
        "--directory",
        str(folders.pictures),
        str(port),
    )
    return Group("pictures", (Program("http", command),))
