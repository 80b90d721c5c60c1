"""Settings of rules and their replies, by endpoint."""

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fastmock.content.settings import Output
from fastmock.core.section import SettingsModel
from fastmock.latency.settings import Latency, NumberOrHeartbeat
from fastmock.rules.match import Match
from fastmock.rules.strict import STRICT, Strictness

DEFAULT_TEXT = (
    "Hello from fastmock! This is a canned answer: nobody has written a rule for this request yet. "
    "Add one to your configuration to change this reply."
)


def _file_is_source(value: Any) -> Any:
    return {"response_file": value} if isinstance(value, str) else value


def _text_is_saying(value: Any) -> Any:
    return {"content": value} if isinstance(value, str) else value


def _names_are_keys(value: Any) -> Any:
    return dict.fromkeys(map(str, value)) if isinstance(value, list) else value


class ToolCallSpec(SettingsModel):
    """A tool call in a reply."""

    name: str = Field(min_length=1, description="Name of the called tool.")
    arguments: dict[str, Any] | str = Field(
        {}, description="Arguments of the call, a template; a text is sent verbatim."
    )
    id: str | None = Field(None, description="Id of the call; without one it is generated anew each time.")


class ReplySpec(SettingsModel):
    """A reply: a file, a text, tool calls, a refusal, or a whole response; with none of them `$output`."""

    response_file: str | None = Field(
        None, description="JSON or YAML template file, relative to the configuration file or the working directory."
    )
    content: str | None = Field(None, description="Text template of the assistant's message.")
    tool_calls: Annotated[list[ToolCallSpec], Field(min_length=1)] | None = Field(
        None, description="Tool calls of the reply, with or without `content`."
    )
    refusal: str | None = Field(None, description="Text template of a refusal, instead of `content`.")
    reasoning: str | None = Field(
        None,
        description="Text template of the reasoning before the reply: the summary of a reasoning item, a thinking "
        "block, or the `reasoning_content` of a chat message.",
    )
    response: dict[str, Any] | None = Field(None, description="Whole response body, written inline.")

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
    """A reply and its timing: a file, a text, tool calls, a refusal, or a whole response; with none of them
    `$output`.
    """

    latency: Latency | None = Field(None, description="Latency of these replies, as `latency`.")
    output: Output | None = Field(None, description="Output of these replies, as `output`.")
    heartbeat: NumberOrHeartbeat | None = Field(
        None, description="Heartbeats for these replies, as `streaming.heartbeat`."
    )
    obey_max_tokens: bool | None = Field(None, description="Length limit of these replies, as `obey_max_tokens`.")


FileOrSource = Annotated[TimedReplySpec, BeforeValidator(_file_is_source, json_schema_input_type=str | TimedReplySpec)]


TextOrSaying = Annotated[ReplySpec, BeforeValidator(_text_is_saying, json_schema_input_type=str | ReplySpec)]


class MatchingRule(SettingsModel):
    """The settings that all rules have."""

    name: str | None = Field(None, description="Name of the rule in messages, headers and metrics.")
    match: Match = Field(description="Conditions on the request.")
    priority: int = Field(0, description="Priority of the rule; the highest wins, equal ones are tried in file order.")


class Pattern(TimedReplySpec, MatchingRule):
    """A rule: reply with this if `match` holds and no rule of higher priority or earlier position matches."""

    responses: Annotated[list[TextOrSaying], Field(min_length=1)] | None = Field(
        None,
        description=(
            "Replies by turn of the conversation; the last one is used for all further turns. "
            "Texts, or objects as in a rule."
        ),
    )

    @cached_property
    def is_timed(self) -> bool:
        """Whether these replies have a latency, an output or heartbeats of their own."""
        return not self.model_fields_set.isdisjoint(("latency", "output", "heartbeat"))

    @model_validator(mode="after")
    def _one_or_several(self) -> "Pattern":
        given = [name for name in ReplySpec.model_fields if getattr(self, name) is not None]
        if self.responses is not None and given:
            raise ValueError(f"takes 'responses' or {given[0]!r}, not both")
        return self


Validation = Literal["provider", "lenient"]


RULE_KEYS = ("rules", "patterns")
"""The names of the list of rules."""


