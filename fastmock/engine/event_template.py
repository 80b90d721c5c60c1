"""Render the answers of chat rules in other dialects: shared by Responses and Messages.

Both render an answer once, as non-streaming content and as stream events with placeholders for ids, and add an envelope
for each request. Constant answers are cached.
"""

import secrets
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

import orjson

from fastmock.content.template import Template
from fastmock.content.words import Chunker
from fastmock.core.completion import Answer, ChatRequest
from fastmock.core.garbage import collection_paused
from fastmock.engine.response_template import PLACEHOLDER_CALL_ID, Rendering, ResponseTemplate

ID_PLACEHOLDER = f"\0{secrets.token_hex(8)}\0"
"""Placeholder for the request's own part of ids, 24 hexadecimal digits. No request can contain it."""

_PLACEHOLDER = orjson.dumps(ID_PLACEHOLDER)[1:-1]
_MOST_KEPT, _LONGEST_KEPT = 64, 512  # cached generated texts, and their maximum tokens

Events = list[tuple[int, dict[str, Any]]]
"""The events of a stream, each with its number of tokens."""


class RenderedAnswer:
    """An answer in the form of a dialect.

    Attributes:
        answer: the answer.
        content: its non-streaming JSON, split at the id placeholders.
    """

    def __init__(
        self, answer: Answer, content: Any, events: Callable[[], Events], write: Callable[[dict[str, Any]], bytes]
    ) -> None:
        """``events`` creates the events of the stream, ``write`` serializes them.

        A non-streaming response needs no events, which saves 25 µs.
        """
        self.answer = answer
        self.content = orjson.dumps(content).split(_PLACEHOLDER)
        self._events, self._write = events, write
        self._stream: RenderedEvents | None = None

    @property
    def stream(self) -> "RenderedEvents":
        """The answer as events of a stream."""
        if self._stream is None:
            self._stream = RenderedEvents(self._events(), self._write)
        return self._stream


class RenderedEvents:
    """The events of an answer in the form of a dialect.

    Attributes:
        steps: the tokens of each step, whose events are sent together. The last step has none and ends the content.
        written: the bytes of each step.
        length: the total number of tokens.
        events: the number of events.
    """

    def __init__(self, events: Events, write: Callable[[dict[str, Any]], bytes]) -> None:
        self.events = len(events)
        self.steps: list[int] = []
        self.written: list[bytes] = []
        held = []
        with collection_paused():
            for tokens, event in events:
                held.append(write(event))
                if tokens:  # events without tokens are sent with the next one that has some
                    self.steps.append(tokens)
                    self.written.append(b"".join(held))
                    held = []
        self.steps.append(0)
        self.written.append(b"".join(held))
        self.length = sum(self.steps)

    @cached_property
    def all(self) -> list[bytes]:
        """The whole stream, split at the id placeholders."""
        return b"".join(self.written).split(_PLACEHOLDER)


def event_bytes(event: dict[str, Any]) -> bytes:
    """Serialize a server-sent event; its type is repeated in the line ``event``."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))


class ResponseMeta(NamedTuple):
    """Model and usage of a response; see ChatRequest for the attributes."""

    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


MetaSource = ChatRequest | ResponseMeta
"""The source of the model and usage in an envelope: the request, unless a whole response sets its own."""


class Renderer(Protocol):
    """The rendering of answers that is specific to a dialect."""

    def form(self, chat: ChatRequest) -> Hashable:
        """Return the properties of a request that affect the form of any answer to it."""

    def render(self, answer: Answer, form: Any, chunker: Chunker) -> tuple[Any, Callable[[], Events]]:
        """Return the content of a non-streaming response, and a function that creates the events of a stream.

        ``ID_PLACEHOLDER`` stands for the request's own part of ids.
        """

    def event(self, event: dict[str, Any]) -> bytes:
        """Serialize an event of a stream."""

    def whole(self, chat: ChatRequest, rendered: RenderedAnswer, content: bytes, meta: MetaSource) -> bytes:
        """Return the non-streaming response; ``content`` is the rendered answer."""

    def envelope(
        self, chat: ChatRequest, rendered: RenderedAnswer, content: bytes, meta: MetaSource
    ) -> tuple[bytes, bytes]:
        """Return the beginning and the end of a stream."""


class DialectTemplate:
    """A response template in a dialect; see ``response_template.Rendering``."""

    def __init__(self, template: ResponseTemplate, renderer: Renderer, per_chunk: int) -> None:
        self._template = template.first_choice()
        overrides = template.overrides()
        self._overrides = Template(overrides).render if overrides else None
        self._renderer = renderer
        self._per_chunk = per_chunk
        self._ready: dict[tuple[object, ...], RenderedAnswer] = {}
        self._shared: WeakValueDictionary[tuple[object, ...], RenderedAnswer] = (
            WeakValueDictionary()
        )  # those of streams that are still being sent

    @property
    def stops(self) -> bool:
        """See ``response_template.Rendering``."""
        return self._template.stops

    def answers(self, chat: ChatRequest) -> Sequence[Answer]:
        """Return its own answers to ``chat``."""
        return self._template.answers(chat)

    def whole(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> bytes:
        """Return the non-streaming response."""
        rendered = self._render(chat, answers)
        return self._renderer.whole(chat, rendered, _response_id(chat).join(rendered.content), self._meta(chat))

    def render_stream(
        self, chat: ChatRequest, answers: Sequence[Answer] | None = None, obfuscated: bool = False
    ) -> "EventStream":
        """Return the stream."""
        chat.obfuscation = obfuscated
        rendered = self._render(chat, answers)
        response_id = _response_id(chat)
        return EventStream(
            rendered,
            response_id,
            *self._renderer.envelope(chat, rendered, response_id.join(rendered.content), self._meta(chat)),
        )

    def length(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> int:
        """Return the number of tokens."""
        return self._render(chat, answers).stream.length

    def _meta(self, chat: ChatRequest) -> MetaSource:
        """Return the source of model and usage, once the tokens are counted."""
        return chat if self._overrides is None else _response_meta(orjson.loads(self._overrides(chat)), chat)

    def _render(self, chat: ChatRequest, answers: Sequence[Answer] | None) -> RenderedAnswer:
        """Return the rendered answer to ``chat``, and set its token count."""
        template, renderer = self._template, self._renderer
        form = renderer.form(chat)
        hidden = 0 if chat.details is None else chat.details.hidden_tokens
        key: tuple[object, ...] | None = None
        if answers is not None:
            answer = answers[0]
            chat.completion_tokens = answer.tokens + hidden
        elif template.fixed is not None:
            answer, key = template.fixed, (form, chat.tokenizer)
            chat.completion_tokens = template.tokens(chat) + hidden
        else:
            answer = template.answers(chat)[0]
            chat.completion_tokens = answer.tokens + hidden
            if template.generated_only and answer.tokens <= _LONGEST_KEPT:
                key = answer.text, answer.finish_reason, form, chat.tokenizer
        rendered = self._ready.get(key) if key else None
        shared = (answer, form, chat.tokenizer) if key is None and answers is None and template.generated_only else None
        if rendered is None and shared is not None:
            rendered = self._shared.get(shared)
        if rendered is None:
            chunker = Chunker(chat.tokenizer, self._per_chunk, chat.generated)
            rendered = RenderedAnswer(answer, *renderer.render(answer, form, chunker), renderer.event)
            if shared is not None:
                self._shared[shared] = rendered
            if key:
                if len(self._ready) >= _MOST_KEPT:
                    self._ready.clear()
                self._ready[key] = rendered
        return rendered


class DialectTemplates:
    """The response templates of a dialect."""

    def __init__(self, dialect: str, renderer: Renderer, per_chunk: int) -> None:
        """``dialect``: its name, which must be unique among the dialects that render the same templates."""
        self._dialect = dialect
        self._renderer = renderer
        self._per_chunk = per_chunk

    def of(self, template: ResponseTemplate) -> Rendering:
        """Return the dialect's form of a template, created once."""
        found = template.dialect_templates.get(self._dialect)
        if found is None:
            found = template.dialect_templates[self._dialect] = DialectTemplate(
                template, self._renderer, self._per_chunk
            )
        return found


