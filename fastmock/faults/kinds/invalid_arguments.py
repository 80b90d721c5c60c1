"""``invalid_arguments``: call a tool with arguments that break its schema in exactly one way."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal

import orjson
from pydantic import Field
from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault, tools_of
from fastmock.faults.settings import FaultSettings

_Object = dict[str, Any]
_Break = Callable[[_Object, _Object], _Object | None]
"""Returns broken arguments, given valid ones and their schema; None if the schema leaves no such way."""

_MOST_NUMBER, _LONGEST = 2**53, 10_000  # bounds of a schema up to which a value beyond them is made

_OTHER_TYPES: Mapping[str, Any] = MappingProxyType(
    {"string": 12345, "integer": "twelve", "number": "twelve", "boolean": "maybe", "array": "none", "object": "none"}
)
"""A value of another type, for each type."""


def _properties(arguments: _Object, schema: _Object) -> Iterator[tuple[str, _Object]]:
    """Yield the names and schemas of the properties that the arguments have."""
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        if name in arguments and isinstance(inner, dict):
            yield name, inner


def _missing(arguments: _Object, schema: _Object) -> _Object | None:
    required = schema.get("required")
    name = next((name for name in required if name in arguments), None) if isinstance(required, list) else None
    return None if name is None else {key: value for key, value in arguments.items() if key != name}


def _type(arguments: _Object, schema: _Object) -> _Object | None:
    for name, inner in _properties(arguments, schema):
        wrong = _OTHER_TYPES.get(inner["type"]) if isinstance(inner.get("type"), str) else None
        # With other conditions the value would break these too.
        if wrong is not None and not {"enum", "const", "anyOf", "oneOf", "allOf", "not"} & inner.keys():
            return arguments | {name: wrong}
    return None


def _extra(arguments: _Object, schema: _Object) -> _Object | None:
    if schema.get("additionalProperties") is not False or schema.get("patternProperties"):
        return None
    known = schema.get("properties") or {}
    name = next(name for number in range(len(known) + 1) if (name := f"unexpected{number or ''}") not in known)
    return arguments | {name: True}


def _enum(arguments: _Object, schema: _Object) -> _Object | None:
    for name, inner in _properties(arguments, schema):
        values = inner.get("enum")
        if isinstance(values, list) and inner.get("type", "string") == "string" and "not-listed" not in values:
            return arguments | {name: "not-listed"}
    return None


def _bounds(arguments: _Object, schema: _Object) -> _Object | None:
    for name, inner in _properties(arguments, schema):
        kind, value = inner.get("type"), arguments[name]
        if kind in ("integer", "number") and not {"enum", "const", "multipleOf"} & inner.keys():
            for bound, step in (("maximum", 1), ("exclusiveMaximum", 0), ("minimum", -1), ("exclusiveMinimum", 0)):
                if type(inner.get(bound)) is int and abs(inner[bound]) < _MOST_NUMBER:
                    return arguments | {name: inner[bound] + step}
        is_free = not {"enum", "const", "format", "pattern"} & inner.keys()
        if kind == "string" and is_free and type(inner.get("maxLength")) is int and inner["maxLength"] < _LONGEST:
            return arguments | {name: "x" * (inner["maxLength"] + 1)}
        least = inner.get("minItems")
        if kind == "array" and isinstance(value, list) and type(least) is int and 0 < least <= len(value):
            return arguments | {name: value[: least - 1]}
    return None


_BREAKS: Mapping[str, _Break] = MappingProxyType(
    {"missing": _missing, "type": _type, "extra": _extra, "enum": _enum, "bounds": _bounds}
)


class InvalidArgumentsSettings(FaultSettings):
    """Break the schema of a tool's arguments in exactly one way."""

    kind: Literal["invalid_arguments"]
    violation: Literal["missing", "type", "extra", "enum", "bounds"] = Field(
        "missing",
        description="Way in which the arguments are wrong: a required property is missing, a value has a wrong type, "
        "there is an extra property, a value is not in its enum, or out of its bounds.",
    )


class InvalidArgumentsFault(AnswerFault[InvalidArgumentsSettings]):
    """The fault ``invalid_arguments``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        schemas = {tool.name: tool.schema for tool in tools_of(chat)}
        for place, call in enumerate(answer.calls):
            schema = schemas.get(call.name)
            try:
                arguments = orjson.loads(call.arguments)
            except orjson.JSONDecodeError:
                continue
            if isinstance(schema, dict) and isinstance(arguments, dict):
                broken = _BREAKS[self._settings.violation](arguments, schema)
                if broken is not None:
                    changed = call._replace(arguments=orjson.dumps(broken).decode())
                    return answer._replace(calls=(*answer.calls[:place], changed, *answer.calls[place + 1 :]))
        return None
