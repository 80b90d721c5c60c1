"""Rate limits: who is let through, and the headers and errors in which the APIs say so."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from hashlib import blake2b
from math import ceil
from operator import itemgetter
from typing import NamedTuple

from fastmock.api import anthropic, errors
from fastmock.api.auth import key_of
from fastmock.api.findings import Findings
from fastmock.config.limits import Limits, Rates
from fastmock.limits.bucket import DAY, FOR_EVER, MINUTE, PASSED, SECOND, Left, Rate, Unit
from fastmock.limits.stores import Here, Shared, Store, Table
from fastmock.wire import Ask, Headers, Request

_MOST_KNOWN = 4096  # keys and models whose rates are remembered

_UNITS: tuple[Unit, ...] = ("requests", "tokens", "input", "output")
_NAMES: tuple[tuple[str, Unit, int, str], ...] = (
    ("quota_requests", "requests", FOR_EVER, "quota"),
    ("quota_tokens", "tokens", FOR_EVER, "quota"),
    ("requests_per_minute", "requests", MINUTE, "requests per min (RPM)"),
    ("requests_per_day", "requests", DAY, "requests per day (RPD)"),
    ("tokens_per_minute", "tokens", MINUTE, "tokens per min (TPM)"),
    ("tokens_per_day", "tokens", DAY, "tokens per day (TPD)"),
    ("input_tokens_per_minute", "input", MINUTE, "input tokens per min (ITPM)"),
    ("output_tokens_per_minute", "output", MINUTE, "output tokens per min (OTPM)"),
)
"""The settings, what they limit, and what the API calls it; in the order in which the first that is hit is named."""


class _Known(NamedTuple):
    """What holds for an API key and a model.

    Attributes:
        key: what is left is kept under it.
        rates: the rates.
        of: picks for each rate what is taken of its unit, from what is taken of all ``_UNITS``.
        openais, anthropics: the headers that show what is left.
    """

    key: int
    rates: tuple[Rate, ...]
    of: Callable[[tuple[int, ...]], Sequence[int]]
    openais: tuple["_Shown", ...]
    anthropics: tuple["_Shown", ...]


class _Shown(NamedTuple):
    """The headers of a rate, given by its place: the limit, and the names of what remains and of the reset."""

    place: int
    limit: tuple[str, str]
    remaining: str
    reset: str


class RateLimits:
    """The limits of a configuration."""

    def __init__(self, limits: Limits, table: Table, findings: Findings) -> None:
        """Compile them; what is wrong goes to ``findings``."""
        fixed = limits.algorithm == "fixed_window"
        self._limits = limits
        self._globs = [
            (re.compile(translate(entry.api_key or "*")).match, re.compile(translate(entry.model or "*")).match, entry)
            for entry in limits.per
        ]
        self._known: dict[tuple[str | None, str], _Known] = {}
        self._sum = limits.estimate == "sum"
        self.any = any(next(_rates(entry, False), None) for entry in (limits, *limits.per))
        self._store: Store = Here(table, fixed, limits.count_refused)
        if limits.store is not None:
            try:
                self._store = Shared(limits.store, fixed, limits.count_refused)
            except ImportError:
                findings.error(("limits", "store"), "needs the extra: pip install 'fastmock[redis]'")
            except ValueError as error:
                findings.error(("limits", "store"), str(error))

    def take(self, ask: Ask) -> Headers:
        """Let a request through whose answer is made, and return the headers that say what is left.

        Raises:
            ApiError: it is not let through.
        """
        request = ask.request
        assert request is not None  # noqa: S101 - it is being answered
        sent = request.headers.get("authorization")
        known = self._known.get((sent, ask.model)) or self._of(request, sent, ask.model)
        if known is None:
            return ()
        body, prompt, said = ask.body, ask.prompt_tokens, ask.completion_tokens
        cap = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        most = prompt + cap if self._sum else cap if cap > prompt else prompt
        estimates = known.of((1, most, prompt, cap))
        verdict = self._store.take(known.key, known.rates, estimates, known.of((1, prompt + said, prompt, said)))
        if verdict is None:  # the store is gone
            return ()
        refused, wait, left = verdict
        theirs = ask.endpoint == "messages"
        headers = _anthropics(known.anthropics, left) if theirs else _openais(known.openais, left)
        if refused == PASSED:
            return headers
        raise _refusal(ask.model, request, known.rates, refused, estimates, left, wait, headers)

    def _of(self, request: Request, sent: str | None, model: str) -> _Known | None:
        """Return what holds for who asks and for a model."""
        try:
            api_key = key_of(request)
        except errors.ApiError:  # none is asked for
            api_key = ""
        fits = ((place, entry) for place, (key, of, entry) in enumerate(self._globs) if key(api_key) and of(model))
        place, entry = next(fits, (-1, self._limits))
        rates = tuple(_rates(entry, self._limits.quantize))
        hashed = blake2b(f"{place}:{rates}:{api_key}".encode(errors="replace"), digest_size=8).digest()
        known = _known(int.from_bytes(hashed, "big") or 1, rates) if rates else None
        if sent and known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[sent, model] = known
        return known


def _refusal(
    model: str,
    request: Request,
    rates: tuple[Rate, ...],
    refused: int,
    estimates: Sequence[int],
    left: Left,
    wait: int,
    headers: Headers,
) -> errors.ApiError:
    """Say why a request is not let through, and when it would be."""
    theirs = anthropic.speaks(request)
    limit_reached = anthropic.limit_reached if theirs else errors.limit_reached
    too_much_at_once = anthropic.too_much_at_once if theirs else errors.too_much_at_once
    for rate, estimate in zip(rates, estimates, strict=True):
        if estimate > rate.limit and rate.period != FOR_EVER:  # it would never be
            return too_much_at_once(model, rate.label, rate.unit, rate.limit, estimate).but(headers=headers)
    rate = rates[refused]
    if rate.period == FOR_EVER:
        return errors.quota_exceeded().but(headers=headers)
    used = rate.limit - left[refused][0]
    exact = ceil(wait / 1000)
    error = limit_reached(model, rate.label, rate.unit, rate.limit, used, estimates[refused], duration(exact))
    return error.but(headers=(("retry-after", str(ceil(exact / 1000))), ("retry-after-ms", str(exact)), *headers))


def _known(key: int, rates: tuple[Rate, ...]) -> _Known:
    """Prepare what can be known before a request comes."""
    units = [_UNITS.index(rate.unit) for rate in rates]
    # Of one place alone itemgetter would return no tuple.
    of = itemgetter(*units) if len(units) > 1 else lambda all_: (all_[units[0]],)
    first: dict[Unit, int] = {}  # of the rates of a unit that of the shortest period is shown
    for place, rate in enumerate(rates):
        if rate.period != FOR_EVER:
            first.setdefault(rate.unit, place)
    openais, anthropics = [], []
    for unit, place in first.items():
        limit = str(rates[place].limit)
        if unit in ("requests", "tokens"):
            names = f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"
            openais.append(_Shown(place, (f"x-ratelimit-limit-{unit}", limit), *names))
        name = f"anthropic-ratelimit-{unit}-tokens" if unit in ("input", "output") else f"anthropic-ratelimit-{unit}"
        anthropics.append(_Shown(place, (f"{name}-limit", limit), f"{name}-remaining", f"{name}-reset"))
    return _Known(key, rates, of, tuple(openais), tuple(anthropics))


def _rates(given: Rates, quantize: bool) -> Iterator[Rate]:
    for name, unit, period, label in _NAMES:
        limit = getattr(given, name)
        if limit is not None:
            burst = max(SECOND, period // limit) if quantize and unit == "requests" else period
            yield Rate(unit, limit, period, min(burst, period), label)


def _openais(shown: Sequence[_Shown], left: Left) -> Headers:
    headers: list[tuple[str, str]] = []
    for place, limit, remaining, reset in shown:
        remains, full = left[place]
        full = -(-full // 1000)
        headers += (limit, (remaining, str(remains)), (reset, _SHORT[full] if full < 1000 else duration(full)))
    return tuple(headers)


def _anthropics(shown: Sequence[_Shown], left: Left) -> Headers:
    headers: list[tuple[str, str]] = []
    now = datetime.now(UTC)
    for place, limit, remaining, reset in shown:
        remains, full = left[place]
        at = (now + timedelta(microseconds=full)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        headers += (limit, (remaining, str(remains)), (reset, at))
    return tuple(headers)


_SHORT = ["0s", *(f"{milliseconds}ms" for milliseconds in range(1, 1000))]


def duration(milliseconds: int) -> str:
    """Write a time as Go does, as the API's headers have it: ``6m0s``, ``1.2s``, ``17ms``."""
    if milliseconds < 1000:
        return _SHORT[milliseconds]
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{text}" if hours else f"{minutes}m{text}" if minutes else text
