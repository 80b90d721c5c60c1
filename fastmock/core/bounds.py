"""Bounds on the values of a configuration or of a change to it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MAX_DEPTH = 50
"""Nesting levels of objects and lists."""
MAX_VALUES = 2_000_000
"""Total number of values; a value that a YAML alias repeats counts each time."""


class BoundsError(Exception):
    """A value that is too deep or too large; the message continues the name of the value."""


def check_bounds(value: Any) -> None:
    """Check a value parsed from JSON or YAML.

    Raises:
        BoundsError: the value is nested too deeply or contains too many values.
    """
    open_: list[Iterator[Any]] = [iter((value,))]
    left = MAX_VALUES
    while open_:
        inner = next(open_[-1], open_)
        if inner is open_:
            open_.pop()
            continue
        left -= 1
        if isinstance(inner, dict | list | tuple):
            if len(open_) > MAX_DEPTH:
                raise BoundsError(f"is nested deeper than {MAX_DEPTH} levels")
            if inner:
                parts: Iterable[Any] = inner.values() if isinstance(inner, Mapping) else inner
                open_.append(iter(parts))
        if left < 0:
            raise BoundsError(f"holds more than {MAX_VALUES} values")