def _response_meta(overrides: dict[str, Any], chat: ChatRequest) -> ResponseMeta:
    """Return the model and usage that a whole response sets; missing values come from the request."""
    model, usage = overrides.get("model"), overrides.get("usage")
    named = model if isinstance(model, str) else chat.model
    if not isinstance(usage, dict):
        return ResponseMeta(
            named, chat.prompt_tokens, chat.cached_tokens, chat.completion_tokens, chat.reasoning_tokens
        )
    details = [usage.get(f"{kind}_tokens_details") for kind in ("prompt", "completion")]
    cached, reasoning = (one if isinstance(one, dict) else {} for one in details)
    prompt = _count(usage, "prompt_tokens", chat.prompt_tokens)
    return ResponseMeta(
        named,
        prompt,
        min(prompt, _count(cached, "cached_tokens", 0)),
        _count(usage, "completion_tokens", chat.completion_tokens),
        _count(reasoning, "reasoning_tokens", 0),
    )


def _count(holder: dict[str, Any], name: str, default: int) -> int:
    value = holder.get(name)
    return value if type(value) is int and value >= 0 else default


def _response_id(chat: ChatRequest) -> bytes:
    return chat.unique[8:].encode()


def call_id(id_: str, prefix: str = "call_") -> str:
    """Return the id of a tool call in a dialect; an id that is not fixed is derived from the request."""
    if not id_:
        return f"{prefix}{ID_PLACEHOLDER}"
    if id_.startswith(PLACEHOLDER_CALL_ID):
        return f"{prefix}{ID_PLACEHOLDER}{id_.removeprefix(PLACEHOLDER_CALL_ID)}"
    return prefix + id_.removeprefix("call_") if id_.startswith("call_") else id_


class EventStream:
    """A stream for one request; see ``response_template.RenderedStream``."""

    __slots__ = ("_end", "_events", "_opening", "_response_id", "source", "steps")

    def __init__(self, rendered: RenderedAnswer, response_id: bytes, opening: bytes, end: bytes) -> None:
        self.source: object = rendered
        self._events = rendered.stream
        self.steps = self._events.steps
        self._response_id = response_id
        self._opening = opening
        self._end = end

    def cut(self, begin: int, end: int) -> bytes:
        """Return the steps from ``begin`` up to ``end``."""
        data = b"".join(self._events.written[begin:end]).replace(_PLACEHOLDER, self._response_id)
        if begin == 0:
            data = self._opening + data
        return data + self._end if end == len(self.steps) else data

    def all(self) -> bytes:
        """Return the whole stream."""
        return b"%b%b%b" % (self._opening, self._response_id.join(self._events.all), self._end)

    def length(self) -> int:
        """Return the length of the stream, in bytes."""
        longer = len(self._response_id) - len(_PLACEHOLDER)
        content = sum(len(part) + longer * part.count(_PLACEHOLDER) for part in self._events.written)
        return len(self._opening) + content + len(self._end)

    def size(self) -> int:
        """Return the memory that the stream takes, in bytes."""
        return sum(map(len, self._events.written)) + len(self._end)