class RuleList(SettingsModel):
    """A list of rules, under either of its names."""

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if all(getattr(self, key) for key in RULE_KEYS):
            raise ValueError("takes 'rules' or 'patterns', which are the same, not both")
        return self

    @property
    def rule_key(self) -> str:
        """The name under which the rules are written."""
        return next((key for key in RULE_KEYS if getattr(self, key)), RULE_KEYS[0])


class EndpointRules(RuleList):
    """Rules and default reply of an endpoint."""

    rules: list[Pattern] = Field([], description="List of rules, tried by priority, then in order.")
    patterns: list[Pattern] = Field([], description="Another name of `rules`; only one of both may be used.")
    default: FileOrSource = Field(
        TimedReplySpec(content=DEFAULT_TEXT),
        description=(
            "Reply if no rule matches: a file name, or an object as in a rule. By default a canned text, or `$output` "
            "if an `output` is configured."
        ),
    )
    validation: Validation | None = Field(None, description="Validation for this endpoint, as `validation`.")
    strict: Strictness | None = Field(None, description="Strict mode for this endpoint, as `responses.strict`.")


class SharedRules(SettingsModel):
    """Settings of an endpoint that shares the rules of chat completions."""

    validation: Validation | None = Field(None, description="Validation for this endpoint, as `validation`.")
    strict: Strictness | None = Field(None, description="Strict mode for this endpoint, as `responses.strict`.")


class EmbeddingPattern(MatchingRule):
    """A rule: a vector for each input text for which `match` holds."""

    match: Match = Field(description="Conditions on the request; `content` is the input text.")
    vector: Annotated[list[float], Field(min_length=1, max_length=4096)] = Field(
        description="Numbers of the vector; missing ones are 0, those beyond its dimensions are left out."
    )


class EmbeddingAnswers(RuleList):
    """Rules and default reply of the embeddings endpoint."""

    rules: list[EmbeddingPattern] = Field(
        [], description="List of rules, tried for each input text by priority, then in order."
    )
    patterns: list[EmbeddingPattern] = Field([], description="Another name of `rules`; only one of both may be used.")
    default: FileOrSource | None = Field(
        None,
        description="File whose `data[0].embedding` is the vector of every reply; by default vectors are hashed from "
        "the text.",
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


class ModerationPattern(MatchingRule):
    """A rule: flag this if `match` holds and no rule of higher priority or earlier position matches."""

    match: Match = Field(description="Conditions on the request; `content` is the moderated text.")
    flag: Annotated[
        dict[Category, Score | None],
        BeforeValidator(_names_are_keys, json_schema_input_type=list[Category] | dict[Category, Score | None]),
    ] = Field(
        description="Flagged categories: a list, or an object with the score of each; an empty one flags nothing."
    )


class ModerationAnswers(RuleList):
    """Rules of the moderations endpoint."""

    rules: list[ModerationPattern] = Field(
        [], description="List of rules, tried by priority, then in order. If none matches, nothing is flagged."
    )
    patterns: list[ModerationPattern] = Field([], description="Another name of `rules`; only one of both may be used.")


class Responses(SettingsModel):
    """Rules and default replies, by endpoint."""

    chat_completions: EndpointRules = Field(
        EndpointRules(), description="Rules for `POST /v1/chat/completions`, `/v1/responses` and `/v1/messages`."
    )
    completions: EndpointRules = Field(EndpointRules(), description="Rules for `POST /v1/completions`.")
    responses: SharedRules = Field(
        SharedRules(), description="Settings for `POST /v1/responses`, which shares the rules of chat completions."
    )
    messages: SharedRules = Field(
        SharedRules(), description="Settings for `POST /v1/messages`, which shares the rules of chat completions."
    )
    embeddings: EmbeddingAnswers = Field(EmbeddingAnswers(), description="Rules for `POST /v1/embeddings`.")
    moderations: ModerationAnswers = Field(ModerationAnswers(), description="Rules for `POST /v1/moderations`.")
    strict: Strictness = Field(False, description=STRICT, json_schema_extra={"flag": "--strict"})
    manager: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = Field(
        None,
        description="Response manager, your own class, as `package.module:Class`.",
        json_schema_extra={"flag": "--response-manager"},
    )
