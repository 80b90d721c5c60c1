"""The shared block: numbers in anonymous memory, visible to the parent and all workers.

First come numbers of the whole server, then a row for each worker, written only by that worker and summed by any
process.
"""

import logging
import mmap
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fastmock.shared.lock import SharedLock

GENERATION = 0
"""Index of the number of the active configuration; only the parent writes it."""
_WARNED = 1  # index of the flag that the warning about lateness was logged
SINCE = 2
"""Index of the activation time of that configuration: nanoseconds of the monotonic clock."""
_PREFIXES = 3  # first index of the hashes of prompt prefixes
_MOST_PREFIXES = 1 << 16
_COUNTERS = _PREFIXES + _MOST_PREFIXES  # first index of the counters: a key, its counts, the time of its last use
_MOST_COUNTERS, _COUNTER, _KINDS = 1 << 16, 5, 3
_TRIES = 1024  # indexes at which the counters of a key may be
_MOST_KNOWN = 1 << 14  # keys whose indexes a worker caches
BUCKETS = _COUNTERS + _MOST_COUNTERS * _COUNTER
"""First index of the rate-limit buckets; see ``shared.rate_buckets``."""
MOST_BUCKETS, ENTRY = 1 << 14, 10
GATE = BUCKETS + MOST_BUCKETS * ENTRY
"""First index of the queue; see ``shared.queue``."""
TICKETS = 1 << 16
LABELS = GATE + 4 + 2 * TICKETS
"""First index of the labels of metrics; see ``shared.metric_series``."""
LABELS_SIZE, MOST_COUNTS, MOST_TIMES = 32, 1024, 256
RESTARTS = LABELS + 2 + (MOST_COUNTS + MOST_TIMES) * LABELS_SIZE
"""Index of the number of restarted workers; only the parent writes it."""
STORE_GONE = RESTARTS + 1
"""Index of the flag that the rate-limit store shared between machines is unreachable."""
_COUNTERS_FULL = STORE_GONE + 1  # index of the flag that the warning about dropped counters was logged
_SHARED = _COUNTERS_FULL + 1  # numbers before the first row

_PERIOD = 5.0  # seconds covered by one histogram of lateness
_PERIODS = 12  # a minute
_BOUNDS = [0.00005 * 2 ** (step / 4) for step in range(81)]  # seconds, from 0.05 ms to 52 s, each 19 % above the last
_HISTOGRAM = 1 + len(_BOUNDS) + 1  # the number of its period, then the counts
_IN_FLIGHT = 0  # offset in a row of the number of delayed answers being sent
_HELD = 1  # offset in a row of the number of queue places held by the worker's answers; see shared.queue
STREAMS = 2
"""Offset in a row of the number of open streams, where metrics are enabled."""
OPENED, REUSED, CLOSED_IDLE = 3, 4, 5
"""Offsets in a row of the connections that were opened, that were reused by another request, and that were closed while
idle; on Granian.
"""
_HISTOGRAMS = 6  # first offset in a row of the histograms
_EARLIER = _HISTOGRAMS + _PERIODS * _HISTOGRAM  # offset of the sums of earlier histograms
COUNTS, COUNTS_WIDTH = _EARLIER + _HISTOGRAM - 1, 3
"""First offset in a row of the counts for metrics, and how many numbers each of them has."""
TIMES = COUNTS + MOST_COUNTS * COUNTS_WIDTH
"""First offset in a row of the histograms for metrics."""
BOUNDS = tuple(
    int(seconds * 1e9)
    for seconds in (
        *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75),
        *(1, 1.5, 2.5, 5, 7.5, 10, 20, 40, 80, 160),
    )
)
"""The upper bounds of these histograms, in nanoseconds."""
TIMES_WIDTH = 3 * (1 + len(BOUNDS) + 1)
_ROW = TIMES + MOST_TIMES * TIMES_WIDTH

_TOO_LATE = 0.05  # seconds; a higher p99 is logged as a warning
_RECONSIDER = 0.5  # seconds between checks whether to warn

_ZEROS = memoryview(bytes(64 * 8)).cast("Q")

_LOG = logging.getLogger("fastmock")


def shared_numbers(workers: int) -> "memoryview[int]":
    """Return the block of a server: unsigned 64-bit numbers, all 0, that stay shared across forks.

    Reading a number takes 22 ns.
    """
    numbers = memoryview(mmap.mmap(-1, (_SHARED + workers * _ROW) * 8)).cast("Q")
    numbers[SINCE] = time.monotonic_ns()
    return numbers


def clear_gauges(numbers: "memoryview[int]", worker: int) -> None:
    """Reset the in-flight numbers of a worker, numbered from 0, that has died."""
    numbers[_SHARED + worker * _ROW + _IN_FLIGHT] = numbers[_SHARED + worker * _ROW + STREAMS] = 0


class Lateness(NamedTuple):
    """Lateness of the frames of the last minute: their number, and percentiles in milliseconds."""

    frames: int
    p50: float
    p99: float


