"""Request bodies as JSON."""

from typing import Any

import orjson

from fastmock.core import errors

_LARGE_BODY = 1 << 18  # bytes; a shorter one cannot hold too many values
_MOST_VALUES = 1_000_000  # which take up to 100 MB when they are parsed
_DEEP_BODY, _MOST_LEVELS = 500, 250  # bytes that a body has at least that is nested so deep


def parse(body: str | bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``, whatever content type it was sent with."""
    may_be_deep = len(body) > _DEEP_BODY
    if len(body) > _LARGE_BODY:
        signs = ",[{" if isinstance(body, str) else (b",", b"[", b"{")
        commas, brackets, braces = [body.count(sign) for sign in signs]  # type: ignore[arg-type]
        if commas + 2 * brackets + 4 * braces > _MOST_VALUES:  # weighed by the memory that each kind of value takes
            raise errors.TooManyValues(_MOST_VALUES)
        may_be_deep = brackets + braces > _MOST_LEVELS
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise errors.InvalidJson() from None
    if type(parsed) is not dict:
        raise errors.InvalidJson()
    if may_be_deep:
        _check_depth(parsed)
    return parsed


def _check_depth(parsed: dict[str, Any]) -> None:
    """Refuse what could be read, but not be written again inside of an answer; it takes a fifth of reading it."""
    try:
        orjson.dumps([[[[parsed]]]])
    except TypeError:
        raise errors.BodyTooDeep(_MOST_LEVELS) from None


def as_json(value: Any, name: str) -> bytes:
    """Return a part of the request as JSON again: what equal parts have in common.

    It is a copy, since what orjson returns takes 4 KB at least, also where it is kept.
    """
    try:
        return bytes(memoryview(orjson.dumps(value)))
    except TypeError:  # parsing goes deeper than writing
        raise errors.InvalidParameter(name, "nested too deeply.") from None
