"""The JSON Schema of the configuration, for editors; generated from the table of settings."""

from typing import Any

import orjson

from fastmock.config.settings import Settings


def json_schema() -> str:
    """Return the schema (draft 2020-12) as text."""
    schema: dict[str, Any] = Settings.model_json_schema(by_alias=True, mode="validation")
    schema = _without_extras(schema)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fastmock configuration"}
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _without_extras(value: Any) -> Any:
    """Return a schema without the notes of fields that are for fastmock alone."""
    if isinstance(value, dict):
        return {
            key: _without_extras(inner)
            for key, inner in value.items()
            if not (key in ("env", "flag", "restart") and not isinstance(inner, dict))
        }
    return [_without_extras(inner) for inner in value] if isinstance(value, list) else value
