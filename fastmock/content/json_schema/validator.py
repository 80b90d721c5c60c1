"""Validate values against a JSON Schema: enumerated values, and candidates."""

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

from fastmock.content.json_schema.formats import FORMATS
from fastmock.content.json_schema.nodes import Path, SchemaError
from fastmock.content.json_schema.work import Work

ALSO = "$also"
"""A keyword of merged schemas: parts of one that could not be merged into the other, and are required too."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


class Checker:
    """Validates values; unknown keywords are ignored."""

    def __init__(self, resolve: Callable[[Any, Path], tuple[Any, Path]], work: Work) -> None:
        """Take a function that resolves references, and the shared work."""
        self._resolve = resolve
        self.work = work
        self._followed: set[tuple[str, int]] = set()
        self._cut = 0  # times that a reference led back to itself
        self._known: dict[tuple[str, int], bool] = {}  # for the current value

    def fits(self, schema: Any, value: Any) -> bool:
        """Return whether ``value`` conforms to ``schema``.

        Raises:
            SchemaError: the schema is invalid.
        """
        if not isinstance(schema, dict):
            return schema is not False
        kind = _kind(value)
        self.work.spend(2 + len(schema))
        for word, asked in schema.items():
            met = _ANY.get(word) or _OF_KIND[kind].get(word)
            if met is not None and not met(self, asked, value, schema):
                return False
        return True

    def admits(self, schema: Any, value: Any, path: Path) -> bool:
        """Validate against a schema at ``path``; raise SchemaError also for keywords with invalid values."""
        self._known.clear()
        try:
            return self.fits(schema, value)
        except (TypeError, ValueError, AttributeError, ArithmeticError):
            raise SchemaError(path, "has a keyword with a value that it cannot have") from None
        finally:
            self._followed.clear()

    def follows(self, pointer: Any, value: Any, schema: Mapping[str, Any]) -> bool:
        """Return whether ``value`` conforms to the target of a reference."""
        followed = (str(pointer), id(value))
        if followed in self._followed:  # infinite recursion
            self._cut += 1
            return False
        known = self._known.get(followed)
        if known is not None:
            return known
        self._followed.add(followed)
        cut = self._cut
        fits = self.fits(self._resolve(pointer, ())[0], value)
        self._followed.discard(followed)
        if self._cut == cut:  # otherwise the result holds only within the recursion
            self._known[followed] = fits
        return fits

    def count(self, schemas: Iterable[Any], value: Any) -> int:
        """Return the number of ``schemas`` that a value conforms to."""
        return sum(self.fits(schema, value) for schema in schemas)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _is_type(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    if isinstance(asked, list):
        checker.work.spend(len(asked) // 3)
    for kind in asked if isinstance(asked, list) else [asked]:
        is_one = isinstance(value, _TYPES.get(str(kind), ())) and (kind == "boolean" or not isinstance(value, bool))
        if is_one and (kind != "integer" or not isinstance(value, float) or value.is_integer()):
            return True
    return False


def _if(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    return checker.fits(schema.get("then" if checker.fits(asked, value) else "else", True), value)


def _depends(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    checker.work.spend(len(asked) // 10)
    return all(
        _has(checker, needed, value, schema) if isinstance(needed, list) else checker.fits(needed, value)
        for name, needed in asked.items()
        if name in value
    )


def _has(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    checker.work.spend(len(asked) // 10)
    return all(name in value for name in asked)


def _is_listed(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    return checker.work.key(value) in checker.work.keys(asked)


def _is_unique(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    return asked is not True or len(checker.work.distinct(value)) == len(value)


def _properties(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    checker.work.spend(len(asked) // 10)
    return all(checker.fits(part, value[name]) for name, part in asked.items() if name in value)


def _pattern_properties(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    return all(
        checker.fits(part, value[name])
        for pattern, part in asked.items()
        for name in value
        if checker.work.found_in(pattern, name, ())
    )


def _additional(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    checker.work.spend(len(value) // 10)
    return all(
        checker.fits(asked, part)
        for name, part in value.items()
        if name not in named and not any(checker.work.found_in(pattern, name, ()) for pattern in patterns)
    )


def _items(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    if isinstance(asked, list):
        return _prefix(checker, asked, value, schema)
    return all(checker.fits(asked, part) for part in value[len(schema.get("prefixItems", ())) :])


def _prefix(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    return all(checker.fits(part, one) for part, one in zip(asked, value, strict=False))


def _further(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    first = schema.get("items")
    return not isinstance(first, list) or all(checker.fits(asked, part) for part in value[len(first) :])


def _contains(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    found = sum(checker.fits(asked, part) for part in value)
    return bool(schema.get("minContains", 1) <= found <= schema.get("maxContains", math.inf))


def _is_multiple(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    checker.work.spend(20)
    return Fraction(str(value)) % Fraction(str(asked)) == 0


def _has_format(checker: Checker, asked: Any, value: Any, schema: Mapping[str, Any]) -> bool:
    checker.work.spend(1 + len(value) // 10)
    return asked not in FORMATS or FORMATS[asked].holds(value)


_Met = Callable[[Checker, Any, Any, Mapping[str, Any]], bool]

_ANY: Mapping[str, _Met] = {
    "$ref": Checker.follows,
    "type": _is_type,
    "enum": _is_listed,
    "const": lambda checker, asked, value, schema: checker.work.same(value, asked),
    "allOf": lambda checker, asked, value, schema: checker.count(asked, value) == len(asked),
    ALSO: lambda checker, asked, value, schema: checker.count(asked, value) == len(asked),
    "anyOf": lambda checker, asked, value, schema: any(checker.fits(part, value) for part in asked),
    "oneOf": lambda checker, asked, value, schema: checker.count(asked, value) == 1,
    "not": lambda checker, asked, value, schema: not checker.fits(asked, value),
    "if": _if,
}
_OF_KIND: Mapping[str, Mapping[str, _Met]] = {
    "": {},
    "string": {
        "minLength": lambda checker, asked, value, schema: len(value) >= asked,
        "maxLength": lambda checker, asked, value, schema: len(value) <= asked,
        "pattern": lambda checker, asked, value, schema: checker.work.found_in(asked, value, ()),
        "format": _has_format,
    },
    "number": {
        "minimum": lambda checker, asked, value, schema: value >= asked,
        "exclusiveMinimum": lambda checker, asked, value, schema: value > asked,
        "maximum": lambda checker, asked, value, schema: value <= asked,
        "exclusiveMaximum": lambda checker, asked, value, schema: value < asked,
        "multipleOf": _is_multiple,
    },
    "object": {
        "properties": _properties,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional,
        "required": _has,
        "minProperties": lambda checker, asked, value, schema: len(value) >= asked,
        "maxProperties": lambda checker, asked, value, schema: len(value) <= asked,
        "propertyNames": lambda checker, asked, value, schema: all(checker.fits(asked, name) for name in value),
        **dict.fromkeys(("dependentRequired", "dependentSchemas", "dependencies"), _depends),
    },
    "array": {
        "items": _items,
        "prefixItems": _prefix,
        "additionalItems": _further,
        "contains": _contains,
        "minItems": lambda checker, asked, value, schema: len(value) >= asked,
        "maxItems": lambda checker, asked, value, schema: len(value) <= asked,
        "uniqueItems": _is_unique,
    },
}
"""The check of each keyword, by the kind of value."""
