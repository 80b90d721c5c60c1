"""Errors that a share of the requests gets (``server.simulate_errors``)."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from types import MappingProxyType

import orjson

from fastmock.api import errors
from fastmock.api.auth import Guard
from fastmock.config.model import ErrorType, Server
from fastmock.faults.draw import drawer
from fastmock.wire import Request

_MAKE: Mapping[ErrorType, Callable[[str], errors.ApiError]] = MappingProxyType(
    {
        "rate_limit": errors.rate_limited,
        "insufficient_quota": lambda _: errors.quota_exceeded(),
        "server_error": lambda _: errors.server_error(),
        "bad_gateway": lambda _: errors.bad_gateway(),
        "service_unavailable": lambda _: errors.overloaded(),
        "timeout": lambda _: errors.timed_out(),
    }
)


def simulator(settings: Server, seed: int) -> Guard | None:
    """Return what fails the configured share of the requests; None where none is to fail."""
    weights = {kind: weight for kind, weight in settings.error_types.items() if weight > 0}
    if not settings.simulate_errors or settings.error_rate == 0 or not weights:
        return None
    draw = drawer(seed, "simulate_errors")
    kinds = list(weights)
    # One draw decides whether and which: each kind has its stretch of the numbers from 0 to the rate.
    total = sum(weights.values())
    ends = [end / total * settings.error_rate for end in accumulate(weights.values())]
    ends[-1] = settings.error_rate

    def fail(request: Request) -> None:
        place = bisect_right(ends, draw(request))
        if place < len(kinds):
            raise _MAKE[kinds[place]](_model(request))

    return fail


def _model(request: Request) -> str:
    """Return the model asked for, for the texts that name it; this comes before the request is checked."""
    try:
        model = orjson.loads(request.body)["model"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        model = None
    return model if type(model) is str else "default"
