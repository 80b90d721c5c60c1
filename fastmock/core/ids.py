"""Ids that no two workers share."""

import itertools
import os

_prefix = ""
_count = itertools.count()


def unique() -> str:
    """Return 32 hexadecimal digits that no other call, on any worker, returns: 16 of the process, 16 of a counter."""
    return f"{_prefix}{next(_count):x}"


def _reseed() -> None:
    global _prefix, _count
    _prefix = os.urandom(8).hex()
    _count = itertools.count(1 << 60)  # sixteen digits without padding them


_reseed()
os.register_at_fork(after_in_child=_reseed)
