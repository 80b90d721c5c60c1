"""Settings of rules and their answers, by endpoint."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fastmock.content.settings import Output
from fastmock.core.section import SettingsModel
from fastmock.latency.settings import Latency, NumberOrHeartbeat
from fastmock.rules.match import Match

DEFAULT_TEXT = (
    "Hello from fastmock! This is a canned answer: nobody has written a pattern for this request yet. "
    "Add one to your configuration to say something else."
)


def _file_is_source(value: Any) -> Any:
    return {"response_file": value} if isinstance(value, str) else value


def _text_is_saying(value: Any) -> Any:
    return {"content": value} if isinstance(value, str) else value


def _names_are_keys(value: Any) -> Any:
    return dict.fromkeys(map(str, value)) if isinstance(value, list) else value


class ToolCallSpec(SettingsModel):
    """A tool that is called."""

    name: str = Field(min_length=1, description="Name of the called tool.")
    arguments: dict[str, Any] | str = Field({}, description="Its arguments, a template; a text is said as it is.")
    id: str | None = Field(None, description="The call's id; without one a new one each time.")


class ReplySpec(SettingsModel):
    """What is said once: a file, a text, calls, a refusal, or a whole answer; with none of them `$output`."""

    response_file: str | None = Field(
        None, description="A JSON or YAML template, relative to the configuration file or the working directory."
    )
    content: str | None = Field(None, description="A text template for the assistant's words.")
    tool_calls: Annotated[list[ToolCallSpec], Field(min_length=1)] | None = Field(
        None, description="The tools that are called; with a `content` beside them or without."
    )
    refusal: str | None = Field(None, description="A text template for a refusal, instead of the assistant's words.")
    reasoning: str | None = Field(
        None,
        description="A text template for what is thought before any of these: the summary of a reasoning item, a "
        "thinking block, or the `reasoning_content` of a chat message.",
    )
    response: dict[str, Any] | None = Field(None, description="A whole answer, written in place.")

    @model_validator(mode="after")
    def _at_most_one(self) -> "ReplySpec":
        names = [name for name in ReplySpec.model_fields if name != "reasoning"]
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1 and given != ["content", "tool_calls"]:
            shown = " and ".join(repr(name) for name in given)
            raise ValueError(f"takes one of {', '.join(map(repr, names))}, not {shown}")
        if self.reasoning is not None and given in (["response_file"], ["response"]):
            raise ValueError(f"takes 'reasoning' or {given[0]!r}, not both: write it there, as 'reasoning_content'")
        return self


class TimedReplySpec(ReplySpec):
    """What is said, and how: a file, a text, calls, a refusal, or a whole answer; with none of them `$output`."""

    latency: Latency | None = Field(None, description="Latency of these answers, as `latency`.")
    output: Output | None = Field(None, description="Output of these answers, as `output`.")
    heartbeat: NumberOrHeartbeat | None = Field(
        None, description="Heartbeats for these answers, as `streaming.heartbeat`."
    )
    obey_max_tokens: bool | None = Field(None, description="Length of these answers, as `obey_max_tokens`.")


FileOrSource = Annotated[TimedReplySpec, BeforeValidator(_file_is_source, json_schema_input_type=str | TimedReplySpec)]


TextOrSaying = Annotated[ReplySpec, BeforeValidator(_text_is_saying, json_schema_input_type=str | ReplySpec)]


class Pattern(TimedReplySpec):
    """A rule: when `match` holds, and no pattern of higher priority or earlier place does, say this."""

    name: str | None = Field(None, description="Name of the rule in messages, headers and metrics.")
    match: Match = Field(description="What the request must look like.")
    priority: int = Field(0, description="The highest wins; equals are tried in file order.")
    responses: Annotated[list[TextOrSaying], Field(min_length=1)] | None = Field(
        None,
        description=(
            "Replies by turn of the conversation; the last one holds for all further turns. "
            "Texts, or objects as in a rule."
        ),
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> "Pattern":
        given = [name for name in ReplySpec.model_fields if getattr(self, name) is not None]
        if self.responses is not None and given:
            raise ValueError(f"takes 'responses' or {given[0]!r}, not both")
        return self


Validation = Literal["provider", "lenient"]


class EndpointRules(SettingsModel):
    """What one endpoint says."""

    patterns: list[Pattern] = Field([], description="The rules, tried by priority, then in order.")
    default: FileOrSource = Field(
        TimedReplySpec(content=DEFAULT_TEXT),
        description=(
            "Reply when no rule matches: a file name, or an object as in a rule. By default a"
            " canned text, or `$output` where an `output` is configured."
        ),
    )
    validation: Validation | None = Field(None, description="Validation for this endpoint, as `validation`.")


class Validated(SettingsModel):
    """What is particular to an endpoint whose rules are those of chat completions."""

    validation: Validation | None = Field(None, description="Validation for this endpoint, as `validation`.")


class EmbeddingAnswers(SettingsModel):
    """What the embeddings endpoint says."""

    default: FileOrSource | None = Field(
        None,
        description="A file whose `data[0].embedding` fixes the vector. Without one, vectors are hashed from the text.",
    )


Category = Literal[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
]


Score = Annotated[float, Field(ge=0, le=1)]


class ModerationPattern(SettingsModel):
    """A rule: when `match` holds, and no pattern of higher priority or earlier place does, flag this."""

    name: str | None = Field(None, description="Name of the rule in messages, headers and metrics.")
    match: Match = Field(description="What the request must look like; `content` is what is moderated.")
    priority: int = Field(0, description="The highest wins; equals are tried in file order.")
    flag: Annotated[
        dict[Category, Score | None],
        BeforeValidator(_names_are_keys, json_schema_input_type=list[Category] | dict[Category, Score | None]),
    ] = Field(
        description="The categories that are flagged: a list, or the score of each; with none nothing is flagged."
    )


class ModerationAnswers(SettingsModel):
    """What moderations flag."""

    patterns: list[ModerationPattern] = Field(
        [], description="The rules, tried by priority, then in order. Where none matches, nothing is flagged."
    )


class Responses(SettingsModel):
    """What is said, by endpoint."""

    chat_completions: EndpointRules = Field(
        EndpointRules(), description="`POST /v1/chat/completions`, `/v1/responses` and `/v1/messages`."
    )
    completions: EndpointRules = Field(EndpointRules(), description="`POST /v1/completions`.")
    responses: Validated = Field(
        Validated(), description="`POST /v1/responses`; its rules are those of chat completions."
    )
    messages: Validated = Field(
        Validated(), description="`POST /v1/messages`; its rules are those of chat completions."
    )
    embeddings: EmbeddingAnswers = Field(EmbeddingAnswers(), description="`POST /v1/embeddings`.")
    moderations: ModerationAnswers = Field(ModerationAnswers(), description="`POST /v1/moderations`.")
    manager: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = Field(
        None, description="A class of yours that says the answers, as `package.module:Class`."
    )
