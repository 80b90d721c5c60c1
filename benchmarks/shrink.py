"""Find a smaller request that fails like a given one."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import orjson

from benchmarks.http_client import HttpRequest

MAX_ATTEMPTS = 300


def shrunk(request: HttpRequest, fails: Callable[[HttpRequest], bool]) -> HttpRequest:
    """Return the smallest failing request found by dropping the query, headers, and parts of a JSON body.

    A request that does not fail again on its own is returned unchanged.
    """
    left = MAX_ATTEMPTS
    if not fails(request):
        return request
    progress = True
    while progress and left > 0:
        progress = False
        for smaller in _smaller(request):
            left -= 1
            if left <= 0:
                break
            if fails(smaller):
                request, progress = smaller, True
                break
    return request


def _smaller(request: HttpRequest) -> Iterator[HttpRequest]:
    if "?" in request.target:
        yield replace(request, target=request.target.partition("?")[0])
    if request.chunk_size:
        yield replace(request, chunk_size=0)
    for at in range(len(request.headers)):
        yield replace(request, headers=[*request.headers[:at], *request.headers[at + 1 :]])
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return
    for smaller in _smaller_values(body):
        yield replace(request, body=orjson.dumps(smaller))


def _smaller_values(value: Any) -> Iterator[Any]:
    """Yield a JSON value with one part removed, outer parts first, and with long strings truncated."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value) - 1, -1, -1):
            smaller = deepcopy(value)
            del smaller[key]
            yield smaller
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            for smaller_item in _smaller_values(item):
                smaller = deepcopy(value)
                smaller[key] = smaller_item
                yield smaller
    elif isinstance(value, str) and len(value) > 1:
        yield value[: len(value) // 2]
