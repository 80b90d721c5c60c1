"""The neutral forms between dialects and rules: a request (ChatRequest) and its answer (Answer)."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import time
from typing import Any, NamedTuple, Protocol

from fastmock.core.credentials import session_of
from fastmock.core.http import Request


class Tool(NamedTuple):
    """A tool that a request offers.

    Attributes:
        name: the name of the tool.
        schema: the JSON Schema of its arguments; None for a custom tool, which takes a text.
    """

    name: str
    schema: Any


class ToolCall(NamedTuple):
    """A tool call.

    Attributes:
        id: the id that the result will refer to.
        name: the name of the tool.
        arguments: a JSON text; for a custom tool, its input.
        custom: whether it is a custom tool.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False


class TokenProb(NamedTuple):
    """A token of the output: its bytes, its log probability, and the top alternatives with theirs.

    The first token of an echoed prompt has no log probability.
    """

    token: bytes
    logprob: float | None
    top: tuple[tuple[bytes, float], ...] = ()


class Answer(NamedTuple):
    """A neutral answer, which every dialect renders as a streaming or non-streaming response.

    Attributes:
        text: the text; None if there is only a tool call or a refusal.
        calls: the tool calls.
        refusal: the text of a refusal.
        reasoning: the reasoning before the text; None if none is shown.
        finish_reason: ``stop``, ``length``, ``tool_calls`` or ``content_filter``.
        stop: the stop sequence at which the text ends; None if it ends by itself.
        tokens: number of tokens.
        logprobs: the tokens of the text or refusal with their log probabilities, if requested.
    """

    text: str | None = None
    calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str = "stop"
    tokens: int = 0
    logprobs: tuple[TokenProb, ...] | None = None
    reasoning: str | None = None
    stop: str | None = None


@dataclass(slots=True)
class OutputConstraints:
    """Constraints of a request on the form of its answer.

    Attributes:
        tools: the offered tools.
        allowed: the tools that may be called; None for all.
        call: ``none``, ``auto``, or ``required`` to force a call of an allowed tool; ``named`` if it is a specific one.
        parallel: whether parallel calls are allowed.
        legacy: whether the tools are given as ``functions``, the deprecated form.
        called: names of the tools called since the last user message.
        json: whether the text must be JSON.
        schema: JSON Schema of the text; None without one.
        name: the request's name of the schema.
        tools_key, json_key: cache keys of the tools and of the JSON constraint; empty without them, or if too long to
            cache.
        stop: stop sequences.
        top_logprobs: number of top logprobs for each token; None if no logprobs are requested.
        prediction: predicted output; None without one.
    """

    tools: Sequence[Tool] = ()
    allowed: Sequence[Tool] | None = None
    call: str = "auto"
    named: bool = False
    parallel: bool = True
    legacy: bool = False
    called: frozenset[str] = frozenset()
    json: bool = False
    schema: Any = None
    name: str = ""
    tools_key: bytes = b""
    json_key: bytes = b""
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    prediction: str | None = None

    @property
    def examines_text(self) -> bool:
        """Whether the text must be examined token by token: for stop sequences, logprobs or a prediction."""
        return bool(self.stop) or self.top_logprobs is not None or self.prediction is not None


class Tokenizer(Protocol):
    """Counts tokens as a model would."""

    def __hash__(self) -> int:
        """Return the hash under which counts are cached."""

    def count(self, text: str) -> int:
        """Return the number of tokens of ``text``; 0 only for the empty text."""

    def count_all(self, texts: Sequence[str]) -> int:
        """Return the total number of tokens of ``texts``; one call instead of many."""

    def tokens(self, text: str) -> list[bytes]:
        """Split ``text`` into its tokens, in UTF-8; a token may end inside a character."""

    def decode(self, tokens: Sequence[int]) -> str | None:
        """Return the text of tokens; None if any is unknown or if this tokenizer cannot decode."""

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """Split ``text`` between tokens, but not inside characters; return the pieces with their token counts.

        The counts add up to ``count``; a piece may have no tokens.
        """


@dataclass(slots=True)
class Details:
    """Details that few requests have and that affect the form, usage or service tier of the response.

    Attributes:
        constraints: constraints on the form of the answer; None without any.
        service_tier: service tier of the response.
        cached_tokens, audio_tokens: cached and audio tokens of the prompt.
        hidden_tokens: completion tokens that are not in the answer's text.
        reasoning_tokens, accepted_tokens, rejected_tokens: tokens of the reasoning, and accepted and rejected tokens of
            a prediction.
    """

    constraints: OutputConstraints | None = None
    service_tier: bytes = b"default"
    cached_tokens: int = 0
    audio_tokens: int = 0
    hidden_tokens: int = 0
    reasoning_tokens: int = 0
    accepted_tokens: int = 0
    rejected_tokens: int = 0


NO_DETAILS = Details()
"""The details of a request that has none; never modified."""


NO_RULE = -1
"""The rule number if no rule matches; the default reply is used."""


