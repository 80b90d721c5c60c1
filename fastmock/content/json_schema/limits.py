"""The documented limits of OpenAI's Structured Outputs on schemas."""

from typing import Any

_MOST_PROPERTIES = 5_000
_MOST_LEVELS = 10
_MOST_ENUM_VALUES = 1_000
_LARGE_ENUM, _MOST_LARGE_ENUM_CHARACTERS = 250, 15_000
_MOST_CHARACTERS = 120_000  # of names, enum values and const values
_OPT_OUT = "Consider reducing the number of enums, or use 'strict: false' to opt out of structured outputs"

_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_OF_ONE_SCHEMA = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_OF_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_COUNTED = frozenset((*_OF_SCHEMAS, *_OF_ONE_SCHEMA, *_OF_NAMED_SCHEMAS, "enum", "const"))


def strict_violation(schema: dict[str, Any]) -> str | None:
    """Return the first limit of Structured Outputs that a schema exceeds, in OpenAI's words; None if it
    exceeds none.
    """
    size = _Size(schema)
    if size.levels > _MOST_LEVELS:
        return f"{size.levels} levels of nesting exceeds limit of {_MOST_LEVELS}"
    if size.properties > _MOST_PROPERTIES:
        return f"{size.properties} parameters exceeds limit of {_MOST_PROPERTIES}"
    if size.enum_values > _MOST_ENUM_VALUES:
        return (
            f"Expected at most {_MOST_ENUM_VALUES} enum values in total within a single schema when using structured "
            f"outputs, but received {size.enum_values}. {_OPT_OUT}"
        )
    if size.large_enum_characters > _MOST_LARGE_ENUM_CHARACTERS:
        return (
            f"Expected at most {_MOST_LARGE_ENUM_CHARACTERS} total characters across enum values when there are more "
            f"than {_LARGE_ENUM} enum values, but received {size.large_enum_characters}. {_OPT_OUT}"
        )
    if size.characters > _MOST_CHARACTERS:
        return (
            f"Expected at most {_MOST_CHARACTERS} total characters across property names, definition names, enum "
            f"values and const values, but received {size.characters}"
        )
    return None


class _Size:
    """The sizes of a schema: levels of nested objects and arrays, properties, values and characters."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.levels = self.properties = self.enum_values = self.large_enum_characters = self.characters = 0
        pending: list[tuple[Any, int]] = [(schema, 0)]
        while pending:
            part, level = pending.pop()
            if isinstance(part, dict):
                level += _nests(part)
                self.levels = max(self.levels, level)
                if part.keys().isdisjoint(_COUNTED):
                    continue
                self._count(part)
                pending += ((inner, 0 if word in ("$defs", "definitions") else level) for word, inner in _inside(part))

    def _count(self, part: dict[str, Any]) -> None:
        for word in _OF_NAMED_SCHEMAS:
            named = part.get(word)
            if isinstance(named, dict):
                self.properties += len(named) if word == "properties" else 0
                self.characters += sum(map(len, named))
        if isinstance(part.get("const"), str):
            self.characters += len(part["const"])
        values = part.get("enum")
        if isinstance(values, list):
            self.enum_values += len(values)
            characters = sum(len(value) for value in values if isinstance(value, str))
            self.characters += characters
            if len(values) > _LARGE_ENUM:
                self.large_enum_characters = max(self.large_enum_characters, characters)


def _nests(part: dict[str, Any]) -> bool:
    kinds = part.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return "object" in kinds or "array" in kinds or "properties" in part or "items" in part


def _inside(part: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the subschemas of a schema, each with its keyword."""
    found = [(word, part[word]) for word in _OF_ONE_SCHEMA if word in part]
    for word in _OF_SCHEMAS:
        if isinstance(part.get(word), list):
            found += [(word, inner) for inner in part[word]]
    for word in _OF_NAMED_SCHEMAS:
        if isinstance(part.get(word), dict):
            found += [(word, inner) for inner in part[word].values()]
    return found
