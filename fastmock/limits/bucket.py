"""The arithmetic of rate limits, without a clock or a store.

A token bucket that refills continuously is one number, the time at which it will be full again: taking from it moves
that time forward, and nothing has to be done while it refills (the generic cell rate algorithm, described for ATM
networks in ITU-T I.371). A fixed window is also one number: which window it is, and the amount taken in it. Times are
in microseconds.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Unit = Literal["requests", "tokens", "input", "output"]

SECOND = 1_000_000
MINUTE, DAY = 60 * SECOND, 86_400 * SECOND
FOR_EVER = 0
"""The period of a quota, which is never refilled."""

BEGIN = 2
"""The index of the first value; a store uses the entries before it."""
_IN_WINDOW = 1 << 32  # above any amount that can be taken in a window


class Rate(NamedTuple):
    """A limit on the amount of one unit in a period.

    Attributes:
        unit: the unit that is limited.
        limit: the amount.
        period: the period in microseconds; FOR_EVER for a quota.
        burst: the time in microseconds for which a full bucket lasts at this rate: the period, or less if quantized.
        label: the API's name for the limit.
    """

    unit: Unit
    limit: int
    period: int
    burst: int
    label: str


Left = Sequence[tuple[int, int]]
"""For each rate the remaining amount, and the microseconds until it is full again."""
Verdict = tuple[int, int, Left]
"""Whether a request passes: the index of the first exceeded rate, or PASSED; the microseconds after which it would pass
if no other request came; and the remaining amounts.
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
    """Take from all rates, or from none if one is exceeded.

    Args:
        rates: the rates.
        values: the stored value of each rate, from BEGIN on; updated in place.
        estimates: the estimated cost of the request on arrival, in the unit of each rate.
        actuals: its actual cost.
        now: the current time.
        fixed: use fixed windows instead of token buckets.
        count_refused: count refused requests too.

    Returns:
        The verdict, and the time at which all rates are full again and the values may be dropped.
    """
    refused, longest = PASSED, 0
    for number, (_, limit, period, burst, _) in enumerate(rates):
        value, wanted = values[number + BEGIN], estimates[number]
        if period == FOR_EVER:
            wait = 1 if value >= limit else 0  # a quota's last units may be overdrawn
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
    left, latest = [], 0
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
            if refused != PASSED:  # a refused request cannot take more than the bucket holds
                value = min(value, max(before, now + burst))
        else:
            window = now // period
            count = min(_counted(value, window) + taken, _IN_WINDOW - 1)
            value = window * _IN_WINDOW + count
            remaining, reset = max(0, limit - count), (window + 1) * period - now
        values[number + BEGIN] = value
        left.append((remaining, reset))
        latest = reset if reset > latest else latest
    return (refused, longest, left), now + latest


def _counted(value: int, window: int) -> int:
    """Return the amount taken in a fixed window."""
    return value % _IN_WINDOW if value // _IN_WINDOW == window else 0