class ChatRequest:
    """A request in neutral form, for every dialect: the input of rules and templates.

    A dialect sets the attributes that it knows. Attributes that only some rules use (``turn`` and the ones after it)
    may be overridden as properties, which cost nothing unless a rule uses them.

    Attributes:
        unique: 32 hexadecimal digits, distinct across workers; the ids of the response are derived from it.
        body: the parsed request.
        model: the requested model name.
        tokenizer: counts tokens for that model.
        user_message: text of the last user message, its text parts joined (for completions, the prompt).
        system_prompt: text of the system and developer messages, joined by newlines.
        stream: whether a stream is requested; ``include_usage``: whether it ends with a usage chunk;
            ``continuous_usage``: whether every chunk contains the usage so far; ``obfuscation``: whether chunks are
            padded (None: as configured).
        choices: number of requested choices (``n``).
        sets_length: whether the request limits the length of its answer; ``sets_least``: whether it sets a minimum.
        details: see Details; None for most requests, which get ready bytes.
        store: whether to store the response; ``whole`` is the complete response, if its endpoint stores it.
        request: the HTTP request while it is being answered; None for requests from a response manager.
        prompts: number of prompts, each with ``choices`` choices; 1 for chat.
        rule: number of the winning rule, or NO_RULE.
        regex_deadline: reading of ``time.monotonic`` until which backtracking regexes may run; 0 before the first one.
        output: text generated for the request, of ``output_tokens`` tokens; empty if none was needed.
        generated: the same if each of its words is a token; else empty.
        known_answers, answered_by: known answers, and the template that they come from.
        finish_reason: finish reason of the generated text.
        prompt_tokens: tokens of the whole prompt.
        completion_tokens: tokens of the answer, including hidden ones; set once known.
        turn: number of the answer in its conversation, from 1.
        messages: number of messages.
        last_role: role of the last message.
        tool_results: names of the tools whose results end the conversation.
        tool_names: names of the tools that may be called.
        endpoint: kind of endpoint.
        now: the time of the response, in whole seconds of Unix time; 0 for the time at which it is rendered.
        response_format: ``text``, ``json_object`` or ``json_schema``.
        user: the request's ``user``.
        session: session of the request; see ``credentials.session_of``.
    """

    # Class attributes instead of slots: most requests change few of them, and creating one takes half the time.
    user_message = ""
    system_prompt = ""
    stream = False
    include_usage = False
    continuous_usage = False
    obfuscation: bool | None = None
    choices = 1
    prompts = 1
    sets_length = False
    sets_least = False
    details: Details | None = None
    store = False
    whole = b""
    request: Request | None = None
    rule = NO_RULE
    regex_deadline = 0.0
    output = ""
    generated = ""
    known_answers: "list[Answer]" = []  # noqa: RUF012 - never modified
    answered_by: object = None
    output_tokens = 0
    finish_reason = "stop"
    prompt_tokens = 0
    completion_tokens = 0
    endpoint = ""
    now = 0
    tokenizer: Tokenizer

    def __init__(self, unique: str, body: dict[str, Any], model: str) -> None:
        self.unique = unique
        self.body = body
        self.model = model

    def created(self) -> int:
        """Return the time of the response: Unix time in whole seconds."""
        return self.now or int(time())

    def add_details(self) -> Details:
        """Return the details for modification."""
        if self.details is None:
            self.details = Details()
        return self.details

    @property
    def constraints(self) -> OutputConstraints | None:
        """The constraints on the form of the answer; None without any."""
        return None if self.details is None else self.details.constraints

    @property
    def hidden_tokens(self) -> int:
        """The completion tokens that are not in the answer's text."""
        return 0 if self.details is None else self.details.hidden_tokens

    @property
    def reasoning_tokens(self) -> int:
        """The tokens of the reasoning."""
        return 0 if self.details is None else self.details.reasoning_tokens

    @property
    def cached_tokens(self) -> int:
        """The cached tokens of the prompt."""
        return 0 if self.details is None else self.details.cached_tokens

    @property
    def max_tokens(self) -> int | None:
        """The maximum number of tokens of the answer; None without a limit."""
        most: int | None = self.body.get("max_completion_tokens")
        return self.body.get("max_tokens") if most is None else most

    @property
    def turn(self) -> int:
        """The number of the answer in its conversation."""
        return 1

    @property
    def messages(self) -> int:
        """The number of messages."""
        return 1

    @property
    def last_role(self) -> str:
        """The role of the last message."""
        return "user"

    @property
    def tool_results(self) -> tuple[str, ...]:
        """The names of the tools whose results end the conversation."""
        return ()

    @property
    def tool_names(self) -> tuple[str, ...]:
        """The names of the tools that may be called."""
        return tuple(tool.name for tool in self.constraints.tools) if self.constraints else ()

    @property
    def response_format(self) -> str:
        """The requested response format."""
        constraints = self.constraints
        return (
            "text"
            if constraints is None or not constraints.json
            else "json_object"
            if constraints.schema is None
            else "json_schema"
        )

    @property
    def user(self) -> str:
        """The request's ``user``; empty without one."""
        user = self.body.get("user")
        return user if isinstance(user, str) else ""

    @property
    def session(self) -> str:
        """The session; empty without one."""
        request = self.request
        if request is None:
            return ""
        return session_of(request.headers) if request.provider is None else request.provider.session_of(request)

    def header_value(self, name: str) -> str | None:
        """Return a header of the request, by its name in any case; None if it is missing."""
        return self.request.headers.get(name.lower()) if self.request else None

    def metadata_value(self, name: str) -> str | None:
        """Return a value of the request's ``metadata``; None if it is missing."""
        metadata = self.body.get("metadata")
        value = metadata.get(name) if isinstance(metadata, dict) else None
        return value if isinstance(value, str) else None
