"""When each scripted metric began, the same for all workers."""

import time
from collections.abc import Collection

from fastmock.shared.block import Share
from fastmock.shared.layout import SERVER

_MOST = 256
_KEYS = SERVER.reserve(_MOST)
_STARTS = SERVER.reserve(_MOST)


def starts_of(share: Share, keys: Collection[int]) -> dict[int, int]:
    """Return when scripts began, in nanoseconds of the monotonic clock.

    The first worker that asks begins a script; those of no key are forgotten, and begin anew if they come back.

    Args:
        share: the worker's part of the shared block.
        keys: identify the scripts, at most 256; not 0, and below 2**64.
    """
    numbers, found = share.numbers, dict[int, int]()
    with share.lock:
        for place in range(_MOST):
            if (key := numbers[_KEYS + place]) in keys:
                found[key] = numbers[_STARTS + place]
            else:
                numbers[_KEYS + place] = 0
        free = (place for place in range(_MOST) if not numbers[_KEYS + place])
        for key in keys:
            if key not in found:
                place = next(free)
                numbers[_KEYS + place] = key
                found[key] = numbers[_STARTS + place] = time.monotonic_ns()
    return found
