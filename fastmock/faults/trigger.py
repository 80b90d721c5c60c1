"""When a fault may apply: its window, and how its requests are counted."""

from typing import Protocol

from fastmock.faults.settings import FaultSettings, Window
from fastmock.shared.counters import Candidates, Count, Trigger


class SharedCounters(Protocol):
    """Counters over all workers."""

    def count(self, key: int, which: int, most: int | None = None) -> int:
        """Increment a counter of the fault with a key; return the new value, or 0 if it would exceed ``most``."""

    def choose(self, candidates: Candidates) -> None:
        """Select a fault for a request; see ``shared.counters.Counters.choose``."""

    def counted(self, key: int, which: Count) -> int:
        """Return the value of a counter."""

    def forget(self, key: int) -> None:
        """Reset the counters of a key."""

    def since(self) -> float:
        """Return when the configuration was activated, as a reading of ``time.monotonic``."""


def trigger(key: int, settings: FaultSettings) -> Trigger:
    """Return when a fault applies; ``key`` is that of its counters."""
    return Trigger(key, settings.probability, settings.skip_first, settings.every_nth, settings.times)


def session_key(key: int, session: int) -> int:
    """Return the key of a fault's counters in a session; session number 0 means no session."""
    return key ^ session or key


def is_open(window: Window, passed: float) -> bool:
    """Return whether a window is open so many seconds after its beginning."""
    passed -= window.after
    if passed < 0 or window.duration is None:
        return passed >= 0
    return (passed if window.period is None else passed % window.period) < window.duration
