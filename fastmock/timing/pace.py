"""Absolute due times: a frame that is late makes no later frame late.

Sleeping for each gap would make a stream drift by every late wake-up. Here every frame has a due time counted from the
start of its answer; on waking, all that is due goes out in one write. Under overload a stream still ends nearly on
time, in coarser pieces.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol


class Lateness(Protocol):
    """Counts how late steps are, in a histogram.

    Attributes:
        bounds: the upper bounds of its buckets, in seconds; above the last is one more.
    """

    bounds: Sequence[float]

    def counts(self, due: float, now: float) -> "memoryview[int]":
        """Return the counts to add to, when the first of the steps that are sent at ``now`` was due at ``due``."""


def nothing(begin: int, end: int) -> bytes:
    """Be the steps of an answer that is only waited for."""
    return b""


class Pacer:
    """Walks the steps of one answer by the clock: ``take`` what is due, send it, and come again at ``due``.

    Attributes:
        due: when the next step is to be sent, in seconds of the caller's monotonic clock; None when there are no more.
    """

    __slots__ = ("_cut", "_dues", "_late", "_start", "_taken", "due")

    def __init__(
        self,
        dues: Iterator[float],
        cut: Callable[[int, int], bytes],
        start: float,
        late: Lateness,
    ) -> None:
        """Begin to walk.

        Args:
            dues: when each step is due, in seconds after ``start``.
            cut: returns the bytes of a stretch of steps.
            start: the reading of the clock when the request came in.
            late: where the lateness of each step is counted.
        """
        self._dues = dues
        self._cut = cut
        self._start = start
        self._late = late
        self._taken = 0
        self.due: float | None = None
        for due in dues:
            self.due = start + due
            break

    def take(self, now: float) -> bytes:
        """Return everything due at ``now`` in one; empty when nothing is."""
        due = self.due
        if due is None or due > now:
            return b""
        begin = end = self._taken
        counts, bounds = self._late.counts(due, now), self._late.bounds
        while due is not None and due <= now:
            counts[bisect_left(bounds, now - due)] += 1
            end += 1
            due = None
            for after in self._dues:  # one round; half the cost of next() with a default
                due = self._start + after
                break
        self.due = due
        self._taken = end
        return self._cut(begin, end)
