"""The chunks of a picture."""

import random

from app.gateway import chunks


def test_any_number_of_chunks_is_kept_in_order_in_a_list_of_a_bounded_length() -> None:
    numbers = random.Random(1)
    sent = [numbers.randbytes(numbers.randrange(1, 5)) for _ in range(5000)]
    kept: list[bytes] = []
    longest = 0
    for chunk in sent:
        chunks.keep(kept, chunk)
        longest = max(longest, len(kept))
    assert b"".join(kept) == b"".join(sent)
    assert longest <= 1024
