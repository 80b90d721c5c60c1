"""Merge two JSON Schemas into one that requires both."""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from fastmock.content.json_schema.nodes import Path, SchemaError
from fastmock.content.json_schema.scalars import to_number
from fastmock.content.json_schema.validator import ALSO
from fastmock.content.json_schema.work import Work

_MOST_ALTERNATIVES = 256
_LARGEST_MULTIPLE = 10**308


def merged(first: dict[str, Any], second: dict[str, Any], path: Path, work: Work) -> dict[str, Any]:
    """Return a schema that requires both."""
    work.spend(20 + len(first) + len(second))
    first, second = _with_first(first, second, work), _with_first(second, first, work)
    first, second = _with_others(first, second, path, work), _with_others(second, first, path, work)
    both = {**first, **second}
    also = [*first.get(ALSO, ()), *second.get(ALSO, ())]
    for one, other in ((first, second), (second, first)):
        if "patternProperties" in one and other.get("additionalProperties", True) is not True:
            also.append({word: other[word] for word in _CLOSING if word in other})
    for key in [key for key in first if key in second]:
        if key in _MERGERS:
            both[key] = _MERGERS[key](first[key], second[key], key, path, work)
        elif key in _APART and not work.same(first[key], second[key]):
            also.append({word: first[word] for word in _APART[key] if word in first})
            both = {word: asked for word, asked in both.items() if word not in _APART[key] or word in second}
    if also:
        work.spend(len(also))
        both[ALSO] = work.distinct(also)
    return both


def _with_others(one: dict[str, Any], other: dict[str, Any], path: Path, work: Work) -> dict[str, Any]:
    """Return ``one`` with its properties also restricted by ``other``, as far as ``other`` does not name them
    itself.
    """
    if "properties" not in one or other.keys().isdisjoint(("additionalProperties", "patternProperties")):
        return one
    named = other.get("properties", {})
    work.spend(len(one["properties"]))
    limited = {
        name: part if name in named else _all_of(part, unnamed(other, name, path, work)[0], "", path, work)
        for name, part in one["properties"].items()
    }
    return {**one, "properties": limited}


