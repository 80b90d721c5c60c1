"""The JSON Schema of the configuration, for editors; generated from the table of settings."""

from typing import Any

import orjson

from fastmock.config.settings import Settings


def json_schema() -> str:
    """Return the schema (draft 2020-12) as text."""
    schema: dict[str, Any] = Settings.model_json_schema(by_alias=True, mode="validation")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fastmock configuration"}
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
