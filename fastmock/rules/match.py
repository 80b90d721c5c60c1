"""Conditions on requests: the language of the rules."""

from typing import Annotated, Any, Literal, Optional

from pydantic import BeforeValidator, Field, model_validator

from fastmock.core.section import SettingsModel


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

NumberOrSpan = Annotated[Range, BeforeValidator(_number_is_span, json_schema_input_type=int | Range)]


class Match(SettingsModel):
    """Conditions on a request; all given fields must match, and an empty match always does."""

    model: Glob | None = Field(None, description="Name of the model, or a glob such as `gpt-4*`.")
    content: str | None = Field(None, description="Exact text of the last user message.")
    content_contains: str | None = Field(None, description="Text contained in the last user message.")
    content_regex: Pattern | None = Field(
        None, description="Regular expression found in the last user message (RE2 syntax)."
    )
    system_prompt: str | None = Field(None, description="Text contained in the system or developer messages.")
    turn: NumberOrSpan | None = Field(
        None, description="Number of the reply in the conversation: 1 before any assistant message."
    )
    messages: NumberOrSpan | None = Field(None, description="Number of messages in the conversation.")
    last_role: Literal["system", "developer", "user", "assistant", "tool", "function"] | None = Field(
        None, description="Role of the last message."
    )
    tool_result: bool | Glob | None = Field(
        None,
        description=(
            "Match conversations that end with tool results, or with a result of the tool with this name or glob."
        ),
    )
    tool: bool | Glob | None = Field(
        None, description="Match requests that offer tools, or the tool with this name or glob."
    )
    stream: bool | None = Field(None, description="Match streaming or non-streaming requests.")
    endpoint: str | None = Field(
        None,
        description="Kind of endpoint: `chat_completions`, `responses`, `messages` or `completions`; for faults also "
        "`moderations`, `embeddings`, `models`, and `other` for all that list, retrieve, change or count.",
    )
    response_format: Literal["text", "json_object", "json_schema"] | None = Field(
        None, description="Requested response format; `text` if the request sets none."
    )
    user: Glob | None = Field(None, description="Value of the request's `user`, or a glob.")
    headers: dict[str, Glob] | None = Field(None, description="Request headers, with a glob for each value.")
    session: str | None = Field(
        None,
        description="Session of the request: its `x-fastmock-session` header, or the part of its API key before a "
        "colon.",
    )
    metadata: dict[str, Glob] | None = Field(
        None, description="Entries of the request's `metadata`, with a glob for each value."
    )
    any_: Annotated[list["Match"], Field(min_length=1)] | None = Field(
        None, alias="any", description="List of conditions of which at least one must hold."
    )
    all_: Annotated[list["Match"], Field(min_length=1)] | None = Field(
        None, alias="all", description="List of conditions that must all hold."
    )
    not_: Optional["Match"] = Field(None, alias="not", description="Condition that must not hold.")
