"""Rate limits: who is let through, and the headers and errors in which the APIs say so."""

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from hashlib import blake2b
from math import ceil
from operator import itemgetter
from typing import NamedTuple

from fastmock.core import errors
from fastmock.core.credentials import bare, key_in
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.http import ChatRequest, Headers, Reply, Request, ResponseHead, Stream
from fastmock.core.provider import LimitHeaders, Provider, provider_of
from fastmock.limits.bucket import DAY, FOR_EVER, MINUTE, PASSED, SECOND, Left, Rate, Unit
from fastmock.limits.settings import Limits, Rates
from fastmock.limits.stores import Here, Shared, Store, StoreOptionError, Table

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
"""The settings, what they limit, and what the API calls it; in the order in which the first that is hit is named."""


class _Known(NamedTuple):
    """What holds for an API key and a model.

    Attributes:
        key: what is left is kept under it.
        rates: the rates.
        of: picks for each rate what is taken of its unit, from what is taken of all ``_UNITS``.
        shown: the headers that show what is left.
    """

    key: int
    rates: tuple[Rate, ...]
    of: Callable[[tuple[int, ...]], Sequence[int]]
    shown: "Shown"


class Shown:
    """The headers that show limits and what is left of them.

    Attributes:
        heads: those of answers, and the same with these headers.
    """

    def __init__(
        self,
        places: Sequence[int],
        limits: Headers,
        left: tuple[str, ...],
        reset: Callable[[int], str],
        short: Sequence[str],
    ) -> None:
        """Begin.

        Args:
            places: of the rates that are shown.
            limits: the headers with the limits themselves.
            left: the names of those that say what remains, and when it is full again, for each in turn.
            reset: writes that, given in milliseconds from now.
            short: the same for the shortest, ready.
        """
        self._places = places
        self._limits = limits
        self._left = left
        self._reset = reset
        self._short = short
        self.heads: dict[ResponseHead, ResponseHead] = {}

    def made(self, head: ResponseHead) -> ResponseHead:
        """Return the head of an answer with them, and keep it in ``heads``."""
        if len(self.heads) >= _MOST_HEADS:
            self.heads.clear()
        made = self.heads[head] = head.but((*head.headers, *self._limits), self._left)
        return made

    def values(self, left: Left) -> tuple[str, ...]:
        """Return the values of those that vary."""
        short = self._short
        values: list[str] = []
        for place in self._places:
            remains, full = left[place]
            values.append(str(remains))
            milliseconds = -(-full // 1000)
            values.append(short[milliseconds] if milliseconds < len(short) else self._reset(milliseconds))
        return tuple(values)

    def of(self, values: Sequence[str]) -> Headers:
        """Return them all, with the values that an answer has of them."""
        return (*self._limits, *zip(self._left, values[-len(self._left) :], strict=True))


_Prepared = tuple[Callable[[tuple[int, ...]], Sequence[int]], Shown]
"""What is known of rates and a provider: the last two fields of ``_Known``."""


class RateLimits:
    """The limits of a configuration."""

    def __init__(self, limits: Limits, table: Table, diagnostics: Diagnostics) -> None:
        """Compile them; what is wrong goes to ``diagnostics``."""
        fixed = limits.algorithm == "fixed_window"
        self._limits = limits
        self._globs = [
            (re.compile(translate(entry.api_key or "*")).match, re.compile(translate(entry.model or "*")).match, entry)
            for entry in limits.per
        ]
        self._known: dict[tuple[str | None, str, Provider], _Known] = {}
        self._prepared: dict[tuple[tuple[Rate, ...], Provider], _Prepared] = {}
        self._sum = limits.estimate == "sum"
        self.any = any(next(_rates(entry, False), None) for entry in (limits, *limits.per))
        self._store: Store = Here(table, fixed, limits.count_refused)
        if limits.store is not None and not self.any:
            diagnostics.warn(("limits", "store"), "has no effect, for nothing is limited")
        if limits.store is not None:
            try:
                self._store = Shared(limits.store, table, fixed, limits.count_refused)
            except ImportError:
                diagnostics.error(("limits", "store"), "needs the extra: pip install 'fastmock[redis]'")
            except StoreOptionError as error:
                diagnostics.error(("limits", "store"), str(error))
            except ValueError as error:
                fault = "is no URL of a store" if "@" in limits.store or "?" in limits.store else str(error)
                diagnostics.error(("limits", "store"), fault)  # a password is shown to nobody

    def take(self, chat: ChatRequest, answer: Reply | Stream) -> Shown | None:
        """Let a request through whose answer is made, and put the headers on it that say what is left; return them.

        Raises:
            ApiError: it is not let through.
        """
        request = chat.request
        assert request is not None  # noqa: S101 - it is being answered
        sent = request.authorization or request.headers.get("authorization")
        provider = provider_of(request)
        known = self._known.get((sent, chat.model, provider)) or self._of(request, sent, chat.model, provider)
        if known is None:
            return None
        prompt, said = chat.prompt_tokens, chat.completion_tokens
        cap = chat.max_tokens or 0
        most = prompt + cap if self._sum else cap if cap > prompt else prompt
        estimates = known.of((1, most, prompt, cap))
        verdict = self._store.take(known.key, known.rates, estimates, known.of((1, prompt + said, prompt, said)))
        if verdict is None:  # the store is gone
            return None
        refused, wait, left = verdict
        shown = known.shown
        if refused == PASSED:
            answer.head = shown.heads.get(answer.head) or shown.made(answer.head)
            answer.values = shown.values(left)
            return shown
        raise _refusal(chat.model, known.rates, refused, estimates, left, wait, shown.of(shown.values(left)))

    def _of(self, request: Request, sent: str | None, model: str, provider: Provider) -> _Known | None:
        """Return what holds for who asks and for a model."""
        api_key = provider.key_of(request) or ""  # none may be asked for
        fits = (
            (place, entry)
            for place, (key, of, entry) in enumerate(self._globs)
            if (key(api_key) or key(bare(api_key))) and of(model)
        )
        place, entry = next(fits, (-1, self._limits))
        rates = tuple(_rates(entry, self._limits.quantize))
        hashed = blake2b(
            f"{place}:{self._limits.algorithm}:{rates}:{api_key}".encode(errors="replace"), digest_size=8
        ).digest()
        if not rates:
            return None
        prepared = self._prepared.get((rates, provider))
        if prepared is None:  # they are as many as the configuration has
            prepared = self._prepared[rates, provider] = _prepare(rates, provider.limit_headers)
        known = _Known(int.from_bytes(hashed, "big") or 1, rates, *prepared)
        if sent and key_in(request.headers, "authorization"):  # else another header tells who asks
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[sent, model, provider] = known
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
    """Say why a request is not let through, and when it would be."""
    for rate, estimate in zip(rates, estimates, strict=True):
        if estimate > rate.limit and rate.period != FOR_EVER:  # it would never be
            too_small = errors.LimitTooSmall(model, rate.label, rate.unit, rate.limit, estimate)
            return too_small.but(headers=headers, limit=rate.label, model=model)
    rate = rates[refused]
    if rate.period == FOR_EVER:
        return errors.QuotaExceeded().but(headers=headers, limit=rate.label, model=model)
    used = rate.limit - left[refused][0]
    exact = ceil(wait / 1000)
    error = errors.LimitReached(model, rate.label, rate.unit, rate.limit, used, estimates[refused], exact)
    told = ("retry-after", str(ceil(exact / 1000))), ("retry-after-ms", str(exact))
    return error.but(headers=(*told, *headers), limit=rate.label, model=model)


def _prepare(rates: tuple[Rate, ...], headers: LimitHeaders) -> _Prepared:
    """Prepare what can be known before a request comes."""
    units = [_UNITS.index(rate.unit) for rate in rates]
    # Of one place alone itemgetter would return no tuple.
    of = itemgetter(*units) if len(units) > 1 else lambda all_: (all_[units[0]],)
    first: dict[Unit, int] = {}  # of the rates of a unit that of the shortest period is shown
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
