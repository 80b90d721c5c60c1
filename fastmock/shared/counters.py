"""Counters by key, exact over all workers: they count how often faults apply."""

import logging
import time
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

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


class Count(IntEnum):
    """The counters of a fault: matching requests, requests for which it was selected, and those of them to which it was
    not applicable.
    """

    SEEN = 0
    CHOSEN = 1
    MISSED = 2


class Trigger(NamedTuple):
    """When a fault applies to the requests that match its conditions.

    Attributes:
        key: the key of its counters, above 0 and below 2**64.
        probability: the probability; None for always.
        sees: whether requests are counted, to skip the first so many, ``skip``, and select of the others each so
            many-th, ``nth``.
        times: select at most so many; None for any number.
    """

    key: int
    probability: float | None
    sees: bool
    skip: int
    nth: int
    times: int | None

    @property
    def is_counted(self) -> bool:
        """Whether requests are counted to select some of them."""
        return self.sees or self.times is not None


class Candidate(NamedTuple):
    """A fault that may be selected for a request, and the key of its counters in the request's session."""

    trigger: Trigger
    key: int


class Candidates:
    """The faults of which one may be selected for a request.

    Attributes:
        faults: the faults, in their order.
        drawn: a number from 0 to 1, shared by those with a probability: each has its own range, so that their rates add
            up, and their order does not change them.
        is_decided: whether one of them, or none, was selected.
        chosen: the index of the selected one.
    """

    __slots__ = ("chosen", "drawn", "faults", "is_decided")

    def __init__(self, faults: Sequence[Candidate], drawn: float) -> None:
        self.faults = faults
        self.drawn = drawn
        self.is_decided = False
        self.chosen: int | None = None

    def decide(self, chosen: int | None) -> None:
        """Note the index of the selected one; None for none."""
        self.chosen = chosen
        self.is_decided = True


class Counters:
    """The counters, as seen by one worker.

    Attributes:
        share: the worker's part of the shared block.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self._known: dict[int, int] = {}
        share.on_join(self._known.clear)
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

    def choose(self, candidates: Candidates) -> None:
        """Select a fault for a request, over all workers, exactly."""
        end = 0.0
        for index, (trigger, key) in enumerate(candidates.faults):
            if trigger.sees:
                seen = self.count(key, Count.SEEN) - trigger.skip
                if seen <= 0 or seen % trigger.nth:
                    continue
            if trigger.probability is not None:
                begin, end = end, end + trigger.probability
                if not begin <= candidates.drawn < end:
                    continue
            if self.count(key, Count.CHOSEN, trigger.times):
                candidates.decide(index)
                return self._count_all(candidates.faults[index])
        candidates.decide(None)
        return None

    def _count_all(self, chosen: Candidate) -> None:
        """Count a fault selected in a session for all sessions too, for people."""
        if chosen.key != chosen.trigger.key:
            self.count(chosen.trigger.key, Count.CHOSEN)

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
        begin = self._known.get(key)
        if begin is not None and numbers[begin] == key:  # else another key has replaced it
            return begin
        for step in range(_TRIES):
            begin = _counter(key, step)
            if numbers[begin] == key:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = begin
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
