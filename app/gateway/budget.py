"""A budget of bytes: what keeps many large pictures at once from filling the memory."""

import asyncio
from collections import deque
from typing import Self


class Reservation:
    """Bytes set aside in a budget until they are released; releasing twice is harmless."""

    def __init__(self, budget: "ByteBudget", size: int) -> None:
        self._budget = budget
        self._size = size

    def shrink_to(self, size: int) -> None:
        """Give back what is above ``size`` bytes."""
        if size < self._size:
            self._budget._give_back(self._size - size)
            self._size = size

    def release(self) -> None:
        """Give everything back."""
        self.shrink_to(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class ByteBudget:
    """So many bytes and no more, reserved in the order of asking.

    A reservation can shrink but never grow: whoever holds bytes waits for none, so no two can wait for each other.
    """

    def __init__(self, total: int) -> None:
        self.free = total
        self._total = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, size: int) -> Reservation:
        """Wait until ``size`` bytes are free and set them aside; ValueError for more than there can ever be."""
        if size > self._total:
            raise ValueError(f"{size} bytes can never be free in a budget of {self._total}")
        if size <= self.free and not self._waiting:
            self.free -= size
            return Reservation(self, size)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled after its turn came, it holds bytes; cancelled before, it may have held up those behind it.
            self._give_back(0 if turn.cancelled() else size)
            raise
        return Reservation(self, size)

    def _give_back(self, size: int) -> None:
        self.free += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self.free:
                    return
                self.free -= wanted
                turn.set_result(None)
            self._waiting.popleft()
