"""Request bodies as JSON."""

from typing import Any

import orjson

from fastmock.core import errors

_LARGE_BODY = 1 << 18  # bytes; a smaller body cannot contain too many values
_MOST_VALUES = 1_000_000  # they take up to 100 MB when parsed
_DEEP_BODY, _MOST_LEVELS = 500, 250  # bytes, minimum size of a body with that many levels


def parse(body: str | bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``, for any content type."""
    may_be_deep = len(body) > _DEEP_BODY
    if len(body) > _LARGE_BODY:
        signs = ",[{" if isinstance(body, str) else (b",", b"[", b"{")
        commas, brackets, braces = [body.count(sign) for sign in signs]  # type: ignore[arg-type]
        if commas + 2 * brackets + 4 * braces > _MOST_VALUES:  # weighted by the memory that each kind of value takes
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
    """Reject a value that could be parsed, but not serialized inside a response; takes a fifth of the parsing time."""
    try:
        orjson.dumps([[[[parsed]]]])
    except TypeError:
        raise errors.BodyTooDeep(_MOST_LEVELS) from None


def as_json(value: Any, name: str) -> bytes:
    """Serialize a part of the request; equal parts give equal bytes.

    The result is a copy, since the one of orjson occupies at least 4 KB as long as it is kept.
    """
    try:
        return bytes(memoryview(orjson.dumps(value)))
    except TypeError:  # parsing allows more levels than serializing
        raise errors.InvalidParameter(name, "nested too deeply.") from None
