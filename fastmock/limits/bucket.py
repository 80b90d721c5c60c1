"""Rates and what is left of them: the arithmetic of limits, with neither a clock nor a store.

A bucket that is refilled all the time is one number, the time at which it will be full again: what is taken moves that
time on, and nothing has to be done while it refills (the generic cell rate algorithm, as ITU-T I.371 has it for ATM
networks). A fixed window is one number too: which window, and how much was taken in it. Times are microseconds.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Unit = Literal["requests", "tokens", "input", "output"]

SECOND = 1_000_000
MINUTE, DAY = 60 * SECOND, 86_400 * SECOND
FOR_EVER = 0
"""The period of a quota, which is never refilled."""

_IN_WINDOW = 1 << 32  # above what can be taken in a window


class Rate(NamedTuple):
    """So much in so long.

    Attributes:
        unit: of what.
        limit: how much.
        period: in how many microseconds; FOR_EVER in all.
        burst: for how many microseconds of it a full bucket lasts: the period, or less where it is quantized.
        label: what the API calls it.
    """

    unit: Unit
    limit: int
    period: int
    burst: int
    label: str


class Verdict(NamedTuple):
    """Whether a request is let through.

    Attributes:
        refused: the number of the first rate that is exceeded; None where it is let through.
        wait: after how many microseconds it would be let through, if nothing else came.
        left: what is left of each rate, and in how many microseconds it is full again.
    """

    refused: int | None
    wait: int
    left: Sequence[tuple[int, int]]


def take(
    rates: Sequence[Rate],
    values: list[int],
    estimates: Sequence[int],
    actuals: Sequence[int],
    now: int,
    fixed: bool = False,
    count_refused: bool = False,
) -> tuple[Verdict, int]:
    """Take from all rates, or, where one is exceeded, from none.

    Args:
        rates: the rates.
        values: what is known of each; what changes is written into it.
        estimates: what the request was taken for when it came, of the unit of each.
        actuals: what it has turned out to take.
        now: the time.
        fixed: whether the windows are fixed.
        count_refused: whether one that is refused counts as a request all the same.

    Returns:
        The verdict, and when all of them are full again: the values may be forgotten then.
    """
    refused, longest = None, 0
    for number, rate in enumerate(rates):
        wait = _wait(rate, values[number], estimates[number], now, fixed)
        if wait > 0:
            refused = number if refused is None else refused
            longest = max(longest, wait)
    if refused is not None:
        actuals = [int(count_refused and rate.unit == "requests" and rate.period != FOR_EVER) for rate in rates]
    left = []
    latest = 0
    for number, rate in enumerate(rates):
        before = values[number]
        value, remaining, reset = _taken(rate, before, actuals[number], now, fixed)
        if refused is not None and not fixed and rate.period != FOR_EVER:
            value = min(value, max(before, now + rate.burst))  # an empty bucket gets no emptier
        values[number] = value
        left.append((remaining, reset))
        latest = max(latest, reset)
    return Verdict(refused, longest, left), now + latest


def _wait(rate: Rate, value: int, wanted: int, now: int, fixed: bool) -> int:
    """Return how long a request has to wait; not above 0 where it may pass."""
    _, limit, period, burst, _ = rate
    if period == FOR_EVER:
        return 1 if value >= limit else 0  # whoever has something left may use it up
    if not fixed:
        return (value - now if value > now else 0) + wanted * period // limit - burst
    window = now // period
    return (window + 1) * period - now if _counted(value, window) + wanted > limit else 0


def _taken(rate: Rate, value: int, taken: int, now: int, fixed: bool) -> tuple[int, int, int]:
    """Return the value after something was taken, what is left, and in how long it is full again."""
    _, limit, period, burst, _ = rate
    if period == FOR_EVER:
        return value + taken, max(0, limit - value - taken), DAY * 365
    if not fixed:
        lacks = (value - now if value > now else 0) + taken * period // limit
        return now + lacks, (burst - lacks) * limit // period if lacks < burst else 0, lacks
    window = now // period
    count = min(_counted(value, window) + taken, _IN_WINDOW - 1)
    return window * _IN_WINDOW + count, max(0, limit - count), (window + 1) * period - now


def _counted(value: int, window: int) -> int:
    """Return how much has been taken in a fixed window."""
    return value % _IN_WINDOW if value // _IN_WINDOW == window else 0
