"""OpenAI's rules for the JSON Schemas of functions and of Structured Outputs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from fastmock.core import errors
from fastmock.core.byte_cache import byte_cache
from fastmock.core.json import as_json

_CACHE_BYTES = 4 * 2**20
_NOT_PERMITTED = ("oneOf", "allOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas")
_TYPE_KEYWORDS = frozenset(("type", "$ref", "anyOf", "enum", "const"))
_NAMED = ("properties", "$defs", "definitions", "patternProperties")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not")

Path = tuple[str, ...]


class Violation(NamedTuple):
    """A violated rule: its path and message; the path is None if the message names no place."""

    path: Path | None
    why: str

    def error(self, holder: str, param: str, code: str | None) -> errors.ApiError:
        """Return the violation as the API's error; ``holder`` names the function or format with the schema."""
        return errors.InvalidSchema(holder, param, code, self.path, self.why)


def violation(schema: dict[str, Any], strict: bool) -> Violation | None:
    """Return the first rule that a schema violates; None if it is valid.

    Args:
        schema: the schema of a function's parameters, or of a strict format.
        strict: whether the rules of Structured Outputs apply too.
    """
    return _violation(as_json(schema, "schema"), strict)


def check_strict_format(form: dict[str, Any], param: str, code: str | None) -> None:
    """Check the ``schema`` of a format with ``strict``; raise the API's error for a violation."""
    schema = form.get("schema")
    if form.get("strict") is True and type(schema) is dict and (found := violation(schema, strict=True)):
        raise found.error(f"response_format '{form.get('name')}'", param, code)


@byte_cache(_CACHE_BYTES, lambda text, result: len(text) + 500)
def _violation(source: bytes, strict: bool) -> Violation | None:
    schema = orjson.loads(source)
    kind = schema.get("type")
    if kind != "object" and (strict or schema) and not (type(kind) is list and "object" in kind):
        shown = kind if type(kind) is str else "None"
        return Violation(None, f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{shown}\"'")
    if not strict:
        if schema and type(schema.get("properties")) is not dict:
            return Violation((), "object schema missing properties")
        return next((found for path, part in _walk(schema) if (found := _array_violation(path, part))), None)
    return next((found for path, part in _walk(schema) if (found := _strict_violation(path, part))), None)


def _walk(schema: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a schema and all its subschemas in order, each with its path."""
    pending: list[tuple[Path, Any]] = [((), schema)]
    while pending:
        path, part = pending.pop()
        if type(part) is not dict:
            continue
        yield path, part
        inner: list[tuple[Path, Any]] = []
        for word in _NAMED:
            if type(named := part.get(word)) is dict:
                inner += [((*path, word, name), one) for name, one in named.items()]
        for word in _LISTED:
            if type(listed := part.get(word)) is list:
                inner += [((*path, word, str(place)), one) for place, one in enumerate(listed)]
        inner += [((*path, word), part[word]) for word in _SINGLE if word in part]
        pending += reversed(inner)


def _has_type(part: dict[str, Any], kind: str) -> bool:
    given = part.get("type")
    return given == kind or (type(given) is list and kind in given)


def _array_violation(path: Path, part: dict[str, Any]) -> Violation | None:
    if _has_type(part, "array") and "items" not in part and "prefixItems" not in part:
        return Violation(path, "array schema missing items")
    return None


def _strict_violation(path: Path, part: dict[str, Any]) -> Violation | None:
    for word in _NOT_PERMITTED:
        if word in part:
            return Violation(path, f"'{word}' is not permitted")
    if path and _TYPE_KEYWORDS.isdisjoint(part):
        return Violation(path, "schema must have a 'type' key")
    if not _has_type(part, "object") and "properties" not in part:
        return _array_violation(path, part)
    if part.get("additionalProperties") is not False:
        return Violation(path, "'additionalProperties' is required to be supplied and to be false")
    properties = part.get("properties")
    names = properties if type(properties) is dict else {}
    given = part.get("required")
    required = [name for name in given if type(name) is str] if type(given) is list else []
    why = "'required' is required to be supplied and to be an array including every key in properties."
    present = set(required)
    for name in names:
        if name not in present:
            return Violation(path, f"{why} Missing '{name}'")
    for name in required:
        if name not in names:
            return Violation(path, f"{why} Extra required key '{name}' supplied")
    return None
