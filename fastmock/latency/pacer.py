"""Absolute due times: a frame that is late makes no later frame late.

Sleeping for each gap would make a stream drift by every late wake-up. Here every frame has a due time counted from the
start of its answer; on waking, all that is due goes out in one write. A stream that is visited late goes on in coarser
pieces, of which the last is on time: of 5,000 streams on one core the last end 6 % late instead of 10 %.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from fastmock.core.http import HeartbeatTime, Wait


class Lateness(Protocol):
    """Counts how late steps are, in a histogram.

    Attributes:
        bounds: the upper bounds of its buckets, in seconds; above the last is one more.
    """

    bounds: Sequence[float]

    def counts(self, due: float, now: float) -> "memoryview[int]":
        """Return the counts to add to, when the first of the steps that are sent at ``now`` was due at ``due``."""


class _Nobody:
    """Counts nothing."""

    bounds: Sequence[float] = ()
    _counts = memoryview(bytearray(8)).cast("Q")

    def counts(self, due: float, now: float) -> "memoryview[int]":
        """See Lateness."""
        return self._counts


UNCOUNTED: Lateness = _Nobody()
"""For what is no answer of the API."""

_LOG = logging.getLogger("fastmock")

_BEAT = 0.02  # seconds; heartbeats due within them are sent in one waking: 5,000 a second take 13 % of a core, not 17
_BEHIND = 0.02  # seconds; a visit that is later than that is a sign of overload
_COARSE = 0.15  # seconds of an answer that then go out at once: fewer and larger writes


def nothing(begin: int, end: int) -> bytes:
    """Be the steps of an answer that is only waited for."""
    return b""


class Pacer:
    """Walks the steps of one answer by the clock: ``take`` what is due, send it, and come again at ``due``.

    Attributes:
        due: when the next step is to be sent, in seconds of the caller's monotonic clock; None when there are no more.
    """

    __slots__ = ("_ahead", "_beyond", "_cut", "_dues", "_failed", "_late", "_start", "_taken", "_waits", "due")

    def __init__(
        self,
        due_times: Iterator[float],
        cut: Callable[[int, int], bytes],
        start: float,
        late: Lateness,
        failed: Callable[[], bytes] = bytes,
    ) -> None:
        """Begin to walk.

        Args:
            due_times: when each step is due, in seconds after ``start``.
            cut: returns the bytes of a stretch of steps.
            start: the reading of the clock when the request came in.
            late: where the lateness of each step is counted.
            failed: returns what ends the answer when its bytes cannot be made.
        """
        self._dues = due_times
        self._cut = cut
        self._start = start
        self._late = late
        self._failed = failed
        self._taken = 0
        self._waits = True  # whether the step that was drawn last is a wait; these come before all others
        self._ahead: list[float] = []  # when the steps are due that the next visit is for; the visit is at the last
        self._beyond: float | None = None  # a due time that has been drawn and is later than that
        self.due = self._draw()
        if self.due is not None:
            self._ahead.append(self.due)

    def _draw(self) -> float | None:
        for due in self._dues:  # one round; half the cost of next() with a default
            if self._waits:
                self._waits = isinstance(due, Wait)
                if type(due) is HeartbeatTime:
                    return (self._start + due) // _BEAT * _BEAT
            return self._start + due
        self._waits = False
        return None

    def take(self, now: float) -> bytes:
        """Return everything due at ``now`` in one; empty when nothing is."""
        planned = self.due
        if planned is None or planned > now:
            return b""
        if self._waits:
            return self._wait(now)
        ahead = self._ahead
        counts, bounds = self._late.counts(ahead[0], now), self._late.bounds
        begin = self._taken
        end = begin + len(ahead)
        for due in ahead:
            counts[bisect_left(bounds, now - due)] += 1
        following = self._draw() if self._beyond is None else self._beyond
        while following is not None and following <= now:
            counts[bisect_left(bounds, now - following)] += 1
            end += 1
            following = self._draw()
        self._beyond = None
        if following is not None:
            self._ahead = ahead = [following]
            if now - planned > _BEHIND:  # go on in coarser pieces, of which the last is on time
                while (beyond := self._draw()) is not None and beyond <= now + _COARSE:
                    ahead.append(beyond)
                self._beyond = beyond
                following = ahead[-1]
        self.due = following
        self._taken = end
        try:
            return self._cut(begin, end)
        except Exception:
            _LOG.exception("a stream failed half-way; this is a defect of fastmock")
            self.due = None
            return self._failed()

    def _wait(self, now: float) -> bytes:
        """Look whether the answer may begin."""
        begin = self._taken
        following = self.due
        while self._waits and following is not None and following <= now:
            self._taken += 1
            following = self._draw()
        self.due = following
        self._ahead = [] if following is None else [following]
        return self._cut(begin, self._taken)
