"""Predictions through the whole chain, so that whoever starts the platform sees it work."""

import json
from collections import Counter
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from app.local.errors import LocalError
from app.local.files import Folders
from app.local.progress import Progress
from app.local.stack import Stack
from app.local.supervision import Supervisor

_VERSION = "X-Model-Version"
_REQUESTS = 20


class Demo:
    """Asks the gateway about the example pictures."""

    def __init__(self, stack: Stack, folders: Folders) -> None:
        self._stack = stack
        self._folders = folders
        self._gateway = f"http://127.0.0.1:{stack.ports.gateway}"
        self._pictures = f"http://127.0.0.1:{stack.ports.pictures}"

    def show(self, progress: Progress, supervisor: Supervisor) -> None:
        """Predict, then print where to go on; raises LocalError when the platform does not answer."""
        progress.step("Trying it")
        if "digits" in self._stack.models:
            self._digits(progress)
        if "clothing" in self._stack.models:
            scores, version = self._predict("clothing", "pants.jpg")
            best = max(scores, key=lambda label: scores[label])
            progress.note(f"clothing: pants.jpg -> {best} ({scores[best]:.2f}), by v{version}")
        print(f"\nUp after {progress.seconds:.0f} s.\n")
        print(f"  Try it in a browser   {self._gateway}/docs")
        if "clothing" in self._stack.models:
            body = json.dumps({"url": f"{self._pictures}/pants.jpg"})
            path = "/predict" if self._stack.default_model == "clothing" else "/models/clothing/predict"
            print(f"  From a terminal       curl -H 'content-type: application/json' -d '{body}' {self._gateway}{path}")
        print(f"  Pictures              {self._pictures}/")
        print(f"  Logs                  {self._folders.logs}/   (make logs)")
        print(f"  Processes             make status, or {supervisor.control}")
        print("  Next                  edit local.yaml and `make up` again; make promote MODEL=digits; make down")

    def _digits(self, progress: Progress) -> None:
        pictures = sorted(self._folders.pictures.glob("digit-*-[12].png"))[:_REQUESTS]
        right, versions = 0, Counter[str]()
        for picture in pictures:
            scores, version = self._predict("digits", picture.name)
            right += max(scores, key=lambda label: scores[label]) == picture.name.split("-")[1]
            versions[version] += 1
        shares = ", ".join(f"{count} by v{version}" for version, count in sorted(versions.items()))
        progress.note(f"digits: {right} of {len(pictures)} pictures read right; answered {shares}")

    def _predict(self, model: str, picture: str) -> tuple[dict[str, float], str]:
        body = json.dumps({"url": f"{self._pictures}/{picture}"}).encode()
        request = Request(  # noqa: S310 (http, to this machine)
            f"{self._gateway}/models/{model}/predict", body, {"content-type": "application/json"}
        )
        try:
            with urlopen(request, timeout=30) as answer:  # noqa: S310
                scores: dict[str, float] = json.load(answer)
                return scores, answer.headers.get(_VERSION, "?")
        except HTTPError as error:
            raise LocalError(
                f"the gateway answers {error.code} for {picture}: {error.read().decode().strip()}"
            ) from None
        except URLError as error:
            raise LocalError(f"the gateway does not answer at {self._gateway}: {error.reason}") from None
