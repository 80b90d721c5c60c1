"""Rate limits: refuse requests above the limits, with the headers and errors of the APIs."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import translate
from hashlib import blake2b
from math import ceil
from operator import itemgetter
from typing import NamedTuple

from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.credentials import key_in, without_session
from fastmock.core.http import Headers, Reply, Request, ResponseHead, Stream
from fastmock.core.provider import LimitHeaders, Provider, provider_of
from fastmock.limits.bucket import DAY, FOR_EVER, MINUTE, PASSED, SECOND, Left, Rate, Unit
from fastmock.limits.settings import Limits, Rates
from fastmock.limits.stores import Here, Shared, Store, Table
from fastmock.replication.connection import Connection
from fastmock.shared.counters import Candidates

_MOST_KNOWN = 4096  # keys and models whose rates are remembered
_MOST_HEADS = 256

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
"""The settings, the unit and period that each limits, and the API's label; the first exceeded one in this order is
reported.
"""


class _Known(NamedTuple):
    """The limits of an API key and a model.

    Attributes:
        key: the key of the remaining amounts in the store.
        rates: the rates.
        of: selects for each rate the amount of its unit from the amounts of all ``_UNITS``.
        shown: the response headers that report the limits.
    """

    key: int
    rates: tuple[Rate, ...]
    of: Callable[[tuple[int, ...]], Sequence[int]]
    shown: "Shown"


class Shown:
    """The headers that report limits and remaining amounts.

    Attributes:
        heads: response heads, and the same heads with these headers.
    """

    def __init__(
        self,
        places: Sequence[int],
        limits: Headers,
        left: tuple[str, ...],
        reset: Callable[[int], str],
        short: Sequence[str],
    ) -> None:
        """Prepare the headers.

        Args:
            places: the indexes of the reported rates.
            limits: the headers with the limits themselves.
            left: the names of the headers with the remaining amount and the time until full, for each rate in turn.
            reset: formats a time until full, given in milliseconds.
            short: formatted values for the shortest times, by milliseconds.
        """
        self._places = places
        self._limits = limits
        self._left = left
        self._reset = reset
        self._short = short
        self.heads: dict[ResponseHead, ResponseHead] = {}

    def with_limits(self, head: ResponseHead) -> ResponseHead:
        """Return a response head with these headers, and keep it in ``heads``."""
        if len(self.heads) >= _MOST_HEADS:
            self.heads.clear()
        extended = self.heads[head] = head.replace((*head.headers, *self._limits), self._left)
        return extended

    def values(self, left: Left) -> tuple[str, ...]:
        """Return the values of the headers that vary."""
        short = self._short
        values: list[str] = []
        for place in self._places:
            remains, full = left[place]
            values.append(str(remains))
            milliseconds = -(-full // 1000)
            values.append(short[milliseconds] if milliseconds < len(short) else self._reset(milliseconds))
        return tuple(values)

    def of(self, values: Sequence[str]) -> Headers:
        """Return all of the headers, with the values that an answer has for them."""
        return (*self._limits, *zip(self._left, values[-len(self._left) :], strict=True))


_Prepared = tuple[Callable[[tuple[int, ...]], Sequence[int]], Shown]
"""The prepared parts for rates and a provider: the last two fields of ``_Known``."""


class RateLimits:
    """The limits of a configuration."""

    def __init__(
        self, limits: Limits, sessions: Mapping[str, Rates], table: Table, connection: Connection | None = None
    ) -> None:
        """Compile the limits, and those of sessions; ``connection`` is that to a store that several servers share."""
        fixed = limits.algorithm == "fixed_window"
        self._limits = limits
        self._globs = [
            (re.compile(translate(entry.api_key or "*")).match, re.compile(translate(entry.model or "*")).match, entry)
            for entry in limits.per
        ]
        self._sessions = sessions
        self._known: dict[tuple[str | None, str, Provider, str], _Known] = {}
        self._prepared: dict[tuple[tuple[Rate, ...], Provider], _Prepared] = {}
        self._sum = limits.estimate == "sum"
        self.any = any(next(_rates(entry, False), None) for entry in (limits, *limits.per, *sessions.values()))
        here = Here(table, fixed, limits.count_refused)
        self._store: Store = here
        if connection is not None:
            self._store = Shared(connection, here, fixed, limits.count_refused)

    def take(self, chat: ChatRequest, answer: Reply | Stream, faults: Candidates | None = None) -> Shown | None:
        """Count a request whose answer is rendered, and add the headers with the remaining amounts; return these
        headers.

        ``faults`` are those of which one may be selected for it; see ``limits.stores.Store``.

        Raises:
            ApiError: a limit is exceeded.
        """
        request = chat.request
        assert request is not None  # noqa: S101 - set while a request is answered
        sent = request.authorization or request.headers.get("authorization")
        provider = provider_of(request)
        session = provider.session_of(request) if self._sessions else ""
        known = self._known.get((sent, chat.model, provider, session))
        known = known or self._of(request, sent, chat.model, provider, session)
        if known is None:
            return None
        prompt, said = chat.prompt_tokens, chat.completion_tokens
        cap = chat.max_tokens or 0
        most = prompt + cap if self._sum else cap if cap > prompt else prompt
        estimates = known.of((1, most, prompt, cap))
        actuals = known.of((1, prompt + said, prompt, said))
        refused, wait, left = self._store.take(known.key, known.rates, estimates, actuals, faults)
        shown = known.shown
        if refused == PASSED:
            answer.head = shown.heads.get(answer.head) or shown.with_limits(answer.head)
            answer.values = shown.values(left)
            return shown
        raise _refusal(chat.model, known.rates, refused, estimates, left, wait, shown.of(shown.values(left)))

    def _of(self, request: Request, sent: str | None, model: str, provider: Provider, session: str) -> _Known | None:
        """Return the limits of the request's API key, a model and a session; None without any."""
        api_key = provider.key_of(request) or ""  # a request may have no key
        fits = (
            (place, entry)
            for place, (key, of, entry) in enumerate(self._globs)
            if (key(api_key) or key(without_session(api_key))) and of(model)
        )
        place: int | str
        entry: Rates
        place, entry = next(fits, (-1, self._limits))
        if (own := self._sessions.get(session)) is not None:
            place, entry = f"session {session}", own
        rates = tuple(_rates(entry, self._limits.quantize))
        hashed = blake2b(
            f"{place}:{self._limits.algorithm}:{rates}:{api_key}".encode(errors="replace"), digest_size=8
        ).digest()
        if not rates:
            return None
        prepared = self._prepared.get((rates, provider))
        if prepared is None:  # bounded by the number of entries in the configuration
            prepared = self._prepared[rates, provider] = _prepare(rates, provider.limit_headers)
        known = _Known(int.from_bytes(hashed, "big") or 1, rates, *prepared)
        if sent and key_in(request.headers, "authorization"):  # otherwise another header identifies the client
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[sent, model, provider, session] = known
        return known


