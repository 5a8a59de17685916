"""The budget of bytes: bounded, fair, and without deadlock."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.gateway.budget import SMALL, ByteBudget, Room

MIB = 2**20


def budget() -> ByteBudget:
    return ByteBudget(total=16 * MIB, largest=4 * MIB)


async def waits(task: "asyncio.Task[None]", turns: int = 10) -> bool:
    """Whether the task is stuck once everything that can run has run, for so many turns of the loop."""
    while turns and not task.done():
        turns -= 1
        await asyncio.sleep(0)
    return not task.done()


async def test_a_picture_that_fits_does_not_wait() -> None:
    with budget().room() as room:
        await asyncio.wait_for(room.grow_to(MIB, 4 * MIB), timeout=1)


async def test_one_picture_that_finds_no_room_waits_until_others_leave() -> None:
    small_budget = ByteBudget(total=2 * MIB, largest=MIB)
    with small_budget.room() as late:
        with small_budget.room() as first, small_budget.room() as second:
            await first.grow_to(MIB // 2, MIB // 2)
            await second.grow_to(MIB, MIB)
            growing = asyncio.create_task(late.grow_to(MIB, MIB))
            assert await waits(growing)
            assert late.waiting
        await growing
        assert not late.waiting


async def test_a_picture_that_announces_much_and_sends_little_takes_only_what_it_sent() -> None:
    shared = budget()
    rooms = [shared.room() for _ in range(1000)]
    for room in rooms:
        await asyncio.wait_for(room.grow_to(1024, 4 * MIB), timeout=1)
    with shared.room() as late:
        await asyncio.wait_for(late.grow_to(4 * MIB, 4 * MIB), timeout=1)


async def test_a_small_picture_does_not_wait_behind_large_ones() -> None:
    shared = budget()
    rooms = [shared.room() for _ in range(100)]
    growing = [asyncio.create_task(room.grow_to(4 * MIB, 4 * MIB)) for room in rooms]
    assert await waits(growing[-1])
    with shared.room() as small:
        await asyncio.wait_for(small.grow_to(SMALL, SMALL), timeout=1)
    for task in growing:
        task.cancel()


async def test_large_pictures_that_wait_get_room_in_the_order_of_asking() -> None:
    shared = ByteBudget(total=2 * MIB, largest=MIB)
    arrived: list[int] = []

    async def picture(number: int, size: int) -> None:
        with shared.room() as room:
            await room.grow_to(size, size)
            arrived.append(number)
            await asyncio.sleep(0)

    # Each is more than the first half has for large ones.
    sizes = [MIB, MIB - 1, MIB - 2, MIB]
    await asyncio.gather(*(picture(number, size) for number, size in enumerate(sizes)))
    assert arrived == [0, 1, 2, 3]


async def test_what_was_set_aside_for_more_than_came_is_free_again() -> None:
    shared = ByteBudget(total=2 * MIB, largest=MIB)
    with shared.room() as first, shared.room() as second:
        await first.grow_to(MIB, MIB)
        waiting = asyncio.create_task(second.grow_to(MIB, MIB))
        assert await waits(waiting)
        first.settle(1000)
        assert await waits(waiting)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.wait_for(second.grow_to(MIB - 1000, MIB - 1000), timeout=1)


async def test_a_picture_cancelled_in_the_moment_its_turn_comes_leaves_the_room_to_the_next() -> None:
    shared = ByteBudget(total=2 * MIB, largest=MIB)
    with shared.room() as cancelled, shared.room() as following:
        with shared.room() as first:
            await first.grow_to(MIB, MIB)
            turn = asyncio.create_task(cancelled.grow_to(MIB, MIB))
            assert await waits(turn)
        turn.cancel()
        await asyncio.wait([turn])
        assert turn.cancelled()
        assert not await waits(asyncio.create_task(following.grow_to(MIB, MIB)))


def test_a_picture_larger_than_half_the_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="twice as many"):
        ByteBudget(total=7, largest=4)


class Held:
    """What all pictures of one run hold, by their own account."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    def add(self, size: int) -> None:
        self.now += size
        self.most = max(self.most, self.now)


async def arrive(room: Room, chunks: Sequence[int], announced: int, held: Held) -> None:
    size = 0
    try:
        with room:
            for chunk in chunks:
                await room.grow_to(size + chunk, announced)
                size += chunk
                held.add(chunk)
                await asyncio.sleep(0)
            room.settle(size)
            await asyncio.sleep(0)
    finally:
        held.add(-size)


pictures = st.lists(
    st.tuples(
        st.lists(st.integers(1, 100_000), min_size=1, max_size=10),  # chunks
        st.booleans(),  # announces its size
        st.none() | st.integers(0, 30),  # is cancelled after so many turns of the loop
    ),
    max_size=25,
)


@given(pictures)
@settings(deadline=None)
def test_pictures_of_any_sizes_all_arrive_within_the_budget_and_leave_it_whole(
    pictures: list[tuple[list[int], bool, int | None]],
) -> None:
    total, largest = 2 * MIB, MIB
    held = Held()

    async def run() -> None:
        shared = ByteBudget(total, largest)
        tasks = []
        for chunks, announces, turns in pictures:
            announced = sum(chunks) if announces else largest
            task = asyncio.create_task(arrive(shared.room(), chunks, announced, held))
            tasks.append(task)
            if turns is not None:
                tasks.append(asyncio.create_task(cancel_after(turns, task)))
        assert not [task for task in tasks if await waits(task, turns=2000)], "a deadlock"
        assert not [task for task in tasks if not task.cancelled() and task.exception()]
        with shared.room() as first, shared.room() as second:
            last = asyncio.create_task(first.grow_to(largest, largest))
            assert not await waits(last)
            last = asyncio.create_task(second.grow_to(SMALL, SMALL))
            assert not await waits(last), "bytes were lost"

    asyncio.run(run())
    assert held.now == 0
    assert held.most <= total


async def cancel_after(turns: int, task: "asyncio.Task[None]") -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
