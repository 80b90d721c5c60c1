"""The shared block: numbers in anonymous memory that the parent and all workers see.

First come numbers of the whole server, then a row for each worker, written by that worker alone and summed by anyone.
"""

import logging
import mmap
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fastmock.shared.lock import SharedLock

GENERATION = 0
"""The place of the number of the configuration that is in force; the parent alone writes it."""
_WARNED = 1  # the place of whether the warning about lateness has been given
SINCE = 2
"""The place of the time at which that configuration came into force: nanoseconds of the monotonic clock."""
_PREFIXES = 3  # the first place of the hashes of prompts' beginnings
_MOST_PREFIXES = 1 << 16
_COUNTERS = _PREFIXES + _MOST_PREFIXES  # the first place of the counters: a key, what is counted under it, its last use
_MOST_COUNTERS, _COUNTER, _KINDS = 1 << 16, 5, 3
_TRIES = 1024  # places at which a key's counters may be
_MOST_KNOWN = 1 << 14  # keys whose places a worker remembers
BUCKETS = _COUNTERS + _MOST_COUNTERS * _COUNTER
"""The first place of what is left of limits; see ``state.buckets``."""
MOST_BUCKETS, ENTRY = 1 << 14, 10
GATE = BUCKETS + MOST_BUCKETS * ENTRY
"""The first place of the queue; see ``state.gate``."""
TICKETS = 1 << 16
LABELS = GATE + 4 + 2 * TICKETS
"""The first place of the labels of what is counted for metrics; see ``state.meters``."""
LABELS_SIZE, MOST_COUNTS, MOST_TIMES = 32, 1024, 256
RESTARTS = LABELS + 2 + (MOST_COUNTS + MOST_TIMES) * LABELS_SIZE
"""The place of how many workers have been replaced; the parent alone writes it."""
STORE_GONE = RESTARTS + 1
"""The place of whether the store of limits that several machines share is gone."""
_COUNTERS_FULL = STORE_GONE + 1  # the place of whether it has been warned that counters give way
_SHARED = _COUNTERS_FULL + 1  # numbers before the first row

_PERIOD = 5.0  # seconds that one histogram of lateness covers
_PERIODS = 12  # a minute
_BOUNDS = [0.00005 * 2 ** (step / 4) for step in range(81)]  # seconds, from 0.05 ms to 52 s, each 19 % above the last
_HISTOGRAM = 1 + len(_BOUNDS) + 1  # the number of its period, then the counts
_IN_FLIGHT = 0  # the place in a row of the timed answers that are being sent
_HELD = 1  # the place in a row of the places that the worker's answers have; see state.gate
STREAMS = 2
"""The place in a row of the streams that are open, where metrics are on."""
OPENED, REUSED, CLOSED_IDLE = 3, 4, 5
"""The places in a row of the connections that were opened, those that came with another request, and those that were
closed while they were idle; on Granian."""
_HISTOGRAMS = 6  # the first place in a row of the histograms
_EARLIER = _HISTOGRAMS + _PERIODS * _HISTOGRAM  # where the counts of earlier histograms are added up
COUNTS, COUNTS_WIDTH = _EARLIER + _HISTOGRAM - 1, 3
"""The first place in a row of what is counted for metrics, and how many numbers each of it has."""
TIMES = COUNTS + MOST_COUNTS * COUNTS_WIDTH
"""The first place in a row of the histograms for metrics."""
BOUNDS = tuple(
    int(seconds * 1e9)
    for seconds in (
        *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75),
        *(1, 1.5, 2.5, 5, 7.5, 10, 20, 40, 80, 160),
    )
)
"""Their upper bounds, in nanoseconds."""
TIMES_WIDTH = 3 * (1 + len(BOUNDS) + 1)
_ROW = TIMES + MOST_TIMES * TIMES_WIDTH

_TOO_LATE = 0.05  # seconds; a p99 above it is warned of
_RECONSIDER = 0.5  # seconds between looks at whether to warn

_ZEROS = memoryview(bytes(64 * 8)).cast("Q")

_LOG = logging.getLogger("fastmock")


def shared_numbers(workers: int) -> "memoryview[int]":
    """Return the block of a server: unsigned 64-bit numbers, all 0, that stay shared across forks.

    To read one takes 22 ns.
    """
    numbers = memoryview(mmap.mmap(-1, (_SHARED + workers * _ROW) * 8)).cast("Q")
    numbers[SINCE] = time.monotonic_ns()
    return numbers


