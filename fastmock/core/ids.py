"""Ids that are unique across workers."""

import itertools
import os

_prefix = ""
_count = itertools.count()


def unique() -> str:
    """Return 32 hexadecimal digits, unique across workers: 16 of the process and 16 of a counter."""
    return f"{_prefix}{next(_count):x}"


def _reseed() -> None:
    global _prefix, _count
    _prefix = os.urandom(8).hex()
    _count = itertools.count(1 << 60)  # sixteen digits without padding


_reseed()
os.register_at_fork(after_in_child=_reseed)
