"""What a person sees while the platform starts."""

import sys
import time


class Progress:
    """Numbered steps, with remarks below them, and the time it all took."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._begin = time.monotonic()

    def step(self, title: str) -> None:
        """Begin the next step."""
        self._step += 1
        self._say(f"[{self._step}/{self._steps}] {title}")

    def note(self, remark: str) -> None:
        """Say something about the step."""
        self._say(f"      {remark}")

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begin

    def _say(self, line: str) -> None:
        print(line, file=sys.stdout, flush=True)
