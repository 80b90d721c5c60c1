"""What a request must look like: the language of the rules."""

from typing import Annotated, Any, Literal, Optional

from pydantic import BeforeValidator, Field, model_validator

from fastmock.core.section import SettingsModel


def _number_is_span(value: Any) -> Any:
    return {"min": value, "max": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Range(SettingsModel):
    """A number from `min` to `max`, both included."""

    min: int | None = Field(None, ge=0, description="The least.")
    max: int | None = Field(None, ge=0, description="The most.")

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
    """What a request must look like; every field given must hold, and an empty match holds always."""

    model: Glob | None = Field(None, description="The model's name, or a glob such as `gpt-4*`.")
    content: str | None = Field(None, description="The last user message is exactly this.")
    content_contains: str | None = Field(None, description="The last user message contains this.")
    content_regex: Pattern | None = Field(None, description="This is found in the last user message (RE2 syntax).")
    system_prompt: str | None = Field(None, description="The system or developer messages contain this.")
    turn: NumberOrSpan | None = Field(
        None, description="The number of the answer in its conversation: 1 before the assistant has said anything."
    )
    messages: NumberOrSpan | None = Field(None, description="Number of messages in the conversation.")
    last_role: Literal["system", "developer", "user", "assistant", "tool", "function"] | None = Field(
        None, description="The role of the last message."
    )
    tool_result: bool | Glob | None = Field(
        None,
        description=(
            "Match conversations that end with tool results, or with results of the tool with this name or glob."
        ),
    )
    tool: bool | Glob | None = Field(
        None, description="Match requests that offer tools, or the tool with this name or glob."
    )
    stream: bool | None = Field(None, description="Match streaming or non-streaming requests.")
    endpoint: str | None = Field(
        None,
        description="The kind of endpoint: `chat_completions`, `responses`, `messages` or `completions`; for faults "
        "also `moderations`, `embeddings`, `models`, and `other` for all that list, retrieve, change or count.",
    )
    response_format: Literal["text", "json_object", "json_schema"] | None = Field(
        None, description="The form that the answer must have; `text` where the request says nothing."
    )
    user: Glob | None = Field(None, description="The request's `user`, or a glob.")
    headers: dict[str, Glob] | None = Field(None, description="Headers of the request, and a glob for each.")
    session: str | None = Field(
        None,
        description="The session of the request: what its header `x-fastmock-session` says, or what stands before a "
        "colon in its API key.",
    )
    metadata: dict[str, Glob] | None = Field(
        None, description="Entries of the request's `metadata`, and a glob for each."
    )
    any_: Annotated[list["Match"], Field(min_length=1)] | None = Field(
        None, alias="any", description="Conditions at least one of which holds."
    )
    all_: Annotated[list["Match"], Field(min_length=1)] | None = Field(
        None, alias="all", description="List of conditions that must all hold."
    )
    not_: Optional["Match"] = Field(None, alias="not", description="Conditions that do not hold together.")
