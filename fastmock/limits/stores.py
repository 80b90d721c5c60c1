"""Stores of the remaining amounts: one for this machine, and a Valkey (or Redis) that several machines share."""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from fastmock.core.problems import did_you_mean
from fastmock.limits.bucket import BEGIN, FOR_EVER, PASSED, SECOND, Rate, Verdict, take

_PATIENCE = 0.25  # seconds to wait for the shared store before requests proceed without it
_RETRY = 0.5  # seconds between attempts to reach it again
_OPTIONS = (
    *("db", "username", "password", "client_name", "protocol", "ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs"),
    *("ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_min_version", "ssl_ciphers"),
)
"""The options allowed in a URL. The client would also accept any other of its own arguments, as a string."""

_LOG = logging.getLogger("fastmock")


class StoreOptionError(ValueError):
    """A URL has an option that the store does not support; the message contains no secret."""


class Store(Protocol):
    """Keeps the remaining amounts exactly, also under concurrent access."""

    def take(self, key: int, rates: Sequence[Rate], estimates: Sequence[int], actuals: Sequence[int]) -> Verdict | None:
        """Take from the rates under a key, as ``bucket.take`` does; None if the store cannot be reached."""


class Table(Protocol):
    """A table of numbers that all workers share; see ``shared.rate_buckets``."""

    lock: AbstractContextManager[Any]
    known: dict[int, "memoryview[int]"]

    def turn(self, gone: bool) -> bool:
        """Record whether the shared store is unreachable; return whether no other worker has recorded it."""

    def find(self, key: int, now: int) -> "memoryview[int]":
        """Return the entry under a key."""


class Here:
    """The store of a single machine."""

    def __init__(self, table: Table, fixed: bool, count_refused: bool) -> None:
        self._table = table
        self._fixed = fixed
        self._count_refused = count_refused

    def take(self, key: int, rates: Sequence[Rate], estimates: Sequence[int], actuals: Sequence[int]) -> Verdict | None:
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
# ARGV: fixed, count_refused, then for each rate limit, period, burst, whether it counts requests, estimate, actual.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local fixed, count_refused = ARGV[1] == '1', ARGV[2] == '1'
local kept = redis.call('HGETALL', KEYS[1])
local values = {}
for at = 1, #kept, 2 do values[tonumber(kept[at])] = tonumber(kept[at + 1]) end
local rates, refused, wait = (#ARGV - 2) / 6, 0, 0
local function arg(rate, at) return tonumber(ARGV[2 + (rate - 1) * 6 + at]) end
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
local answer, lasts = {refused, wait}, 0
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
return answer
"""


class Shared:
    """The store of several machines. While it cannot be reached, requests proceed without limits."""

    def __init__(self, url: str, table: Table, fixed: bool, count_refused: bool) -> None:
        """Prepare the client of the store at ``url`` (see ``limits.store``); it connects on first use.

        Raises:
            ImportError: the client is not installed.
            ValueError: the URL is invalid.
            StoreOptionError: an option in the URL is unknown or invalid.
        """
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        for name in parse_qs(urlsplit(url).query, keep_blank_values=True):
            if name not in _OPTIONS:
                near = did_you_mean(name, _OPTIONS) or f"; known are {', '.join(_OPTIONS)}"
                raise StoreOptionError(f"has an unknown option: {name!r}{near}")
        self._client: Any = redis.Redis.from_url(
            url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
            socket_timeout=_PATIENCE,
            socket_connect_timeout=_PATIENCE,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            self._client.connection_pool.make_connection()  # does not connect yet
        except Exception as error:
            raise StoreOptionError(f"has an option that cannot be used ({type(error).__name__})") from None
        self._script: Any = self._client.register_script(_SCRIPT)
        self._table = table
        self._flags = [int(fixed), int(count_refused)]
        self._gone = False
        self._leaving = threading.Lock()

    def take(self, key: int, rates: Sequence[Rate], estimates: Sequence[int], actuals: Sequence[int]) -> Verdict | None:
        """Take from the rates under a key by a script in the store; None while the store cannot be reached."""
        if self._gone:
            return None
        given = list(self._flags)
        for rate, estimate, actual in zip(rates, estimates, actuals, strict=True):
            given += (rate.limit, rate.period, rate.burst, int(rate.unit == "requests"), estimate, actual)
        try:
            refused, wait, *left = self._script(keys=[f"fastmock:limit:{key:016x}"], args=given)
            return refused - 1, wait, list(zip(left[::2], left[1::2], strict=True))
        except Exception as error:  # for any error, requests proceed
            self._leave(error)
            return None

    def _leave(self, error: Exception) -> None:
        """Continue without the store, and try in a thread to reach it again."""
        with self._leaving:
            if self._gone:
                return
            self._gone = True
        if self._table.turn(True):
            _LOG.warning("rate limits are suspended: the store cannot be reached (%s)", error)
        threading.Thread(target=self._await, name="limits", daemon=True).start()

    def _await(self) -> None:
        while self._gone:
            time.sleep(_RETRY)
            try:
                self._script(keys=["fastmock:limit:probe"], args=[0, 0, 1, SECOND, SECOND, 1, 1, 1])
            except Exception:  # noqa: S112 - also of a store that responds, but refuses writes
                continue
            self._gone = False
            if self._table.turn(False):
                _LOG.warning("rate limits are enforced again: the store can be reached")
