"""Counters by key, exact over all workers: they count how often faults apply."""

import logging
import time
from enum import IntEnum

from fastmock.shared.block import ZEROS, Share
from fastmock.shared.layout import SERVER

_KINDS = 3  # counters of a key
_COUNTER = 1 + _KINDS + 1  # the key, its counters, the time of its last use
_MOST_COUNTERS = 1 << 16
_COUNTERS = SERVER.reserve(_MOST_COUNTERS * _COUNTER)
_COUNTERS_FULL = SERVER.reserve()  # whether the warning about dropped counters was logged
_TRIES = 1024  # indexes at which the counters of a key may be
_MOST_KNOWN = 1 << 14  # keys whose indexes a worker caches

_LOG = logging.getLogger("fastmock")


class Passed(IntEnum):
    """How far a request gets: it is not counted as the next one, it is, or it is selected too."""

    NOT_DUE = 0
    DUE = 1
    CHOSEN = 2


class Counters:
    """The counters, as seen by one worker.

    Attributes:
        share: the worker's part of the shared block.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self._counters: dict[int, int] = {}
        share.on_join(self._counters.clear)
        share.on_reset(self._forget_all)

    def since(self) -> float:
        """Return the activation time of the configuration, a reading of ``time.monotonic``."""
        return self.share.since()

    def count(self, key: int, which: int, most: int | None = None) -> int:
        """Add one to a counter, over all workers, exactly.

        If there are more keys than places, the counters of the least recently used key are reset.

        Args:
            key: the key of the counters; not 0, and below 2**64.
            which: which of its three counters.
            most: the highest value to count to.

        Returns:
            The new value; 0 if it would be above ``most``.
        """
        numbers = self.share.numbers
        with self.share.lock:
            begin = self._find(key)
            if begin is None:
                begin = self._make(key)
            numbers[begin + 1 + _KINDS] = time.monotonic_ns()
            place = begin + 1 + which
            if most is not None and numbers[place] >= most:
                return 0
            numbers[place] += 1
            return numbers[place]

    def take(self, key: int, sees: bool, skip: int, nth: int, times: int | None, is_drawn: bool) -> Passed:
        """Count a request, and whether it is selected, over all workers, exactly.

        Args:
            key: the key of the counters.
            sees: whether to count requests in the first counter, to select only some of them:
            skip: those after the first so many,
            nth: and of these each so many-th.
            times: select at most so many, in the second counter; None for any number.
            is_drawn: whether to select this one if it is due.
        """
        if sees:
            seen = self.count(key, 0) - skip
            if seen <= 0 or seen % nth:
                return Passed.NOT_DUE
        return Passed.CHOSEN if is_drawn and self.count(key, 1, times) else Passed.DUE

    def counted(self, key: int, which: int) -> int:
        """Return the value of a counter."""
        with self.share.lock:
            begin = self._find(key)
            return 0 if begin is None else self.share.numbers[begin + 1 + which]

    def forget(self, key: int) -> None:
        """Reset the counters of a key."""
        with self.share.lock:
            if (begin := self._find(key)) is not None:
                self.share.numbers[begin + 1 : begin + 1 + _KINDS] = ZEROS[:_KINDS]

    def _forget_all(self) -> None:
        """Reset all counters; with the lock held."""
        size = _MOST_COUNTERS * _COUNTER
        self.share.numbers[_COUNTERS : _COUNTERS + size] = memoryview(bytes(size * 8)).cast("Q")
        self.share.numbers[_COUNTERS_FULL] = 0

    def _find(self, key: int) -> int | None:
        """Return the index of a key's counters, None if it has none; with the lock held."""
        numbers = self.share.numbers
        begin = self._counters.get(key)
        if begin is not None and numbers[begin] == key:  # else another key has replaced it
            return begin
        for step in range(_TRIES):
            begin = _counter(key, step)
            if numbers[begin] == key:
                if len(self._counters) >= _MOST_KNOWN:
                    self._counters.clear()
                self._counters[key] = begin
                return begin
            if numbers[begin] == 0:
                return None
        return None

    def _make(self, key: int) -> int:
        """Return the index of new counters for a key, all 0; with the lock held."""
        numbers = self.share.numbers
        oldest, least = 0, 1 << 64
        for step in range(_TRIES):
            begin = _counter(key, step)
            if numbers[begin] == 0:
                break
            if numbers[begin + 1 + _KINDS] < least:
                oldest, least = begin, numbers[begin + 1 + _KINDS]
        else:
            begin = oldest
            if not numbers[_COUNTERS_FULL]:
                numbers[_COUNTERS_FULL] = 1
                _LOG.warning("faults are counted for too many sessions: those unused for longest are counted anew")
        numbers[begin : begin + _COUNTER] = ZEROS[:_COUNTER]
        numbers[begin] = key
        return begin


def _counter(key: int, step: int) -> int:
    """Return the index of one of the places where the counters of a key may be."""
    return _COUNTERS + (key + step) % _MOST_COUNTERS * _COUNTER
