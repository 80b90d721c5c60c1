"""Remaining amounts of the rate limits, for all workers: a table of fixed size in the shared block.

An entry whose limits are full again is equivalent to a missing one, and may be overwritten.
"""

import threading
from contextlib import AbstractContextManager
from typing import Any

from fastmock.shared.block import ZEROS, Share
from fastmock.shared.layout import SERVER

MOST_BUCKETS, ENTRY = 1 << 14, 10
BUCKETS = SERVER.reserve(MOST_BUCKETS * ENTRY)
"""Index of the first entry: its key, the time at which it expires, its values."""

_TRIES = 16  # places where an entry may be
_MOST_KNOWN = 4096  # entries that a worker caches


class Buckets:
    """The table, as seen by one worker.

    Attributes:
        lock: must be held from before an entry is looked up until it is no longer used. A single worker needs no shared
            lock, which saves 1 µs.
        known: cached entries by key: each its key, its expiry time, and the values, 0 at first. An entry with another
            key was overwritten.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self.known: dict[int, memoryview[int]] = {}
        self.lock: AbstractContextManager[Any] = share.lock
        share.on_join(self._joined)
        share.on_reset(self._refill)

    def _joined(self) -> None:
        self.known.clear()
        self.lock = threading.Lock() if self._share.alone else self._share.lock

    def _refill(self) -> None:
        """Refill all limits; with the lock of the block held."""
        for place in range(BUCKETS, BUCKETS + MOST_BUCKETS * ENTRY, ENTRY):
            self._share.numbers[place + 1 : place + ENTRY] = ZEROS[: ENTRY - 1]

    def find(self, key: int, now: int) -> "memoryview[int]":
        """Return an entry; create it if there is none.

        Args:
            key: not 0, and below 2**64.
            now: the time, in the unit of the entry's expiry time.
        """
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
        numbers = self._share.numbers
        place = _place(numbers, key, now)
        entry = self.known[key] = numbers[place : place + ENTRY]
        return entry


def _place(numbers: "memoryview[int]", key: int, now: int) -> int:
    """Return the place of an entry, created if there is none; if all are taken, overwrite the one that expires
    first.
    """
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
