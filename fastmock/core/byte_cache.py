"""A cache of results, bounded in bytes."""

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def byte_cache(limit: int, size: Callable[[bytes, Any], int]) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator that caches a function of a JSON text and further arguments.

    The least recently used results are dropped first.

    Args:
        limit: maximum size of all results, in bytes.
        size: estimates the bytes of a result from the text and the result. A result larger than half of the limit is
            not cached.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        kept: OrderedDict[object, tuple[_R, int]] = OrderedDict()
        lock = Lock()
        total = 0

        @wraps(function)
        def cached(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            nonlocal total
            entry = kept.get(args)
            if entry is not None:
                try:  # noqa: SIM105 - suppress() costs more than all else here
                    kept.move_to_end(args)
                except KeyError:  # dropped in the meantime by another thread
                    pass
                return entry[0]
            result = function(*args, **kwargs)
            text = args[0]
            assert isinstance(text, bytes)  # noqa: S101 - it is the key
            bytes_ = size(text, result)
            if bytes_ > limit // 2:
                return result
            with lock:
                total += bytes_ - kept.pop(args, (result, 0))[1]
                kept[args] = (result, bytes_)
                while total > limit:
                    total -= kept.popitem(last=False)[1][1]
            return result

        return cached

    return decorate


def parsed_size(text: bytes, result: object) -> int:
    """Estimate the size of a value parsed from JSON: 20 bytes per byte of its text, plus the overhead of an entry."""
    return 20 * len(text) + 1000
