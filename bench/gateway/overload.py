"""More than can be served: requests arrive at a fixed rate whether or not the earlier ones have been answered."""

import asyncio
import itertools
import statistics
import time
from dataclasses import dataclass, field

import aiohttp


@dataclass
class Overload:
    """Latencies in milliseconds, by what became of the requests."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    other: int = 0
    """Anything but a prediction or a 503 with Retry-After: failures."""

    @property
    def refused_share(self) -> float:
        return len(self.refused) / (len(self.accepted) + len(self.refused) + self.other)


def percentile(latencies: list[float], percent: int) -> float:
    return statistics.quantiles(latencies, n=100)[percent - 1] if len(latencies) > 1 else float("nan")


async def run(url: str, bodies: list[str], *, per_second: float, seconds: float) -> Overload:
    """Send ``per_second`` requests for so long, each when its time has come."""
    seen = Overload()
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def ask(body: str) -> None:
            started = time.monotonic()
            try:
                async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as answer:
                    await answer.read()
                    took = (time.monotonic() - started) * 1e3
                    if answer.ok:
                        seen.accepted.append(took)
                    elif answer.status == 503 and "Retry-After" in answer.headers:
                        seen.refused.append(took)
                    else:
                        seen.other += 1
            except (aiohttp.ClientError, TimeoutError):
                seen.other += 1

        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, body in enumerate(itertools.cycle(bodies)):
                due = started + number / per_second
                if due > started + seconds:
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(ask(body))
    return seen
