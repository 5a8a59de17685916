"""A budget of bytes: what keeps many large pictures at once from filling the memory."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

SMALL = 256 * 1024
"""Bytes; a picture that says beforehand that it is no larger does not wait for larger ones."""


class ByteBudget:
    """So many bytes for all pictures together, each of which grows as it arrives.

    Bytes are counted when they are there, so that a slow host, or one that announces much and sends little, takes
    nothing from others. Two halves make that safe. From the first a picture takes byte by byte, without waiting. When
    that half is used up, a picture sets all that it may still need aside in the second half at once, and waits its
    turn for that; afterwards it waits for nothing. So whoever is waited for never waits, and there is no deadlock.
    """

    def __init__(self, total: int, largest: int) -> None:
        """``largest`` is the most that one picture may take; ValueError if that is more than half of ``total``."""
        if largest > total // 2:
            raise ValueError(f"a picture of {largest} bytes needs a budget of twice as many, not of {total}")
        self._free = total - largest
        self._kept_for_small = self._free // 4
        self._rests = _Queue(largest)

    def room(self) -> "Room":
        """Room for one picture, empty to begin with."""
        return Room(self)


class Room:
    """The bytes of one picture, held from ``grow_to`` until the ``with`` block is left."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._grown = 0
        self._rest = 0
        self.waiting = False
        """Whether it waits for others to leave; stays so when the waiting was cancelled."""

    async def grow_to(self, size: int, at_most: int) -> None:
        """Hold ``size`` bytes from now on, of the ``at_most`` there may be in the end; waits where necessary."""
        more = size - self._grown - self._rest
        if more <= 0:
            return
        kept_from_it = 0 if at_most <= SMALL else self._budget._kept_for_small
        if more <= self._budget._free - kept_from_it:
            self._budget._free -= more
            self._grown += more
            return
        rest = at_most - self._grown
        self.waiting = True
        await self._budget._rests.take(rest)
        self.waiting = False
        self._rest = rest

    def settle(self, size: int) -> None:
        """Keep ``size`` bytes, which are all the picture has, and give back what was set aside for more."""
        unused = self._grown + self._rest - size
        if unused > 0:
            self._rest -= unused
            self._budget._rests.give_back(unused)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._budget._free += self._grown
        self._budget._rests.give_back(self._rest)
        self._grown = self._rest = 0


class _Queue:
    """So many bytes, taken in the order of asking."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        if size <= self._free and not self._waiting:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Cancelled after its turn came, it holds bytes; cancelled before, it may have held up those behind it.
            self.give_back(0 if turn.cancelled() else size)
            raise

    def give_back(self, size: int) -> None:
        self._free += size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.cancelled():
                if wanted > self._free:
                    return
                self._free -= wanted
                turn.set_result(None)
            self._waiting.popleft()
