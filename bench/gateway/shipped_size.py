"""The size of the packages in the gateway's image, stripped and compiled as its Dockerfile says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.gateway.environments import PROJECT, Environment
from bench.gateway.machine import BenchError

DOCKERFILE = PROJECT / "app" / "gateway" / "Dockerfile"


def measure(environment: Environment, directory: Path) -> int:
    """Bytes of the packages in a copy of ``environment`` after the Dockerfile's commands on ``venv``.

    Raises BenchError when the Dockerfile has no such commands, or one of them fails.
    """
    copy = directory / "venv"
    shutil.copytree(environment.directory, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    lines = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    commands = re.findall(r"^RUN ((?:find venv|python3 -m compileall .* venv$).*)$", lines, re.MULTILINE)
    if len(commands) != 2:
        raise BenchError(f"{DOCKERFILE}: one RUN that strips venv and one that compiles it were expected")
    for command in commands:
        python = Path(sys.executable).parent
        done = subprocess.run(
            ["sh", "-c", f'PATH="{python}:$PATH"; {command}'],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"{DOCKERFILE}: a RUN failed: {done.stderr.strip()}")
    size = sum(file.stat().st_size for file in copy.glob("lib/python3*/site-packages/**/*") if file.is_file())
    shutil.rmtree(copy)
    return size
