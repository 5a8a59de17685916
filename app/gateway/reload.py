"""Reads the routing table again when it changes, however it is changed: in place, by a rename, by a link's swap."""

import asyncio
import logging
from pathlib import Path

from app.gateway import routing
from app.gateway.service import Service

log = logging.getLogger(__name__)

_INTERVAL = 0.5
"""Seconds between two looks; a look is one stat(2)."""

Stamp = tuple[int, int, int] | None


def stamp(path: Path) -> Stamp:
    """What differs whenever the file is another one; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


async def follow(service: Service, path: Path, seen: Stamp) -> None:
    """Keep the service at the newest usable routing table; ``seen`` is the stamp taken before the first reading."""
    while True:
        await asyncio.sleep(_INTERVAL)
        newest = stamp(path)
        if newest == seen:
            continue
        seen = newest
        try:
            table = routing.load(path)
        except routing.RoutingError as error:
            log.error("the new routing table is refused, the old one stays: %s", error)
            service.metrics.reload_successful.set(0)
            service.metrics.reloads.labels("refused").inc()
            continue
        service.use(table)
        service.metrics.reload_successful.set(1)
        service.metrics.reloads.labels("taken").inc()
        log.info("a new routing table is in force: %s", ", ".join(sorted(table.models)))
