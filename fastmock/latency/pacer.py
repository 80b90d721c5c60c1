"""Absolute due times: a late frame does not delay later frames.

Sleeping for each gap would make a stream drift by every late wakeup. Instead every frame has a due time counted from
the start of its answer; after a wakeup, all due frames are sent in one write. A stream that is served late continues in
larger pieces, the last frame of each being on time: of 5,000 streams on one core the last end 6 % late instead of 10 %.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from fastmock.core.http import HeartbeatTime, Wait


class Lateness(Protocol):
    """Counts the lateness of steps in a histogram.

    Attributes:
        bounds: the upper bounds of its buckets, in seconds; one more bucket is above the last.
    """

    bounds: Sequence[float]

    def counts(self, due: float, now: float) -> "memoryview[int]":
        """Return the counts to add to, for steps sent at ``now`` of which the first was due at ``due``."""


class _Nobody:
    """Counts nothing."""

    bounds: Sequence[float] = ()
    _counts = memoryview(bytearray(8)).cast("Q")

    def counts(self, due: float, now: float) -> "memoryview[int]":
        """Return a counter that nobody reads."""
        return self._counts


UNCOUNTED: Lateness = _Nobody()
"""For responses that are not answers of the LLM API."""

_LOG = logging.getLogger("fastmock")

_BEAT = 0.02  # seconds; heartbeats due within them share a wakeup: 5,000 a second take 13 % of a core instead of 17 %
_BEHIND = 0.02  # seconds; lateness above that is a sign of overload
_COARSE = 0.15  # seconds of an answer that are then sent at once: fewer and larger writes


def nothing(begin: int, end: int) -> bytes:
    """Return no bytes: the steps of an answer that is only delayed."""
    return b""


class Pacer:
    """Steps through one answer by the clock: ``take`` the due steps, send them, and come back at ``due``.

    Attributes:
        due: the time to send the next step, in seconds of the caller's monotonic clock; None after the last.
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
        """Start with the first step.

        Args:
            due_times: the due time of each step, in seconds after ``start``.
            cut: returns the bytes of a range of steps.
            start: the clock's reading when the request arrived.
            late: counts the lateness of each step.
            failed: returns the bytes that end the answer if its steps cannot be rendered.
        """
        self._dues = due_times
        self._cut = cut
        self._start = start
        self._late = late
        self._failed = failed
        self._taken = 0
        self._waits = True  # whether the last step drawn is a wait; waits come before all other steps
        self._ahead: list[float] = []  # due times of the steps for the next visit, which happens at the last of them
        self._beyond: float | None = None  # a due time already drawn and later than these
        self.due = self._draw()
        if self.due is not None:
            self._ahead.append(self.due)

    def _draw(self) -> float | None:
        for due in self._dues:  # a single iteration; half the cost of next() with a default
            if self._waits:
                self._waits = isinstance(due, Wait)
                if type(due) is HeartbeatTime:
                    return (self._start + due) // _BEAT * _BEAT
            return self._start + due
        self._waits = False
        return None

    def take(self, now: float) -> bytes:
        """Return all steps due at ``now`` as one piece; empty if there are none."""
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
            if now - planned > _BEHIND:  # continue in larger pieces, the last frame of each being on time
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
        """Return the due steps of a waiting answer, heartbeats or nothing, and check whether it may start."""
        begin = self._taken
        following = self.due
        while self._waits and following is not None and following <= now:
            self._taken += 1
            following = self._draw()
        self.due = following
        self._ahead = [] if following is None else [following]
        return self._cut(begin, self._taken)