class Share:
    """One worker's view of the block: it writes its own row and reads all rows.

    Attributes:
        numbers: the block.
        worker: the worker's number, from 0, and ``row`` the index of its row.
        lock: must be held to change the part that all workers share.
        alone: whether there is only one worker.
    """

    bounds: Sequence[float] = _BOUNDS
    lock = SharedLock()

    def __init__(self, numbers: "memoryview[int] | None" = None) -> None:
        """Start with a block, by default a private one; ``join`` attaches to that of a server."""
        self._joined: list[Callable[[], None]] = []
        self.join(shared_numbers(1) if numbers is None else numbers, 0)

    def join(self, numbers: "memoryview[int]", worker: int) -> None:
        """Attach to a server's block, and write from now on to the row of ``worker``, numbered from 0."""
        self.numbers = numbers
        self._counters: dict[int, int] = {}
        self.worker = worker
        self.row = _SHARED + worker * _ROW
        self._until = 0.0  # end of the current histogram's period
        self._counts = numbers[:0]
        self._judged = 0.0
        self.alone = len(numbers) == _SHARED + _ROW
        for tell in self._joined:
            tell()

    def on_join(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` now, and whenever another block is attached."""
        self._joined.append(tell)
        tell()

    def enter(self) -> None:
        """Add one to the delayed answers in flight."""
        self.numbers[self.row + _IN_FLIGHT] += 1

    def leave(self) -> None:
        """Remove one."""
        self.numbers[self.row + _IN_FLIGHT] -= 1

    def in_flight(self) -> int:
        """Return the number of delayed answers in flight, over all workers."""
        numbers = self.numbers
        return sum(numbers[place] for place in range(_SHARED + _IN_FLIGHT, len(numbers), _ROW))

    def rows(self) -> range:
        """Return the indexes of the workers' rows."""
        return range(_SHARED, len(self.numbers), _ROW)

    def places(self) -> range:
        """Return the indexes of the numbers of queue places that each worker holds, by the worker's number from 0."""
        return range(_SHARED + _HELD, len(self.numbers), _ROW)

    def prefixes(self, hashes: Sequence[int]) -> int:
        """Remember the hashes of ever longer prefixes of a prompt, for all workers.

        Each is below 2**64. On a collision the new hash replaces the old one.

        Returns:
            The number of hashes, from the first, that were known already.
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
        """Return the activation time of the configuration, a reading of ``time.monotonic``."""
        return self.numbers[SINCE] / 1e9

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
        """Return the value of a counter."""
        with self.lock:
            begin = self._find(key)
            return 0 if begin is None else self.numbers[begin + 1 + which]

    def forget(self, key: int) -> None:
        """Reset the counters of a key."""
        with self.lock:
            if (begin := self._find(key)) is not None:
                self.numbers[begin + 1 : begin + 1 + _KINDS] = _ZEROS[:_KINDS]

    def forget_all(self) -> None:
        """Reset all counters, and refill all limits."""
        numbers = self.numbers
        with self.lock:
            numbers[_COUNTERS:BUCKETS] = memoryview(bytes((BUCKETS - _COUNTERS) * 8)).cast("Q")
            numbers[_COUNTERS_FULL] = 0
            for place in range(BUCKETS, GATE, ENTRY):
                numbers[place + 1 : place + ENTRY] = _ZEROS[: ENTRY - 1]

    def _find(self, key: int) -> int | None:
        """Return the index of a key's counters, None if it has none; with the lock held."""
        numbers = self.numbers
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
        """Return the counts by lateness, one per bucket of ``bounds``, for steps that are sent at ``now``.

        The first of them was due at ``due``; both are readings of ``time.monotonic``.
        """
        if now >= self._until:
            self._turn(now)
        if now - due > _TOO_LATE and now >= self._judged + _RECONSIDER:
            self._judged = now
            self._judge(now)
        return self._counts

    def _turn(self, now: float) -> None:
        """Start the histogram of a new period, in place of the oldest."""
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
        """Return the lateness of the frames of the last minute, over all workers; ``now`` is a monotonic time."""
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
        """Return the number of frames by lateness, one per bucket of ``bounds`` and one above, since the server
        started.
        """
        counts = [0] * (_HISTOGRAM - 1)
        for row in self.rows():
            for place in (row + _EARLIER, *range(row + _HISTOGRAMS + 1, row + _EARLIER, _HISTOGRAM)):
                seen = self.numbers[place : place + _HISTOGRAM - 1]
                counts = [ours + theirs for ours, theirs in zip(counts, seen, strict=True)]
        return counts

    def _judge(self, now: float) -> None:
        """Warn, once per server, when the mock is late."""
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
    """Return the index of one of the places where the counters of a key may be."""
    return _COUNTERS + (key + step) % _MOST_COUNTERS * _COUNTER


def _percentile(counts: list[int], rank: float) -> float:
    """Return the upper bound, in milliseconds, of the bucket that holds the frame of this rank; 0 without frames."""
    passed = 0
    for count, bound in zip(counts, (*_BOUNDS, float("inf")), strict=True):
        passed += count
        if passed and passed >= rank:
            return round(min(bound, _BOUNDS[-1]) * 1000, 3)
    return 0.0
