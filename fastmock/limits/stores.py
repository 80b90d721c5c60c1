"""Stores of the remaining amounts: one for this server, and a Valkey (or Redis) that several servers share."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from fastmock.limits.bucket import BEGIN, FOR_EVER, PASSED, Rate, Verdict, take
from fastmock.replication.connection import Connection
from fastmock.replication.counters import CHOOSE, FAULTS, choice_of, is_counted, note_choice
from fastmock.shared.counters import Candidates


class Store(Protocol):
    """Keeps the remaining amounts exactly, also under concurrent access."""

    def take(
        self,
        key: int,
        rates: Sequence[Rate],
        estimates: Sequence[int],
        actuals: Sequence[int],
        faults: Candidates | None = None,
    ) -> Verdict:
        """Take from the rates under a key, as ``bucket.take`` does.

        A store that is far away also selects one of ``faults``, if the request passes, to save a second call.
        """


class Table(Protocol):
    """A table of numbers that all workers share; see ``shared.rate_buckets``."""

    lock: AbstractContextManager[Any]
    known: dict[int, "memoryview[int]"]

    def find(self, key: int, now: int) -> "memoryview[int]":
        """Return the entry under a key."""


class Here:
    """The store of a single machine."""

    def __init__(self, table: Table, fixed: bool, count_refused: bool) -> None:
        self._table = table
        self._fixed = fixed
        self._count_refused = count_refused

    def take(
        self,
        key: int,
        rates: Sequence[Rate],
        estimates: Sequence[int],
        actuals: Sequence[int],
        faults: Candidates | None = None,
    ) -> Verdict:
        """Take from the rates under a key in the shared block, with the lock held."""
        table = self._table
        with table.lock:
            now = time.monotonic_ns() // 1000
            entry = table.known.get(key)
            if entry is None or entry[0] != key:
                entry = table.find(key, now)
            if self._fixed:  # windows are the minutes and days of the wall clock
                clock = time.time_ns() // 1000
                verdict, full = take(rates, entry, estimates, actuals, clock, True, self._count_refused)
                entry[1] = now + full - clock
                return verdict
            # ``bucket.take`` inlined for a token bucket that lets the request pass, nearly always the case: one loop
            # takes 1.7 µs instead of 4.
            left = []
            latest, place = 0, BEGIN
            for (_, limit, period, burst, _), estimate, actual in zip(rates, estimates, actuals, strict=True):
                value = entry[place]
                before = value - now if value > now else 0
                if period == FOR_EVER or before + estimate * period // limit > burst:
                    break
                reset = before + actual * period // limit
                left.append(((burst - reset) * limit // period if reset < burst else 0, reset))
                if reset > latest:
                    latest = reset
                place += 1
            else:
                entry[1] = now + latest
                place = BEGIN
                for _, reset in left:
                    entry[place] = now + reset
                    place += 1
                return PASSED, 0, left
            verdict, entry[1] = take(rates, entry, estimates, actuals, now, False, self._count_refused)
        return verdict


# ``bucket.take``, line by line, with the store's own clock, so that machines need not agree on the time.
# KEYS: the amounts, the counters of faults. ARGV: fixed, count_refused, the number of rates, then for each rate limit,
# period, burst, whether it counts requests, estimate, actual; then those of ``CHOOSE``, if a fault is to be selected.
# Returns which rate was exceeded (0 for none), the time to wait, the selected fault (0 for none), and for each rate the
# remaining amount and the time until it is full.
_SCRIPT = (
    CHOOSE
    + """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local fixed, count_refused = ARGV[1] == '1', ARGV[2] == '1'
local kept = redis.call('HGETALL', KEYS[1])
local values = {}
for at = 1, #kept, 2 do values[tonumber(kept[at])] = tonumber(kept[at + 1]) end
local rates, refused, wait = tonumber(ARGV[3]), 0, 0
local function arg(rate, at) return tonumber(ARGV[3 + (rate - 1) * 6 + at]) end
-- Numbers here are exact up to 2^53, so windows are numbered modulo a million.
local function window_of(period) return math.floor(now / period) % 1048576 end
local function counted(value, window) return math.floor(value / 4294967296) == window and value % 4294967296 or 0 end
for rate = 1, rates do
  local value, limit, period, burst, wanted = values[rate] or 0, arg(rate, 1), arg(rate, 2), arg(rate, 3), arg(rate, 5)
  local needs = 0
  if period == 0 then
    if value >= limit then needs = 1 end
  elseif not fixed then
    needs = math.max(0, math.max(value, now) - now + math.floor(wanted * period / limit) - burst)
  else
    if counted(value, window_of(period)) + wanted > limit then needs = period - now % period end
  end
  if needs > 0 then
    if refused == 0 then refused = rate end
    wait = math.max(wait, needs)
  end
end
local answer, lasts = {refused, wait, 0}, 0
for rate = 1, rates do
  local value, limit, period, burst, taken = values[rate] or 0, arg(rate, 1), arg(rate, 2), arg(rate, 3), arg(rate, 6)
  if refused > 0 then taken = (count_refused and arg(rate, 4) == 1 and period > 0) and 1 or 0 end
  local after, remaining, reset
  if period == 0 then
    after = value + taken
    remaining, reset = math.max(0, limit - after), 31536000000000
  elseif not fixed then
    after = math.max(value, now) + math.floor(taken * period / limit)
    remaining, reset = math.max(0, math.floor((burst - (after - now)) * limit / period)), after - now
    if refused > 0 then after = math.min(after, math.max(value, now + burst)) end
  else
    local window = window_of(period)
    local count = math.min(counted(value, window) + taken, 4294967295)
    after = window * 4294967296 + count
    remaining, reset = math.max(0, limit - count), period - now % period
  end
  redis.call('HSET', KEYS[1], rate, string.format('%.0f', after))
  lasts = math.max(lasts, reset)
  answer[#answer + 1] = remaining
  answer[#answer + 1] = reset
end
redis.call('PEXPIRE', KEYS[1], math.floor(lasts / 1000) + 1000)
local after = 3 + rates * 6
if refused == 0 and #ARGV > after then answer[3] = choose(KEYS[2], after) end
return answer
"""
)


class Shared:
    """The store of several servers; while it cannot be reached, each server counts alone."""

    def __init__(self, connection: Connection, here: Here, fixed: bool, count_refused: bool) -> None:
        """``here`` counts while the store cannot be reached."""
        self._connection = connection
        self._here = here
        self._script: Any = connection.client.register_script(_SCRIPT)
        self._prefix, self._faults = connection.key("limit:"), connection.key(FAULTS)
        self._flags = [int(fixed), int(count_refused)]

    def take(
        self,
        key: int,
        rates: Sequence[Rate],
        estimates: Sequence[int],
        actuals: Sequence[int],
        faults: Candidates | None = None,
    ) -> Verdict:
        """Take from the rates under a key, and select a fault, by one script in the store."""
        given: list[object] = [*self._flags, len(rates)]
        for rate, estimate, actual in zip(rates, estimates, actuals, strict=True):
            given += (rate.limit, rate.period, rate.burst, int(rate.unit == "requests"), estimate, actual)
        counted = faults if faults is not None and is_counted(faults) else None
        if counted is not None:
            given += choice_of(counted)
        keys = [f"{self._prefix}{key:016x}", self._faults]
        found = self._connection.call(lambda: self._script(keys=keys, args=given))
        if found is None:
            return self._here.take(key, rates, estimates, actuals)
        refused, wait, chosen, *left = found
        if counted is not None and not refused:
            note_choice(counted, chosen)
        return refused - 1, wait, list(zip(left[::2], left[1::2], strict=True))
