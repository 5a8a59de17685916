"""The real components that tests run: built by Go from published modules, once, into a cache outside the tree.

``python -m tests.machinery.binaries`` builds all of them beforehand; a test's first use builds its group.
"""

import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MODULES: Final = Path(__file__).parent / "go"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "model-serving/machinery"


class GoMissingError(Exception):
    """There is no Go here to build with; the message says where to get it."""


class BuildError(Exception):
    """Go could not build or download something; the message is Go's."""


@dataclass(frozen=True)
class Group:
    """The programs of one module of tools, ``tests/machinery/go/<name>``, which fixes every version by its go.sum."""

    name: str
    packages: Mapping[str, str]
    """The package of each program."""
    stamps: Mapping[str, str] = field(default_factory=dict)
    """Variables that upstream's own build sets, such as the version that a program says it has."""

    @property
    def flags(self) -> list[str]:
        """What ``go build`` is told."""
        stamps = (f"-X={variable}={value}" for variable, value in self.stamps.items())
        return ["-trimpath", "-buildvcs=false", f"-ldflags={' '.join(('-s -w', *stamps))}"]

    @property
    def folder(self) -> Path:
        """Where its programs are, or will be: another place for each set of versions and flags."""
        inputs = [(MODULES / self.name / file).read_text() for file in ("go.mod", "go.sum")]
        content = json.dumps([*inputs, sorted(self.packages.items()), self.flags])
        return CACHE / f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def required(group: str, module: str) -> str:
    """The version of a module that a group's go.mod requires, such as v1.36.3."""
    match = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", (MODULES / group / "go.mod").read_text(), re.M)
    assert match, f"{MODULES / group}/go.mod does not require {module}"
    return match[1]


def _kubernetes() -> Group:
    programs = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    version = required("kubernetes", "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return Group(
        "kubernetes",
        {"etcd": "go.etcd.io/etcd/server/v3", **{name: f"k8s.io/kubernetes/cmd/{name}" for name in programs}},
        {f"k8s.io/component-base/version.{variable}": value for variable, value in stamps.items()},
    )


GROUPS: Final = (
    _kubernetes(),
    Group("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"}),
    Group("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}),
    Group(
        "istio",
        {
            "istioctl": "istio.io/istio/istioctl/cmd/istioctl",
            "pilot-agent": "istio.io/istio/pilot/cmd/pilot-agent",
            "pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery",
        },
    ),
    Group(
        "flagger",
        {
            "flagger": "github.com/fluxcd/flagger/cmd/flagger",
            "loadtester": "github.com/fluxcd/flagger/cmd/loadtester",
            "hey": "github.com/rakyll/hey",
        },
    ),
    Group(
        "pulumi",
        {"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
        {
            "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": required(
                "pulumi", "github.com/pulumi/pulumi/pkg/v3"
            )
        },
    ),
)


def binary(program: str) -> Path:
    """Where a program is, such as ``kube-apiserver``; built before, if it has not been yet.

    Raises GoMissingError or BuildError where it cannot be built.
    """
    group = next(group for group in GROUPS if program in group.packages)
    if not group.folder.exists():
        _build(group)
    return group.folder / program


@functools.cache
def source(group: str, module: str) -> Path:
    """The folder of a Go module that a group's go.mod requires, for the files in it; downloaded, if need be.

    Raises GoMissingError or BuildError where it cannot be had.
    """
    answer = _go(group, "mod", "download", "-json", module)
    return Path(json.loads(answer)["Dir"])


def _build(group: Group) -> None:
    with _locked(group):
        if group.folder.exists():
            return
        started = time.monotonic()
        print(f"Building {', '.join(group.packages)} (once)", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            unfinished = Path(temporary, group.name)
            unfinished.mkdir()
            for program, package in group.packages.items():
                _go(group.name, "build", *group.flags, "-o", str(unfinished / program), package)
            unfinished.rename(group.folder)
        print(f"Built in {time.monotonic() - started:.0f} s: {group.folder}", file=sys.stderr, flush=True)


@contextmanager
def _locked(group: Group) -> Iterator[None]:
    """Hold the right to build a group: other processes wait for the end of it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{group.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _go(group: str, *arguments: str) -> str:
    go = shutil.which("go")
    if not go:
        raise GoMissingError(f"Go, which builds {group} for the tests, is not here: install it from https://go.dev/dl/")
    done = subprocess.run([go, *arguments], cwd=MODULES / group, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"go {' '.join(arguments)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    """Build every program; where it cannot be, say why in a line."""
    try:
        for group in GROUPS:
            if not group.folder.exists():
                _build(group)
    except (GoMissingError, BuildError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
