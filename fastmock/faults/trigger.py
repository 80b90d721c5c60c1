"""When a fault applies: counted over all workers, and drawn reproducibly."""

import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from fastmock.core.http import Request
from fastmock.core.seeded import Draw
from fastmock.faults.settings import FaultSettings, Window
from fastmock.shared.counters import Passed


class Count(IntEnum):
    """The counters of a fault: matching requests, requests for which it was selected, and those of them to which it was
    not applicable.
    """

    SEEN = 0
    CHOSEN = 1
    MISSED = 2


class SharedCounters(Protocol):
    """Counters over all workers."""

    def count(self, key: int, which: int, most: int | None = None) -> int:
        """Increment a counter of the fault with a key; return the new value, or 0 if it would exceed ``most``."""

    def take(self, key: int, sees: bool, skip: int, nth: int, times: int | None, is_drawn: bool) -> Passed:
        """Count a request, and whether it is selected; see ``shared.counters.Counters.take``."""

    def counted(self, key: int, which: int) -> int:
        """Return the value of a counter."""

    def forget(self, key: int) -> None:
        """Reset the counters of a key."""

    def since(self) -> float:
        """Return when the configuration was activated, as a reading of ``time.monotonic``."""


class Known(NamedTuple):
    """A fault's settings and the key of its counters, above 0 and below 2**64."""

    key: int
    settings: FaultSettings


def session_key(key: int, session: int) -> int:
    """Return the key of a fault's counters in a session; session number 0 means no session."""
    return key ^ session or key


class FaultSelector:
    """Selects the fault for a request."""

    def __init__(
        self,
        faults: Sequence[Known],
        draw: Draw,
        counters: SharedCounters,
        clock: Callable[[], float] = time.monotonic,
        since: Callable[[], float] | None = None,
    ) -> None:
        """Select by shared counters.

        Args:
            faults: the faults.
            draw: draws a number for a request.
            counters: the counters.
            clock: returns the time.
            since: returns when windows began, by default when the configuration was activated.
        """
        self._faults = faults
        self._draw = draw
        self._counters = counters
        self._clock = clock
        self._since = since or counters.since

    def select(
        self,
        request: Request,
        fits: Callable[[int], bool],
        applies: Callable[[int], bool] = lambda _: True,
        session: Callable[[Request], int] = lambda _: 0,
    ) -> int | None:
        """Return the number of the selected fault; None for no fault.

        The first matching fault is selected. Faults with a probability share one draw, each with its own range: their
        rates add up, and their order does not change them.

        Args:
            request: the request.
            fits: whether the conditions of the fault with a number match.
            applies: whether that fault can change the response; only such responses are counted.
            session: returns the number of the session; each session has its own counters.
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
            is_drawn, next_end = True, end
            if settings.probability is not None:
                if drawn is None:
                    drawn = self._draw(request)
                next_end = end + settings.probability
                is_drawn = end <= drawn < next_end
            if not counts:
                end = next_end
                if is_drawn:
                    self._counters.count(key, Count.CHOSEN)
                    return number
                continue
            sees = settings.every_nth is not None or settings.skip_first > 0
            counter_key = session_key(key, session(request))
            passed = self._counters.take(
                counter_key, sees, settings.skip_first, settings.every_nth or 1, settings.times, is_drawn
            )
            if passed != Passed.NOT_DUE:
                end = next_end
            if passed == Passed.CHOSEN:
                if counter_key != key:
                    self._counters.count(key, Count.CHOSEN)
                return number
        return None

    def _open(self, window: Window) -> bool:
        """Return whether a window is open now."""
        passed = self._clock() - self._since() - window.after
        if passed < 0 or window.duration is None:
            return passed >= 0
        return (passed if window.period is None else passed % window.period) < window.duration
