"""Whether the model server beside it serves what it was given: ``/serving``, for the pod's readiness.

TensorFlow Serving's status page answers 200 while a version is still loading, so a probe of that page alone would be
told of readiness too early. A version is AVAILABLE after its warm-up requests were answered.
"""

from collections.abc import Sequence

import aiohttp
from aiohttp import web

AVAILABLE = "AVAILABLE"
_TIMEOUT = aiohttp.ClientTimeout(total=2)


class ModelServer:
    """TensorFlow Serving's REST API at ``url``; without versions, any one that is AVAILABLE will do."""

    def __init__(self, url: str, model: str, versions: Sequence[int] | None) -> None:
        self._status = f"{url}/v1/models/{model}"
        self._versions = versions

    async def serving(self, _: web.Request) -> web.Response:
        """Answer 200 if every wanted version is AVAILABLE, else 503 with the reason."""
        try:
            async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.get(self._status) as answer:
                status = await answer.json() if answer.ok else {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return web.Response(status=503, text=f"the model server does not tell its state: {error!r}\n")
        states = {int(it["version"]): it["state"] for it in status.get("model_version_status", ())}
        wanted = self._versions or [version for version, state in states.items() if state == AVAILABLE]
        if wanted and all(states.get(version) == AVAILABLE for version in wanted):
            return web.Response(text="ok\n")
        told = ", ".join(f"{version} is {state}" for version, state in sorted(states.items())) or "there is none"
        return web.Response(status=503, text=f"not all wanted versions are AVAILABLE: {told}\n")
