"""What is left of limits, for all workers: a table of fixed size in the shared block.

An entry whose limits are full again is as good as none, and gives its place to another.
"""

from collections.abc import Callable
from typing import TypeVar

from fastmock.state.block import BUCKETS, ENTRY, MOST_BUCKETS, Share

VALUES = ENTRY - 2
"""How many numbers an entry has; before them come its key, and when it may be forgotten."""

_TRIES = 16  # places that an entry may be at

R = TypeVar("R")
Change = Callable[[list[int]], tuple[R, int]]
"""Change the values of an entry in place; return a result, and when the entry may be forgotten."""


class Buckets:
    """The table, as a worker sees it."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def change(self, key: int, now: int, change: Change[R]) -> R:
        """Have the values under a key changed by one worker at a time; they are 0 at first.

        Args:
            key: not 0, and below 2**64.
            now: the time, in the unit in which ``change`` says when an entry may be forgotten.
            change: what changes them.
        """
        numbers = self._share.numbers
        with self._share.lock:
            place = _place(numbers, key, now)
            values = numbers[place + 2 : place + ENTRY]
            changed = values.tolist()
            result, until = change(changed)
            for number, value in enumerate(changed):
                values[number] = value
            numbers[place + 1] = until
        return result


def _place(numbers: "memoryview[int]", key: int, now: int) -> int:
    """Return the place of an entry, made if there is none; where all are taken the one forgotten soonest gives way."""
    free = -1
    soonest, victim = 1 << 64, 0
    for step in range(_TRIES):
        place = BUCKETS + (key + step) % MOST_BUCKETS * ENTRY
        if numbers[place] == key:
            return place
        until = numbers[place + 1]
        if until <= now and free < 0:
            free = place
        if numbers[place] == 0:
            break
        if until < soonest:
            soonest, victim = until, place
    place = victim if free < 0 else free
    for number in range(1, ENTRY):
        numbers[place + number] = 0
    numbers[place] = key
    return place
