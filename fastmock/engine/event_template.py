"""What the chat rules say, told in another form: what Responses and Messages share.

Both render an answer once, whole and as the events of a stream, with only the ids left open, and put it between what
each request fills anew. What a rule always says alike is ready.
"""

import secrets
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

import orjson

from fastmock.content.template import Template
from fastmock.content.words import Chunker
from fastmock.core.garbage import collection_paused
from fastmock.core.http import Answer, ChatRequest
from fastmock.engine.response_template import NOBODYS_ID, Rendering, ResponseTemplate

ID_PLACEHOLDER = f"\0{secrets.token_hex(8)}\0"
"""Stands in what is told wherever an id of the request's own goes on: 24 hexadecimal digits. No request can say it."""

_OWN = orjson.dumps(ID_PLACEHOLDER)[1:-1]
_MOST_KEPT, _LONGEST_KEPT = 64, 512  # texts that were made up and are kept ready, and their tokens

Events = list[tuple[int, dict[str, Any]]]
"""The events of a stream, each with how many tokens it says."""


class RenderedAnswer:
    """An answer in the form of a dialect.

    Attributes:
        answer: what is said.
        content: its JSON where it is said whole, in pieces between which the request's own id goes.
    """

    def __init__(
        self, answer: Answer, content: Any, events: Callable[[], Events], write: Callable[[dict[str, Any]], bytes]
    ) -> None:
        """``events`` makes the events of its stream, and ``write`` their bytes.

        A non-streaming response needs none, which saves it 25 µs.
        """
        self.answer = answer
        self.content = orjson.dumps(content).split(_OWN)
        self._events, self._write = events, write
        self._stream: RenderedEvents | None = None

    @property
    def stream(self) -> "RenderedEvents":
        """It as a stream."""
        if self._stream is None:
            self._stream = RenderedEvents(self._events(), self._write)
        return self._stream


class RenderedEvents:
    """The events of an answer in the form of a dialect.

    Attributes:
        steps: what goes out together: the tokens of each step. The last, of none, ends what is said.
        written: the bytes of each step.
        length: how many tokens are said.
        events: how many events there are.
    """

    def __init__(self, events: Events, write: Callable[[dict[str, Any]], bytes]) -> None:
        self.events = len(events)
        self.steps: list[int] = []
        self.written: list[bytes] = []
        held = []
        with collection_paused():
            for tokens, event in events:
                held.append(write(event))
                if tokens:  # what says nothing goes out with the next that does
                    self.steps.append(tokens)
                    self.written.append(b"".join(held))
                    held = []
        self.steps.append(0)
        self.written.append(b"".join(held))
        self.length = sum(self.steps)

    @cached_property
    def all(self) -> list[bytes]:
        """All of it, in pieces between which the request's own id goes."""
        return b"".join(self.written).split(_OWN)


