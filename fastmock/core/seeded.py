"""Reproducible random numbers: from the seed, a purpose and the request's key."""

import os
from collections.abc import Callable
from hashlib import blake2b
from itertools import count

from fastmock.core.http import Request

KEY_HEADER = "x-fastmock-key"

Draw = Callable[[Request], float]
"""Returns a number of at least 0 and below 1 for a request."""

_ordinal = count()


def _restart() -> None:
    global _ordinal
    _ordinal = count()


os.register_at_fork(after_in_child=_restart)


def seeded_hash(seed: int, purpose: str) -> Callable[[Request | None], int]:
    """Return a function from a request to its 56-bit random number for ``purpose``.

    The key of a request is the header ``x-fastmock-key`` if present: the same key gives the same number on every
    worker, machine and run. Otherwise it is the body, the number of the retry, and the request's ordinal on its worker,
    so that equal requests get different numbers and a retry can succeed. Without a request it is the ordinal.
    """
    base = f"{seed}:{purpose}:".encode()

    def number(request: Request | None) -> int:
        key = request.headers.get(KEY_HEADER) if request else None
        if request is None:
            hashed = blake2b(b"%b%d" % (base, next(_ordinal)), digest_size=7)
        elif key is not None:
            hashed = blake2b(base + b"key:" + key.encode(), digest_size=7)
        else:
            body = request.body if isinstance(request.body, bytes) else request.body.encode()
            retry = request.headers.get("x-stainless-retry-count") or "0"
            hashed = blake2b(b"%b%b:%d:%b" % (base, retry.encode(), next(_ordinal), body), digest_size=7)
        return int.from_bytes(hashed.digest(), "big")

    return number


def seeded_draw(seed: int, purpose: str) -> Draw:
    """Return the draw for ``purpose``; see ``seeded_hash``."""
    number = seeded_hash(seed, purpose)
    return lambda request: number(request) / (1 << 56)
