"""Follow the references of a JSON Schema, and merge ``allOf`` with the keywords beside it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from fastmock.content.json_schema.merge import merged
from fastmock.content.json_schema.nodes import Path, SchemaError
from fastmock.content.json_schema.validator import ALSO
from fastmock.content.json_schema.work import Work


class References:
    """The references of one schema.

    Attributes:
        resolved: how many references were resolved so far; a schema that was merged is counted as often as it is used.
    """

    def __init__(self, schema: Any, work: Work) -> None:
        """``schema`` is the whole schema; the work is counted in ``work``."""
        self._schema = schema
        self._work = work
        self._flattened: dict[int, tuple[Any, dict[str, Any], int]] = {}
        self._pointed: dict[str, tuple[Any, Path]] = {}
        self.resolved = 0

    def resolve(self, pointer: Any, path: Path) -> tuple[Any, Path]:
        """Return the target of a reference, and its path."""
        self.resolved += 1
        self._work.spend(2)
        if isinstance(pointer, str) and pointer in self._pointed:
            return self._pointed[pointer]
        if not isinstance(pointer, str) or not (pointer == "#" or pointer.startswith("#/")):
            raise SchemaError((*path, "$ref"), f"only references inside the schema can be followed, not {pointer!r}")
        found: Any = self._schema
        at: Path = ()
        self._work.spend(len(pointer) // 10)
        for part in pointer.split("/")[1:]:
            name: str | int = unquote(part).replace("~1", "/").replace("~0", "~")
            try:
                name = int(name) if isinstance(found, list) else name
                found = found[name]
            except (KeyError, IndexError, TypeError, ValueError):
                raise SchemaError((*path, "$ref"), f"there is no {pointer}") from None
            at = (*at, name)
        self._pointed[pointer] = (found, at)
        return found, at

    def flat(self, schema: dict[str, Any], path: Path, passed: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Merge ``allOf`` and a reference with the keywords beside them."""
        if "allOf" not in schema and "$ref" not in schema:
            return schema
        known = self._flattened.get(id(schema))
        if known is None:
            resolved = self.resolved
            flat = self._flat_of(schema, path, passed)
            known = self._flattened[id(schema)] = (schema, flat, self.resolved - resolved)
        else:
            self.resolved += known[2]  # counted as often as when it was computed
        return known[1]

    def _flat_of(self, schema: dict[str, Any], path: Path, passed: frozenset[str]) -> dict[str, Any]:
        flat = {key: value for key, value in schema.items() if key not in ("allOf", "$ref")}
        parts = [(part, (*path, "allOf", place)) for place, part in enumerate(schema.get("allOf", ()))]
        if "$ref" in schema:
            if schema["$ref"] in passed:
                raise SchemaError((*path, "$ref"), "contains itself without end")
            parts.append(self.resolve(schema["$ref"], path))
            passed |= {schema["$ref"]}
        laid: set[int] = set()
        for part, at in parts:
            self._work.spend(2)
            if part is False:
                raise SchemaError(at, "nothing is allowed here")
            if isinstance(part, dict):
                check_keywords(part, at)
                more = self.flat(part, at, passed)
                if id(more) not in laid:
                    laid.add(id(more))
                    flat = merged(flat, more, at, self._work) if flat else more
        return flat


_KEYWORDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "enum", "required", "prefixItems", ALSO), ((list,), "a list")),
    **dict.fromkeys(("properties", "patternProperties"), ((dict,), "an object")),
    **dict.fromkeys(("additionalProperties", "additionalItems"), ((dict, bool), "an object or a boolean")),
    **dict.fromkeys(("$ref", "pattern", "format"), ((str,), "a string")),
    "items": ((dict, bool, list), "an object or a boolean"),
    "type": ((str, list), "a string or a list of strings"),
}
"""The allowed types of a keyword's value."""


def check_keywords(schema: Mapping[str, Any], path: Path) -> None:
    """Raise SchemaError where the value of a keyword has a wrong type."""
    for key, (kinds, what) in _KEYWORDS.items():
        if key in schema and not isinstance(schema[key], kinds):
            raise SchemaError((*path, key), f"must be {what}")
