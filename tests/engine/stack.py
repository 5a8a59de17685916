"""A stack of the program under the real engine, with its state in a folder."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from pulumi import automation

from infra import config, conventions, repair
from tests.engine.stand_in.serving import StandIn
from tests.machinery.binaries import binary
from tests.machinery.control_plane import ControlPlane

ROOT: Final = Path(__file__).resolve().parents[2]
MODELS: Final = "model-serving:models"

# No proxies are here that could still send requests to a version that gets none any more, nor an AWS that is slow to
# know of what it has made.
_PLUGIN: Final = """
import runpy
from infra import handover, patience
handover._KNOWN_SECONDS = patience._SECONDS = 0
runpy.run_module("pulumi.dynamic", run_name="__main__")
"""


@dataclass(frozen=True)
class Step:
    """What the engine did with one resource."""

    op: str
    urn: str

    @property
    def type(self) -> str:
        """The resource's type, without its parents'."""
        return self.urn.split("::")[2].rpartition("$")[2]

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.urn.split("::")[3]


@dataclass
class Run:
    """One run of the engine: its steps in the order in which they ended, and what it said."""

    steps: list[Step] = field(default_factory=list)
    failed: list[Step] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    succeeded: bool = False

    def changes(self, *, kind: str = "") -> dict[str, str]:
        """What was done with each resource that did not stay as it was, by name: components and providers left out.

        Of the resources whose type begins with ``kind``.
        """
        return {
            step.name: step.op
            for step in self.steps
            if step.op not in ("same", "read", "refresh") and step.type.startswith(kind) and not _groups(step.type)
        }

    def note(self, event: automation.EngineEvent) -> None:
        """Take an event of the engine into account."""
        if event.res_outputs_event:
            self.steps.append(_step(event.res_outputs_event))
        elif event.resource_pre_event and event.resource_pre_event.planning:
            self.steps.append(_step(event.resource_pre_event))
        elif event.res_op_failed_event:
            self.failed.append(_step(event.res_op_failed_event))
        elif event.diagnostic_event and event.diagnostic_event.severity == "error":
            self.errors.append(event.diagnostic_event.message)


def _step(event: Any) -> Step:
    return Step(event.metadata.op.value, event.metadata.urn)


def _groups(kind: str) -> bool:
    return kind.startswith(("model-serving:infra:", "pulumi:", "eks:index:"))


class Stack:
    """A stack of the project, in a folder that has a copy of its stack file."""

    def __init__(self, name: str, standing_in: StandIn, folder: Path) -> None:
        self.stand_in = standing_in
        self._file = folder / f"Pulumi.{name}.yaml"
        for file in ("Pulumi.yaml", self._file.name):
            shutil.copy(ROOT / file, folder)
        self._bundle = _bundle(folder / "pulumi")
        self._stack = automation.create_stack(
            name,
            project_name=conventions.PROJECT,
            program=_program,
            opts=automation.LocalWorkspaceOptions(
                work_dir=str(folder),
                pulumi_command=automation.PulumiCommand(str(self._bundle)),
                env_vars={
                    "KUBECONFIG": str(_kubeconfig(standing_in.plane, folder)),
                    "PULUMI_BACKEND_URL": f"file://{folder}",
                    "PULUMI_CONFIG_PASSPHRASE": "a test's",
                    "PULUMI_DEBUG_PROVIDERS": standing_in.attached,
                    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
                    "PULUMI_HOME": str(folder / "home"),
                    "PULUMI_SKIP_UPDATE_CHECK": "true",
                },
            ),
        )
        self._original = self._file.read_text()
        self._settled = False

    def set_secret(self, key: str, value: str) -> None:
        """Set a secret of the stack file for good, as ``pulumi config set --secret`` does."""
        self._stack.set_config(key, automation.ConfigValue(value, secret=True))
        self._original = self._file.read_text()

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the stack file's values, as a pull request does; ``settle`` takes it back."""
        content = yaml.safe_load(self._original)
        change(content["config"])
        self._file.write_text(yaml.safe_dump(content))

    def settle(self) -> None:
        """Bring the stack to what the stack file says that is in the repository."""
        if not self._settled or self._file.read_text() != self._original:
            self._file.write_text(self._original)
            run = self.up()
            assert run.succeeded, run.errors

    def up(self) -> Run:
        """Run ``pulumi up``."""
        run = self._run(self._stack.up)
        self._settled = run.succeeded
        return run

    def preview(self) -> Run:
        """Run ``pulumi preview``."""
        return self._run(self._stack.preview)

    def refresh(self) -> Run:
        """Run ``pulumi refresh``."""
        return self._run(self._stack.refresh)

    def destroy(self) -> Run:
        """Run ``pulumi destroy``: a preview, and what it shows."""
        preview = self._run(self._stack.preview_destroy)
        if not preview.succeeded:
            return preview
        self._settled = False
        return self._run(self._stack.destroy)

    def cancel(self) -> None:
        """Run ``pulumi cancel``: forget the lock of a run that is no more."""
        self._stack.cancel()

    def repair(self) -> repair.Repair:
        """Do what `make up` does before ``pulumi up``."""
        return repair.repair(self._stack)

    def kill(self) -> None:
        """Kill the engine, wherever it is, and with it the plugins that it has started."""
        self._settled = False
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            if command.read_bytes().startswith(bytes(self._bundle / "bin/pulumi")):
                plugins = " ".join(file.read_text() for file in command.parent.glob("task/*/children"))
                for process in (command.parent.name, *plugins.split()):
                    os.kill(int(process), signal.SIGKILL)

    def resources(self) -> list[Any]:
        """The resources that the engine knows of."""
        return list((self._stack.export_stack().deployment or {}).get("resources") or ())

    def files(self) -> str:
        """All that is kept of the stack, as it is kept."""
        return "".join(file.read_text() for file in self._file.parent.glob(".pulumi/**/*.json"))

    def _run(self, operation: Callable[..., object]) -> Run:
        run = Run()
        try:
            operation(on_event=run.note)
        except automation.CommandError as error:
            run.errors.append(str(error))
        else:
            run.succeeded = True
        return run


def _program() -> None:
    from infra.program import build

    build(config.load()).export()


def _kubeconfig(plane: ControlPlane, folder: Path) -> Path:
    """A kubeconfig whose one context has the name of the stack file for kind."""
    context = yaml.safe_load((ROOT / "Pulumi.kind.yaml").read_text())["config"]["model-serving:cluster"]["context"]
    content = yaml.safe_load(plane.kubeconfig.read_text())
    content["contexts"][0]["name"] = content["current-context"] = context
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    return file


def _bundle(root: Path) -> Path:
    """The CLI and, beside it as in Pulumi's own bundle, the plugin of dynamic providers, which is the SDK's."""
    binaries = root / "bin"
    binaries.mkdir(parents=True)
    (binaries / "pulumi").symlink_to(binary("pulumi"))
    plugin = binaries / "pulumi-resource-pulumi-python"
    plugin.write_text(f"#!/bin/sh\nexport PYTHONPATH='{ROOT}'\nexec '{sys.executable}' -u -c '{_PLUGIN}' \"$@\"\n")
    plugin.chmod(0o755)
    return root