def clear_gauges(numbers: "memoryview[int]", worker: int) -> None:
    """Forget what a worker, numbered from 0, had in flight: it has died."""
    numbers[_SHARED + worker * _ROW + _IN_FLIGHT] = numbers[_SHARED + worker * _ROW + STREAMS] = 0


class Lateness(NamedTuple):
    """How late the frames of the last minute were: how many there were, and percentiles in milliseconds."""

    frames: int
    p50: float
    p99: float


class Share:
    """One worker's part of the block: it writes its own row and reads all of them.

    Attributes:
        numbers: the block.
        worker: its number, from 0, and ``row`` the place of the first number of its row.
        lock: to be held for changing what is shared.
        alone: whether there is no other worker.
    """

    bounds: Sequence[float] = _BOUNDS
    lock = SharedLock()

    def __init__(self, numbers: "memoryview[int] | None" = None) -> None:
        """Begin with a block, or one of its own; ``join`` takes that of a server."""
        self._joined: list[Callable[[], None]] = []
        self.join(shared_numbers(1) if numbers is None else numbers, 0)

    def join(self, numbers: "memoryview[int]", worker: int) -> None:
        """Write from now on into the row of ``worker``, numbered from 0, of a server's block."""
        self.numbers = numbers
        self._counters: dict[int, int] = {}
        self.worker = worker
        self.row = _SHARED + worker * _ROW
        self._until = 0.0  # when the current histogram ends
        self._counts = numbers[:0]
        self._judged = 0.0
        self.alone = len(numbers) == _SHARED + _ROW
        for tell in self._joined:
            tell()

    def on_join(self, tell: Callable[[], None]) -> None:
        """Have ``tell`` called now, and when another block is joined."""
        self._joined.append(tell)
        tell()

    def enter(self) -> None:
        """Count one more timed answer in flight."""
        self.numbers[self.row + _IN_FLIGHT] += 1

    def leave(self) -> None:
        """Count one less."""
        self.numbers[self.row + _IN_FLIGHT] -= 1

    def in_flight(self) -> int:
        """Return how many timed answers are in flight, over all workers."""
        numbers = self.numbers
        return sum(numbers[place] for place in range(_SHARED + _IN_FLIGHT, len(numbers), _ROW))

    def rows(self) -> range:
        """Return where the workers' rows begin."""
        return range(_SHARED, len(self.numbers), _ROW)

    def places(self) -> range:
        """Return where it stands how many places in the queue each worker has, by the worker's number from 0."""
        return range(_SHARED + _HELD, len(self.numbers), _ROW)

    def prefixes(self, hashes: Sequence[int]) -> int:
        """Remember the hashes of ever longer beginnings of a prompt, for all workers.

        Each is below 2**64. One that falls on the place of another takes it.

        Returns:
            How many of them, from the first, were remembered already.
        """
        numbers = self.numbers
        known = 0
        for number in hashes:
            if numbers[_PREFIXES + number % _MOST_PREFIXES] != number:
                break
            known += 1
        for number in hashes[known:]:
            numbers[_PREFIXES + number % _MOST_PREFIXES] = number
        return known

    def since(self) -> float:
        """Return when the configuration came into force, a reading of ``time.monotonic``."""
        return self.numbers[SINCE] / 1e9

    def count(self, key: int, which: int, most: int | None = None) -> int:
        """Count one more, over all workers, exactly.

        Where there are more keys than places, the one that was used longest ago begins anew.

        Args:
            key: what it is of; not 0, and below 2**64.
            which: which of its three counters.
            most: how far is counted.

        Returns:
            How many there are; 0 where that would be more than ``most``.
        """
        numbers = self.numbers
        with self.lock:
            begin = self._find(key)
            if begin is None:
                begin = self._make(key)
            numbers[begin + 1 + _KINDS] = time.monotonic_ns()
            place = begin + 1 + which
            if most is not None and numbers[place] >= most:
                return 0
            numbers[place] += 1
            return numbers[place]

    def counted(self, key: int, which: int) -> int:
        """Return how many have been counted."""
        with self.lock:
            begin = self._find(key)
            return 0 if begin is None else self.numbers[begin + 1 + which]

    def forget(self, key: int) -> None:
        """Begin to count anew what has been counted under a key."""
        with self.lock:
            if (begin := self._find(key)) is not None:
                self.numbers[begin + 1 : begin + 1 + _KINDS] = _ZEROS[:_KINDS]

    def forget_all(self) -> None:
        """Begin to count all of it anew, and fill up all limits."""
        numbers = self.numbers
        with self.lock:
            numbers[_COUNTERS:BUCKETS] = memoryview(bytes((BUCKETS - _COUNTERS) * 8)).cast("Q")
            numbers[_COUNTERS_FULL] = 0
            for place in range(BUCKETS, GATE, ENTRY):
                numbers[place + 1 : place + ENTRY] = _ZEROS[: ENTRY - 1]

    def _find(self, key: int) -> int | None:
        """Return the first place of a key's counters, None where it has none; with the lock held."""
        numbers = self.numbers
        begin = self._counters.get(key)
        if begin is not None and numbers[begin] == key:  # else it has given way to another
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
        """Return the first place of counters for a key that has none, all 0; with the lock held."""
        numbers = self.numbers
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
        numbers[begin : begin + _COUNTER] = _ZEROS[:_COUNTER]
        numbers[begin] = key
        return begin

    def counts(self, due: float, now: float) -> "memoryview[int]":
        """Return the counts by lateness, of the buckets that ``bounds`` ends, for steps that are sent at ``now``.

        The first of them was due at ``due``; both are readings of ``time.monotonic``.
        """
        if now >= self._until:
            self._turn(now)
        if now - due > _TOO_LATE and now >= self._judged + _RECONSIDER:
            self._judged = now
            self._judge(now)
        return self._counts

    def _turn(self, now: float) -> None:
        """Begin the histogram of a new period, in the place of the oldest."""
        period = int(now / _PERIOD)
        place = self.row + _HISTOGRAMS + period % _PERIODS * _HISTOGRAM
        if self.numbers[place] != period:
            for inside in range(1, _HISTOGRAM):
                self.numbers[self.row + _EARLIER + inside - 1] += self.numbers[place + inside]
                self.numbers[place + inside] = 0
            self.numbers[place] = period
        self._counts = self.numbers[place + 1 : place + _HISTOGRAM]
        self._until = (period + 1) * _PERIOD

    def lateness(self, now: float | None = None) -> Lateness:
        """Return how late the frames of the last minute were, over all workers; ``now`` is a monotonic time."""
        numbers = self.numbers
        latest = int((time.monotonic() if now is None else now) / _PERIOD)
        counts = [0] * (_HISTOGRAM - 1)
        for row in self.rows():
            for place in range(row + _HISTOGRAMS, row + _ROW, _HISTOGRAM):
                if latest - _PERIODS < numbers[place] <= latest:
                    counts = [ours + theirs for ours, theirs in zip(counts, numbers[place + 1 :], strict=False)]
        frames = sum(counts)
        return Lateness(frames, _percentile(counts, frames * 0.5), _percentile(counts, frames * 0.99))

    def all_lateness(self) -> list[int]:
        """Return how many frames were up to each of ``bounds`` late, and later, since the server started."""
        counts = [0] * (_HISTOGRAM - 1)
        for row in self.rows():
            for place in (row + _EARLIER, *range(row + _HISTOGRAMS + 1, row + _EARLIER, _HISTOGRAM)):
                seen = self.numbers[place : place + _HISTOGRAM - 1]
                counts = [ours + theirs for ours, theirs in zip(counts, seen, strict=True)]
        return counts

    def _judge(self, now: float) -> None:
        """Warn, once a server, when the mock is not in time."""
        if self.numbers[_WARNED]:
            return
        seen = self.lateness(now)
        if seen.p99 > _TOO_LATE * 1000:
            self.numbers[_WARNED] = 1
            _LOG.warning(
                "falling behind: of the frames of the last minute 1 %% were sent more than %.0f ms late; latencies "
                "measured now include the mock's own (GET /health shows it; more workers or a faster machine help)",
                seen.p99,
            )


def _counter(key: int, step: int) -> int:
    """Return the first place of the counters that a key may have."""
    return _COUNTERS + (key + step) % _MOST_COUNTERS * _COUNTER


def _percentile(counts: list[int], rank: float) -> float:
    """Return the upper bound, in milliseconds, of the bucket that holds the frame of this rank; 0 without frames."""
    passed = 0
    for count, bound in zip(counts, (*_BOUNDS, float("inf")), strict=True):
        passed += count
        if passed and passed >= rank:
            return round(min(bound, _BOUNDS[-1]) * 1000, 3)
    return 0.0
