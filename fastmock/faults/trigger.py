"""When a fault strikes: counted over all workers, and drawn so that it repeats."""

import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from fastmock.core.http import Request
from fastmock.core.seeded import Draw
from fastmock.faults.settings import FaultSettings, Window


class Count(IntEnum):
    """What is counted of a fault: the requests that it may strike at, those that it was chosen for, and those of them
    that had nothing to strike at.
    """

    SEEN = 0
    CHOSEN = 1
    MISSED = 2


class SharedCounters(Protocol):
    """Counts over all workers."""

    def count(self, key: int, which: int, most: int | None = None) -> int:
        """Count one more of a fault, known by a key; return how many there are, or 0 where that is more than most."""

    def counted(self, key: int, which: int) -> int:
        """Return how many have been counted."""

    def forget(self, key: int) -> None:
        """Begin to count anew what is known by a key."""

    def since(self) -> float:
        """Return when the configuration came into force, a reading of ``time.monotonic``."""


class Known(NamedTuple):
    """A fault's settings, and the key by which it is counted: not 0, and below 2**64."""

    key: int
    settings: FaultSettings


def of_session(key: int, session: int) -> int:
    """Return the key by which a fault is counted for a session, known by a number; 0 stands for none."""
    return key ^ session or key


class FaultSelector:
    """Chooses the fault that strikes at a request."""

    def __init__(
        self, faults: Sequence[Known], draw: Draw, tally: SharedCounters, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._faults = faults
        self._draw = draw
        self._tally = tally
        self._clock = clock

    def choose(
        self,
        request: Request,
        fits: Callable[[int], bool],
        applies: Callable[[int], bool] = lambda _: True,
        session: Callable[[Request], int] = lambda _: 0,
    ) -> int | None:
        """Return the number of the fault; None where all goes well.

        The first fault that comes up is taken. Those with a probability share one draw, in which each has a stretch of
        its own: their rates add up, and the place in the list changes none.

        Args:
            request: what is answered.
            fits: whether the fault of a number may strike at it.
            applies: whether its answer is of the kind that the fault strikes at; no other is counted.
            session: the number of its session; each is counted by itself.
        """
        drawn: float | None = None
        end = 0.0
        for number, (key, settings) in enumerate(self._faults):
            if settings.window is not None and not self._open(settings.window):
                continue
            if not fits(number):
                continue
            counts = settings.every_nth is not None or settings.skip_first or settings.times is not None
            if counts and not applies(number):
                continue
            own = of_session(key, session(request)) if counts else key
            if settings.every_nth is not None or settings.skip_first:
                counted = self._tally.count(own, Count.SEEN) - settings.skip_first
                if counted <= 0 or counted % (settings.every_nth or 1):
                    continue
            if settings.probability is not None:
                if drawn is None:
                    drawn = self._draw(request)
                begin, end = end, end + settings.probability
                if not begin <= drawn < end:
                    continue
            if self._tally.count(own, Count.CHOSEN, settings.times):
                if own != key:
                    self._tally.count(key, Count.CHOSEN)
                return number
        return None

    def _open(self, window: Window) -> bool:
        """Return whether a window is open now."""
        passed = self._clock() - self._tally.since() - window.after
        if passed < 0 or window.duration is None:
            return passed >= 0
        return (passed if window.period is None else passed % window.period) < window.duration
