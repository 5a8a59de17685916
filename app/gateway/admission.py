"""Who may come in: more than can be served is refused at once, so that those inside are served in time."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.gateway.errors import GatewayError, Problem


class Place:
    """What one admitted request holds: one image's place at first, more once its body is known, and its bytes."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self._images = 0
        self._bytes = 0
        self.take_images(1)

    def take_images(self, images: int) -> None:
        """Hold places for ``images`` images in all, or raise GatewayError(OVERLOADED)."""
        admission = self._admission
        more = images - self._images
        if admission.images + more > admission.max_images:
            raise GatewayError(Problem.OVERLOADED, f"{admission.images} images are under way")
        admission.images += more
        self._images = images

    def take_bytes(self, more: int) -> None:
        """Hold so many more bytes of the body, or raise GatewayError(OVERLOADED)."""
        admission = self._admission
        if admission.bytes + more > admission.max_bytes:
            raise GatewayError(Problem.OVERLOADED, f"{admission.bytes} bytes of uploads are held")
        admission.bytes += more
        self._bytes += more

    def give_back_bytes(self, size: int) -> None:
        """Hold so many bytes less."""
        self._admission.bytes -= size
        self._bytes -= size

    def release(self) -> None:
        """Give everything back."""
        self.give_back_bytes(self._bytes)
        self._admission.images -= self._images
        self._images = 0


class Admission:
    """Counts the images under way and the bytes of uploads held, and admits up to a limit of each.

    Used on the event loop alone. ``workers.Workers`` refuses by a third rule: an image whose turn to be decoded would
    come too late; and ``fetch.ImageFetcher`` bounds the bytes of downloads.
    """

    def __init__(self, max_images: int, max_bytes: int) -> None:
        self.max_images = max_images
        self.max_bytes = max_bytes
        self.images = 0
        self.bytes = 0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for one request; raises GatewayError(OVERLOADED) when there is none."""
        place = Place(self)
        try:
            yield place
        finally:
            place.release()