def _refusal(
    model: str,
    rates: tuple[Rate, ...],
    refused: int,
    estimates: Sequence[int],
    left: Left,
    wait: int,
    headers: Headers,
) -> errors.ApiError:
    """Return the error for a refused request: the exceeded limit, and the time to retry after."""
    for rate, estimate in zip(rates, estimates, strict=True):
        if estimate > rate.limit and rate.period != FOR_EVER:  # it could never pass
            too_small = errors.LimitTooSmall(model, rate.label, rate.unit, rate.limit, estimate)
            return too_small.replace(headers=headers, limit=rate.label, model=model)
    rate = rates[refused]
    if rate.period == FOR_EVER:
        return errors.QuotaExceeded().replace(headers=headers, limit=rate.label, model=model)
    used = rate.limit - left[refused][0]
    exact = ceil(wait / 1000)
    error = errors.LimitReached(model, rate.label, rate.unit, rate.limit, used, estimates[refused], exact)
    retry = ("retry-after", str(ceil(exact / 1000))), ("retry-after-ms", str(exact))
    return error.replace(headers=(*retry, *headers), limit=rate.label, model=model)


def _prepare(rates: tuple[Rate, ...], headers: LimitHeaders) -> _Prepared:
    """Prepare the parts that do not depend on a request."""
    units = [_UNITS.index(rate.unit) for rate in rates]
    # With a single index itemgetter would not return a tuple.
    of = itemgetter(*units) if len(units) > 1 else lambda all_: (all_[units[0]],)
    first: dict[Unit, int] = {}  # of the rates of a unit the one with the shortest period is reported
    for place, rate in enumerate(rates):
        if rate.period != FOR_EVER:
            first.setdefault(rate.unit, place)
    shown = [unit for unit in first if unit in headers.names]
    names = [headers.names[unit] for unit in shown]
    places = [first[unit] for unit in shown]
    limits = [(name.format("limit"), str(rates[place].limit)) for name, place in zip(names, places, strict=True)]
    left = [name.format(what) for name in names for what in ("remaining", "reset")]
    return of, Shown(places, tuple(limits), tuple(left), headers.reset, headers.short)


def _rates(given: Rates, quantize: bool) -> Iterator[Rate]:
    for name, unit, period, label in _NAMES:
        limit = getattr(given, name)
        if limit is not None:
            burst = max(SECOND, period // limit) if quantize and unit == "requests" else period
            yield Rate(unit, limit, period, min(burst, period), label)