def event_bytes(event: dict[str, Any]) -> bytes:
    """Write a server-sent event, whose type stands in it and before it."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))


class ResponseMeta(NamedTuple):
    """What a whole response says of its model and its tokens; see Ask."""

    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int


Outer = ChatRequest | ResponseMeta
"""What says the model and the tokens that stand around what is said: the ask, unless a whole response has its own."""


class Renderer(Protocol):
    """What a dialect does differently."""

    def form(self, chat: ChatRequest) -> Hashable:
        """Return what of a request decides on the form of its answer, whatever is said."""

    def tell(self, answer: Answer, form: Any, cutter: Chunker) -> tuple[Any, Callable[[], Events]]:
        """Return what is said, for a whole answer, and what makes the events of a stream.

        ``ID_PLACEHOLDER`` stands where ids go on.
        """

    def event(self, event: dict[str, Any]) -> bytes:
        """Write an event of a stream."""

    def whole(self, chat: ChatRequest, told: RenderedAnswer, content: bytes, outer: Outer) -> bytes:
        """Return the whole answer, of which ``content`` is what is said."""

    def around(self, chat: ChatRequest, told: RenderedAnswer, content: bytes, outer: Outer) -> tuple[bytes, bytes]:
        """Return what a stream begins with, and what it ends with."""


class DialectTemplate:
    """A script as a dialect tells it; see ``response_template.Rendering``."""

    def __init__(self, script: ResponseTemplate, teller: Renderer, per_chunk: int) -> None:
        self._script = script.alone()
        own = script.own()
        self._own = Template(own).render if own else None
        self._teller = teller
        self._per_chunk = per_chunk
        self._ready: dict[tuple[object, ...], RenderedAnswer] = {}
        self._shared: WeakValueDictionary[tuple[object, ...], RenderedAnswer] = (
            WeakValueDictionary()
        )  # what any stream still sends

    def whole(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> bytes:
        """Return the whole answer."""
        told = self._told(chat, answers)
        return self._teller.whole(chat, told, _own(chat).join(told.content), self._outer(chat))

    def render_stream(
        self, chat: ChatRequest, answers: Sequence[Answer] | None = None, obfuscated: bool = False
    ) -> "EventStream":
        """Return the stream."""
        chat.obfuscation = obfuscated
        told = self._told(chat, answers)
        own = _own(chat)
        return EventStream(told, own, *self._teller.around(chat, told, own.join(told.content), self._outer(chat)))

    def length(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> int:
        """Return how many tokens are said one after another."""
        return self._told(chat, answers).stream.length

    def _outer(self, chat: ChatRequest) -> Outer:
        """Return what is said of the model and the tokens, once they are counted."""
        return chat if self._own is None else _given(orjson.loads(self._own(chat)), chat)

    def _told(self, chat: ChatRequest, answers: Sequence[Answer] | None) -> RenderedAnswer:
        """Return what is said to ``chat``, and count it."""
        script, teller = self._script, self._teller
        form = teller.form(chat)
        key: tuple[object, ...] | None = None
        if answers is not None:
            answer = answers[0]
            chat.completion_tokens = answer.tokens + chat.hidden_tokens
        elif script.fixed is not None:
            answer, key = script.fixed, (form, chat.tokenizer)
            chat.completion_tokens = script.tokens(chat) + chat.hidden_tokens
        else:
            answer = script.answers(chat)[0]
            chat.completion_tokens = answer.tokens + chat.hidden_tokens
            if script.only_made and answer.tokens <= _LONGEST_KEPT:
                key = answer.text, answer.finish_reason, form, chat.tokenizer
        told = self._ready.get(key) if key else None
        shared = (answer, form, chat.tokenizer) if key is None and answers is None and script.only_made else None
        if told is None and shared is not None:
            told = self._shared.get(shared)
        if told is None:
            cutter = Chunker(chat.tokenizer, self._per_chunk, chat.generated)
            told = RenderedAnswer(answer, *teller.tell(answer, form, cutter), teller.event)
            if shared is not None:
                self._shared[shared] = told
            if key:
                if len(self._ready) >= _MOST_KEPT:
                    self._ready.clear()
                self._ready[key] = told
        return told


class DialectTemplates:
    """Scripts as a dialect tells them."""

    def __init__(self, dialect: str, teller: Renderer, per_chunk: int) -> None:
        """``dialect`` names it among those that tell the same scripts."""
        self._dialect = dialect
        self._teller = teller
        self._per_chunk = per_chunk

    def of(self, script: ResponseTemplate) -> Rendering:
        """Return what tells a script; it is made once."""
        found = script.retold.get(self._dialect)
        if found is None:
            found = script.retold[self._dialect] = DialectTemplate(script, self._teller, self._per_chunk)
        return found


def _given(own: dict[str, Any], chat: ChatRequest) -> ResponseMeta:
    """Return what a whole response says of its model and usage; what it leaves out is what is known."""
    model, usage = own.get("model"), own.get("usage")
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


def _count(holder: dict[str, Any], name: str, otherwise: int) -> int:
    value = holder.get(name)
    return value if type(value) is int and value >= 0 else otherwise


def _own(chat: ChatRequest) -> bytes:
    return chat.unique[8:].encode()


def call_id(id_: str, prefix: str = "call_") -> str:
    """Return the id of a call as it is told: one that nobody gave goes on with the request's own."""
    if not id_:
        return f"{prefix}{ID_PLACEHOLDER}"
    if id_.startswith(NOBODYS_ID):
        return f"{prefix}{ID_PLACEHOLDER}{id_.removeprefix(NOBODYS_ID)}"
    return prefix + id_.removeprefix("call_") if id_.startswith("call_") else id_


class EventStream:
    """A stream for one request; see ``response_template.ChunkStream``."""

    __slots__ = ("_end", "_opening", "_own", "_said", "source", "steps")

    def __init__(self, told: RenderedAnswer, own: bytes, opening: bytes, end: bytes) -> None:
        self.source: object = told
        self._said = told.stream
        self.steps = self._said.steps
        self._own = own
        self._opening = opening
        self._end = end

    def cut(self, begin: int, end: int) -> bytes:
        """See ``response_template.ChunkStream``."""
        data = b"".join(self._said.written[begin:end]).replace(_OWN, self._own)
        if begin == 0:
            data = self._opening + data
        return data + self._end if end == len(self.steps) else data

    def all(self) -> bytes:
        """See ``response_template.ChunkStream``."""
        return b"%b%b%b" % (self._opening, self._own.join(self._said.all), self._end)

    def length(self) -> int:
        """See ``response_template.RenderedStream``."""
        longer = len(self._own) - len(_OWN)
        said = sum(len(part) + longer * part.count(_OWN) for part in self._said.written)
        return len(self._opening) + said + len(self._end)

    def size(self) -> int:
        """See ``response_template.RenderedStream``."""
        return sum(map(len, self._said.written)) + len(self._end)