def _with_first(one: dict[str, Any], other: dict[str, Any], work: Work) -> dict[str, Any]:
    """Return ``one`` with at least as many ``prefixItems`` as ``other``."""
    first = one.get("prefixItems", [])
    more = len(other.get("prefixItems", [])) - len(first)
    work.spend(max(0, more) // 10)
    return {**one, "prefixItems": [*first, *[one.get("items", True)] * more]} if more > 0 else one


def unnamed(schema: Mapping[str, Any], name: str, path: Path, work: Work) -> tuple[Any, Path]:
    """Return the schema for a property not named in ``properties``, and its path."""
    found = [
        (part, pattern)
        for pattern, part in schema.get("patternProperties", {}).items()
        if work.found_in(pattern, name, path)
    ]
    if len(found) == 1:
        return found[0][0], (*path, "patternProperties", found[0][1])
    if found:
        return {"allOf": [part for part, _ in found]}, (*path, "patternProperties")
    return schema.get("additionalProperties", True), (*path, "additionalProperties")


def told_apart(schemas: list[dict[str, Any]], work: Work) -> bool:
    """Return whether a property that all schemas require has different values in each of them."""
    names = [frozenset(filter(_is_name, schema.get("required", ()))) for schema in schemas]
    work.spend(sum(map(len, names)) // 5)
    for name in sorted(frozenset.intersection(*names)):
        values: list[bytes] = []
        for schema in schemas:
            work.spend()
            own = _listed(schema.get("properties", {}).get(name), work)
            if not own:
                break
            values += own
        else:
            if len(values) == len(set(values)):
                return True
    return False


def _is_name(name: Any) -> bool:
    return isinstance(name, str)


def _listed(schema: Any, work: Work) -> frozenset[bytes]:
    """Return the values that a schema lists, if it does."""
    if not isinstance(schema, dict):
        return frozenset()
    if "const" in schema:
        return frozenset((work.key(schema["const"]),))
    listed = schema.get("enum")
    return work.keys(listed) if isinstance(listed, list) else frozenset()


def _higher(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    return max(to_number(one, key, path), to_number(other, key, path))


def _lower(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    return min(to_number(one, key, path), to_number(other, key, path))


def _all_of(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    if one is False or other is False:
        return False
    if one is True or other is True:
        return one if other is True else other
    parts: list[Any] = []
    for asked in (one, other):  # schemas merged before are not merged again, which ends the recursion
        inner = asked["allOf"] if isinstance(asked, dict) and asked.keys() == {"allOf"} else None
        parts += inner if isinstance(inner, list) else [asked]
    work.spend(len(parts))
    parts = work.distinct(parts)
    return parts[0] if len(parts) == 1 else {"allOf": parts}


def _both_properties(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    if not isinstance(one, dict) or not isinstance(other, dict):
        raise SchemaError((*path, key), "must be an object")
    work.spend((len(one) + len(other)) // 3)
    common = {name: _all_of(one[name], other[name], key, path, work) for name in one if name in other}
    return {**one, **other, **common}


def _both_lists(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    if not isinstance(one, list) or not isinstance(other, list):
        raise SchemaError((*path, key), "must be a list")
    work.spend((len(one) + len(other)) // 5)
    if key == "required":
        if not all(map(_is_name, (*one, *other))):
            raise SchemaError((*path, key), "must be a list of names")
        return list(dict.fromkeys((*one, *other)))
    if key == "enum":
        kept = work.keys(other)
        return [value for value in one if work.key(value) in kept]
    if work.same(one, other):
        return one
    if len(one) * len(other) > _MOST_ALTERNATIVES:
        raise SchemaError((*path, key), "has too many alternatives together with others")
    return [_all_of(a, b, key, path, work) for a in one for b in other]  # anyOf, oneOf


def _both_first(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    return [_all_of(a, b, key, path, work) for a, b in zip(one, other, strict=True)]


def _either(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    return one is True or other is True


def _one_value(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    if not work.same(one, other):
        raise SchemaError((*path, key), "cannot be two values at once")
    return one


def _common_multiple(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    a, b = Fraction(str(to_number(one, key, path))), Fraction(str(to_number(other, key, path)))
    numerator = math.lcm(a.numerator * b.denominator, b.numerator * a.denominator)
    both = Fraction(numerator, a.denominator * b.denominator)
    work.spend(20)
    if both > _LARGEST_MULTIPLE:
        raise SchemaError((*path, key), "has no multiple together with others that JSON can hold")
    return both.numerator if both.denominator == 1 else float(both)


def _common_types(one: Any, other: Any, key: str, path: Path, work: Work) -> Any:
    ones, others = (types if isinstance(types, list) else [types] for types in (one, other))
    work.spend(len(ones) * len(others) // 10)
    common = [kind for kind in ones if kind in others or (kind == "integer" and "number" in others)]
    common += [kind for kind in others if kind == "integer" and "number" in ones and kind not in common]
    if not common:
        raise SchemaError((*path, "type"), f"cannot be {one} and {other} at once")
    return common[0] if len(common) == 1 else common


_MERGERS: Mapping[str, Callable[[Any, Any, str, Path, Work], Any]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), _higher),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), _lower),
    **dict.fromkeys(("required", "enum", "anyOf", "oneOf"), _both_lists),
    **dict.fromkeys(("properties", "patternProperties"), _both_properties),
    **dict.fromkeys(("items", "additionalProperties", "propertyNames"), _all_of),
    "prefixItems": _both_first,
    "uniqueItems": _either,
    "const": _one_value,
    "type": _common_types,
    "multipleOf": _common_multiple,
}
"""Functions that merge two values of the same keyword."""

_CLOSING = ("properties", "patternProperties", "additionalProperties")

_APART: Mapping[str, tuple[str, ...]] = {
    **{word: (word,) for word in ("pattern", "format", "not")},
    **{word: (word,) for word in ("dependentRequired", "dependentSchemas", "dependencies")},
    "contains": ("contains", "minContains", "maxContains"),
    "if": ("if", "then", "else"),
}
"""Keywords whose two values cannot be merged, with the keywords that belong to them."""
