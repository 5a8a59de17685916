"""Who may come in: more than can be served is refused at once, so that those inside are served in time."""

from collections import Counter
from typing import Self

from app.gateway.errors import GatewayError, Problem


class Place:
    """What one request holds: at first that its body is being read, then a place for each of its images."""

    def __init__(self, admission: "Admission", model: str, *, alone: bool) -> None:
        self._admission = admission
        self._model = model
        self._alone = alone
        self._images = 0

    def __enter__(self) -> Self:
        admission = self._admission
        # Who could not be served anyway is refused before any of the body is read.
        admission.check(self._model, 1, alone=self._alone)
        if admission.bodies == admission.max_bodies:
            raise GatewayError(Problem.OVERLOADED, f"{admission.bodies} bodies are being read")
        admission.bodies += 1
        return self

    def take(self, images: int) -> None:
        """Now that the body is read, hold places for its images; raises GatewayError(OVERLOADED) if there are none."""
        admission = self._admission
        admission.check(self._model, images, alone=self._alone)
        admission.bodies -= 1
        admission.images += images
        admission.images_of[self._model] += images
        self._images = images

    def __exit__(self, *_: object) -> None:
        admission = self._admission
        if not self._images:
            admission.bodies -= 1
            return
        admission.images -= self._images
        admission.images_of[self._model] -= self._images


class Admission:
    """Counts the images under way and admits up to ``limit``. Used on the event loop alone.

    Where there are several models, one may only take more while it holds no more places than are left free. So a
    model whose server hangs comes to hold half of them, two such models a third each, and there is always something
    free for the others; and no model has a share that lies idle while it is not used. This is Choudhury and Hahne's
    "Dynamic Queue Length Thresholds" (1998), with alpha = 1.

    Reading a body takes no place, since who sends slowly costs hardly more than a connection: up to ``max_bodies`` are
    read at once. Two more things are bounded elsewhere: the bytes held, by ``budget.ByteBudget``, and the wait for a
    decoder, by ``workers.Workers``.
    """

    def __init__(self, limit: int, max_bodies: int) -> None:
        self.limit = limit
        self.max_bodies = max_bodies
        self.images = 0
        self.images_of: Counter[str] = Counter()
        self.bodies = 0

    def check(self, model: str, images: int, *, alone: bool) -> None:
        """Raise GatewayError(OVERLOADED) if there are no places for so many more images; ``alone`` of all models."""
        free = self.limit - self.images - images
        if free < 0:
            raise GatewayError(Problem.OVERLOADED, f"{self.images} images are under way")
        if not alone and self.images_of[model] > free:
            raise GatewayError(Problem.OVERLOADED, f"{self.images_of[model]} images of {model} are under way")

    def place(self, model: str, *, alone: bool) -> Place:
        """A place for one request, held by ``with``; that raises GatewayError(OVERLOADED) when there is none."""
        return Place(self, model, alone=alone)
