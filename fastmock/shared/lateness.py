"""The lateness of the steps of paced answers, as histograms that every worker adds to."""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from fastmock.shared.block import Share
from fastmock.shared.layout import ROW, SERVER

_PERIOD = 5.0  # seconds covered by one histogram
_PERIODS = 12  # a minute
_BOUNDS = [0.00005 * 2 ** (step / 4) for step in range(81)]  # seconds, from 0.05 ms to 52 s, each 19 % above the last
_HISTOGRAM = 1 + len(_BOUNDS) + 1  # the number of its period, then the counts
_HISTOGRAMS = ROW.reserve(_PERIODS * _HISTOGRAM)
_EARLIER = ROW.reserve(_HISTOGRAM - 1)  # the sums of earlier histograms
_WARNED = SERVER.reserve()  # whether the warning about lateness was logged

_TOO_LATE = 0.05  # seconds; a higher p99 is logged as a warning
_RECONSIDER = 0.5  # seconds between checks whether to warn

_LOG = logging.getLogger("fastmock")


class Lateness(NamedTuple):
    """Lateness of the frames of the last minute: their number, and percentiles in milliseconds."""

    frames: int
    p50: float
    p99: float


class LatenessMeter:
    """The lateness, as counted by one worker and read over all."""

    bounds: Sequence[float] = _BOUNDS

    def __init__(self, share: Share) -> None:
        self._share = share
        self._until = self._judged = 0.0
        self._counts = share.numbers[:0]
        share.on_join(self._joined)

    def _joined(self) -> None:
        self._until = 0.0  # end of the current histogram's period
        self._counts = self._share.numbers[:0]
        self._judged = 0.0

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
        place = self._share.row + _HISTOGRAMS + period % _PERIODS * _HISTOGRAM
        if self._share.numbers[place] != period:
            for inside in range(1, _HISTOGRAM):
                self._share.numbers[self._share.row + _EARLIER + inside - 1] += self._share.numbers[place + inside]
                self._share.numbers[place + inside] = 0
            self._share.numbers[place] = period
        self._counts = self._share.numbers[place + 1 : place + _HISTOGRAM]
        self._until = (period + 1) * _PERIOD

    def last_minute(self, now: float | None = None) -> Lateness:
        """Return the lateness of the frames of the last minute, over all workers; ``now`` is a monotonic time."""
        numbers = self._share.numbers
        latest = int((time.monotonic() if now is None else now) / _PERIOD)
        counts = [0] * (_HISTOGRAM - 1)
        for row in self._share.rows():
            for place in range(row + _HISTOGRAMS, row + _EARLIER, _HISTOGRAM):
                if latest - _PERIODS < numbers[place] <= latest:
                    counts = [ours + theirs for ours, theirs in zip(counts, numbers[place + 1 :], strict=False)]
        frames = sum(counts)
        return Lateness(frames, _percentile(counts, frames * 0.5), _percentile(counts, frames * 0.99))

    def all(self) -> list[int]:
        """Return the number of frames by lateness, one per bucket of ``bounds`` and one above, since the server
        started.
        """
        counts = [0] * (_HISTOGRAM - 1)
        for row in self._share.rows():
            for place in (row + _EARLIER, *range(row + _HISTOGRAMS + 1, row + _EARLIER, _HISTOGRAM)):
                seen = self._share.numbers[place : place + _HISTOGRAM - 1]
                counts = [ours + theirs for ours, theirs in zip(counts, seen, strict=True)]
        return counts

    def _judge(self, now: float) -> None:
        """Warn, once per server, when the mock is late."""
        if self._share.numbers[_WARNED]:
            return
        seen = self.last_minute(now)
        if seen.p99 > _TOO_LATE * 1000:
            self._share.numbers[_WARNED] = 1
            _LOG.warning(
                "falling behind: of the frames of the last minute 1 %% were sent more than %.0f ms late; latencies "
                "measured now include the mock's own (GET /health shows it; more workers or a faster machine help)",
                seen.p99,
            )


def _percentile(counts: list[int], rank: float) -> float:
    """Return the upper bound, in milliseconds, of the bucket that holds the frame of this rank; 0 without frames."""
    passed = 0
    for count, bound in zip(counts, (*_BOUNDS, float("inf")), strict=True):
        passed += count
        if passed and passed >= rank:
            return round(min(bound, _BOUNDS[-1]) * 1000, 3)
    return 0.0
