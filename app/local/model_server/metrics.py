"""The one number of TensorFlow Serving's own metrics that the stand-in has: requests, by their status."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.local.model_server.servable import ServingError


class RequestCounts:
    """Counts predictions of one model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._by_status: Counter[str] = Counter()

    @contextmanager
    def count(self) -> Iterator[None]:
        """Count what happens inside as one request."""
        try:
            yield
        except ServingError as error:
            self._by_status[error.code.name] += 1
            raise
        self._by_status["OK"] += 1

    def exposition(self) -> str:
        """In Prometheus' text format, under TensorFlow Serving's own name for it."""
        name = ":tensorflow:serving:request_count"
        lines = [
            f'{name}{{model_name="{self._model}",status="{status}"}} {count}'
            for status, count in sorted(self._by_status.items())
        ]
        return "\n".join([f"# TYPE {name} counter", *lines, ""])
