"""The charts at hand, which their projects publish with a Go module, rendered by Helm as the program asks for them."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from infra.plan.evaluate import Evaluation
from tests.machinery.binaries import binary, required, source
from tests.machinery.objects import Manifest, resolved

# Each chart's group, module, and folder in it.
_ISTIO: Final = ("istio", "istio.io/istio")
_FLAGGER: Final = ("flagger", "github.com/fluxcd/flagger")
_CHARTS: Final[Mapping[str, tuple[str, str, str]]] = {
    "base": (*_ISTIO, "manifests/charts/base"),
    "cni": (*_ISTIO, "manifests/charts/istio-cni"),
    "gateway": (*_ISTIO, "manifests/charts/gateway"),
    "istiod": (*_ISTIO, "manifests/charts/istio-control/istio-discovery"),
    "flagger": (*_FLAGGER, "charts/flagger"),
    "loadtester": (*_FLAGGER, "charts/loadtester"),
}

# Istio's charts keep their defaults below this key, where a value of the user's always wins.
_ISTIO_DEFAULTS: Final = "_internal_defaults_do_not_set"

# Below these, and below an empty mapping, names are Kubernetes' or the mesh's: the API server and istiod judge them.
_OTHERS: Final = frozenset({"labels", "meshConfig", "podAnnotations", "resources", "securityContext"})


class ChartError(Exception):
    """Helm cannot render a chart with these values; the message is Helm's."""


def releases_of(evaluation: Evaluation) -> dict[str, Manifest]:
    """The inputs of the Helm releases whose charts are at hand, by the chart's name."""
    releases = [it for it in evaluation.of_type("kubernetes:helm.sh/v3:Release") if it.inputs["name"] in _CHARTS]
    return {it.inputs["name"]: resolved(it.inputs, evaluation) for it in releases}


def rendered(release: Mapping[str, Any]) -> list[Manifest]:
    """The objects of a release, from its inputs as the program gives them; raises ChartError."""
    version = f"--kube-version={required('kubernetes', 'k8s.io/kubernetes')}"
    said = _helm("template", release, _folder(release["name"]), version, "--values=-")
    return [it for it in yaml.load_all(said, Loader=yaml.CSafeLoader) if it]


def install(release: Mapping[str, Any], kubeconfig: Path) -> None:
    """Install a release as the program gives it, and do not wait for what it makes; raises ChartError."""
    _helm("install", release, _folder(release["name"]), f"--kubeconfig={kubeconfig}", "--values=-")


def uninstall(release: Mapping[str, Any], kubeconfig: Path) -> None:
    """Take a release away again; raises ChartError."""
    _helm("uninstall", release, f"--kubeconfig={kubeconfig}")


def _helm(command: str, release: Mapping[str, Any], *arguments: str | Path) -> str:
    namespace = f"--namespace={release['namespace']}"
    done = subprocess.run(
        [binary("helm"), command, release["name"], *arguments, namespace],
        input=json.dumps(release.get("values", {})),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ChartError(done.stderr.strip())
    return done.stdout


def unknown_values(chart: str, values: Mapping[str, Any]) -> list[str]:
    """The names of values, such as ``global.hub``, that the chart's own values.yaml does not have."""
    defaults: dict[str, Any] = yaml.safe_load((_folder(chart) / "values.yaml").read_text())
    return _unknown(values, defaults.get(_ISTIO_DEFAULTS, defaults), prefix="")


def _unknown(values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> list[str]:
    found: list[str] = []
    for name, value in values.items():
        if name not in defaults:
            found.append(prefix + name)
        elif (
            isinstance(value, Mapping)
            and isinstance(defaults[name], Mapping)
            and defaults[name]
            and name not in _OTHERS
        ):
            found += _unknown(value, defaults[name], f"{prefix}{name}.")
    return found


def _folder(chart: str) -> Path:
    group, module, folder = _CHARTS[chart]
    return source(group, module) / folder
