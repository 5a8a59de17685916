"""Load from wrk: a closed loop of clients that keep their connections, each asking again as soon as it is answered."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.machine import BenchError, tool

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True, kw_only=True)
class Load:
    """What wrk saw: answers per second, and the latencies in milliseconds."""

    answers: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


def run(url: str, bodies: Sequence[str], *, clients: int, seconds: int) -> Load:
    """POST the bodies in turn for so long; raises BenchError if any answer is not a success."""
    command = [tool("wrk"), "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT), url, "--"]
    done = subprocess.run([*command, *bodies], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    seen = json.loads(done.stdout.splitlines()[-1])
    if seen["failed"] or not seen["answers"]:
        raise BenchError(f"{url}: {seen['failed']} of {seen['answers']} requests failed")
    return Load(
        answers=seen["answers"],
        seconds=seen["microseconds"] / 1e6,
        p50=seen["p50"] / 1e3,
        p99=seen["p99"] / 1e3,
    )
