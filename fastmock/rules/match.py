"""Conditions on requests: the language of the rules."""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, Literal, Optional

from pydantic import BeforeValidator, Field, model_validator

from fastmock.core.problems import SettingPath
from fastmock.core.section import SettingsModel
from fastmock.rules import matchers
from fastmock.rules.matchers import MODEL, SYSTEM_PROMPT, USER_MESSAGE, Condition


def _number_is_span(value: Any) -> Any:
    return {"min": value, "max": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Range(SettingsModel):
    """A number from `min` to `max`, both included."""

    min: int | None = Field(None, ge=0, description="Smallest value in the range.")
    max: int | None = Field(None, ge=0, description="Largest value in the range.")

    @model_validator(mode="after")
    def _has_one(self) -> "Range":
        if self.min is None and self.max is None:
            raise ValueError("needs 'min' or 'max'")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("needs 'min' <= 'max'")
        return self


Glob = Annotated[str, Field(max_length=512)]
Pattern = Annotated[str, Field(max_length=32_768)]
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

NumberOrSpan = Annotated[Range, BeforeValidator(_number_is_span, json_schema_input_type=int | Range)]


class Match(SettingsModel):
    """Conditions on a request; all given fields must match, and an empty match always does."""

    # Each field declares its kind of condition; a new field needs no other change.

    model: Annotated[Glob | None, Condition(matchers.Glob, MODEL, needs_body=False)] = Field(
        None, description="Name of the model, or a glob such as `gpt-4*`."
    )
    content: Annotated[str | None, Condition(matchers.Exact, USER_MESSAGE)] = Field(
        None, description="Exact text of the last user message."
    )
    content_contains: Annotated[str | None, Condition(matchers.Contains, USER_MESSAGE, "contain")] = Field(
        None, description="Text contained in the last user message."
    )
    content_regex: Annotated[Pattern | None, Condition(matchers.Regex, USER_MESSAGE, "match")] = Field(
        None, description="Regular expression found in the last user message (RE2 syntax)."
    )
    system_prompt: Annotated[str | None, Condition(matchers.Contains, SYSTEM_PROMPT, "contain")] = Field(
        None, description="Text contained in the system or developer messages."
    )
    turn: Annotated[NumberOrSpan | None, Condition(matchers.Within, attrgetter("turn"), on_conversation=True)] = Field(
        None, description="Number of the reply in the conversation: 1 before any assistant message."
    )
    messages: Annotated[
        NumberOrSpan | None, Condition(matchers.Within, attrgetter("messages"), on_conversation=True)
    ] = Field(None, description="Number of messages in the conversation.")
    last_role: Annotated[Role | None, Condition(matchers.Exact, attrgetter("last_role"), on_conversation=True)] = Field(
        None, description="Role of the last message."
    )
    tool_result: Annotated[
        bool | Glob | None, Condition(matchers.Named, attrgetter("tool_results"), on_conversation=True)
    ] = Field(
        None,
        description=(
            "Match conversations that end with tool results, or with a result of the tool with this name or glob."
        ),
    )
    tool: Annotated[bool | Glob | None, Condition(matchers.Named, attrgetter("tool_names"))] = Field(
        None, description="Match requests that offer tools, or the tool with this name or glob."
    )
    stream: Annotated[bool | None, Condition(matchers.Exact, attrgetter("stream"), needs_body=False)] = Field(
        None, description="Match streaming or non-streaming requests."
    )
    endpoint: Annotated[str | None, Condition(matchers.Exact, attrgetter("endpoint"), needs_body=False)] = Field(
        None,
        description="Kind of endpoint: `chat_completions`, `responses`, `messages` or `completions`; for faults also "
        "`moderations`, `embeddings`, `models`, and `other` for all that list, retrieve, change or count.",
    )
    response_format: Annotated[
        Literal["text", "json_object", "json_schema"] | None, Condition(matchers.Exact, attrgetter("response_format"))
    ] = Field(None, description="Requested response format; `text` if the request sets none.")
    user: Annotated[Glob | None, Condition(matchers.Glob, attrgetter("user"))] = Field(
        None, description="Value of the request's `user`, or a glob."
    )
    headers: Annotated[
        dict[str, Glob] | None, Condition(matchers.Entries, attrgetter("header_value"), needs_body=False, in_body=False)
    ] = Field(None, description="Request headers, with a glob for each value.")
    session: Annotated[
        str | None, Condition(matchers.Exact, attrgetter("session"), needs_body=False, in_body=False)
    ] = Field(
        None,
        description="Session of the request: its `x-fastmock-session` header, or the part of its API key before a "
        "colon.",
    )
    metadata: Annotated[dict[str, Glob] | None, Condition(matchers.Entries, attrgetter("metadata_value"))] = Field(
        None, description="Entries of the request's `metadata`, with a glob for each value."
    )
    any_: Annotated[list["Match"], Field(min_length=1)] | None = Field(
        None, alias="any", description="List of conditions of which at least one must hold."
    )
    all_: Annotated[list["Match"], Field(min_length=1)] | None = Field(
        None, alias="all", description="List of conditions that must all hold."
    )
    not_: Optional["Match"] = Field(None, alias="not", description="Condition that must not hold.")


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        name: condition
        for name, field in Match.model_fields.items()
        for condition in field.metadata
        if isinstance(condition, Condition)
    }
)
"""The kinds of conditions, by the names of their fields."""


def iter_nested(match: Match, path: SettingPath) -> Iterator[tuple[Match, SettingPath]]:
    """Yield the match at ``path`` and all nested matches, each with its path."""
    yield match, path
    for name, inner in (("any", match.any_), ("all", match.all_)):
        for place, one in enumerate(inner or ()):
            yield from iter_nested(one, (*path, name, place))
    if match.not_ is not None:
        yield from iter_nested(match.not_, (*path, "not"))
