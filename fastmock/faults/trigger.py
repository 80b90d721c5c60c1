"""When a fault may apply: its window, and how its requests are counted."""

from fastmock.faults.settings import FaultSettings, Window
from fastmock.shared.counters import Trigger


def trigger(key: int, settings: FaultSettings) -> Trigger:
    """Return when a fault applies; ``key`` is that of its counters."""
    skip, nth = settings.skip_first, settings.every_nth
    return Trigger(key, settings.probability, skip > 0 or nth is not None, skip, nth or 1, settings.times)


def session_key(key: int, session: int) -> int:
    """Return the key of a fault's counters in a session; session number 0 means no session."""
    return key ^ session or key


def is_open(window: Window, passed: float) -> bool:
    """Return whether a window is open so many seconds after its beginning."""
    passed -= window.after
    if passed < 0 or window.duration is None:
        return passed >= 0
    return (passed if window.period is None else passed % window.period) < window.duration
