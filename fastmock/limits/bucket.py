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

BEGIN = 2
"""The place of the first value; before it stands what a store needs."""
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


Left = Sequence[tuple[int, int]]
"""What is left of each rate, and in how many microseconds it is full again."""
Verdict = tuple[int, int, Left]
"""Whether a request is let through: the number of the first rate that is exceeded, or PASSED; after how many
microseconds it would pass, if nothing else came; and what is left.
"""
PASSED = -1


def take(
    rates: Sequence[Rate],
    values: "memoryview[int]",
    estimates: Sequence[int],
    actuals: Sequence[int],
    now: int,
    fixed: bool = False,
    count_refused: bool = False,
) -> tuple[Verdict, int]:
    """Take from all rates, or, where one is exceeded, from none.

    Args:
        rates: the rates.
        values: what is known of each, from BEGIN on; what changes is written into it.
        estimates: what the request was taken for when it came, of the unit of each.
        actuals: what it has turned out to take.
        now: the time.
        fixed: whether the windows are fixed.
        count_refused: whether one that is refused counts as a request all the same.

    Returns:
        The verdict, and when all of them are full again: the values may be forgotten then.
    """
    refused, longest = PASSED, 0
    for number, (_, limit, period, burst, _) in enumerate(rates):
        value, wanted = values[number + BEGIN], estimates[number]
        if period == FOR_EVER:
            wait = 1 if value >= limit else 0  # whoever has something left may use it up
        elif not fixed:
            wait = (value - now if value > now else 0) + wanted * period // limit - burst
        else:
            window = now // period
            wait = (window + 1) * period - now if _counted(value, window) + wanted > limit else 0
        if wait > 0:
            refused = number if refused == PASSED else refused
            longest = max(longest, wait)
    if refused != PASSED:
        actuals = [int(count_refused and rate.unit == "requests" and rate.period != FOR_EVER) for rate in rates]
    left = []
    latest = 0
    for number, (_, limit, period, burst, _) in enumerate(rates):
        value, taken = values[number + BEGIN], actuals[number]
        if period == FOR_EVER:
            value += taken
            remaining, reset = max(0, limit - value), DAY * 365
        elif not fixed:
            before = value if value > now else now
            reset = before - now + taken * period // limit
            remaining = (burst - reset) * limit // period if reset < burst else 0
            value = now + reset
            if refused != PASSED:  # an empty bucket gets no emptier
                value = min(value, max(before, now + burst))
        else:
            window = now // period
            count = min(_counted(value, window) + taken, _IN_WINDOW - 1)
            value = window * _IN_WINDOW + count
            remaining, reset = max(0, limit - count), (window + 1) * period - now
        values[number + BEGIN] = value
        left.append((remaining, reset))
        if reset > latest:
            latest = reset
    return (refused, longest, left), now + latest


def _counted(value: int, window: int) -> int:
    """Return how much has been taken in a fixed window."""
    return value % _IN_WINDOW if value // _IN_WINDOW == window else 0
