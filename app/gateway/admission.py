"""Who may come in: more than can be served is refused at once, so that those inside are served in time."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.gateway.errors import GatewayError, Problem


class Place:
    """What one admitted request holds: one image's place at first, more once its body is known."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self._images = 0
        self.extend_to(1)

    def extend_to(self, images: int) -> None:
        """Hold places for ``images`` images in all, or raise GatewayError(OVERLOADED)."""
        admission = self._admission
        more = images - self._images
        if admission.images + more > admission.limit:
            raise GatewayError(Problem.OVERLOADED, f"{admission.images} images are under way")
        admission.images += more
        self._images = images

    def leave(self) -> None:
        """Give the places back."""
        self._admission.images -= self._images
        self._images = 0


class Admission:
    """Counts the images under way and admits up to ``limit``. Used on the event loop alone.

    Two more things are bounded elsewhere: the bytes held, by ``budget.ByteBudget``, and the wait for a decoder, by
    ``workers.Workers``.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.images = 0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for one request; raises GatewayError(OVERLOADED) when there is none."""
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()
