"""Render answers as Anthropic messages, streaming and non-streaming."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from fastmock.content.words import Chunker
from fastmock.core.completion import Answer, ChatRequest, ToolCall
from fastmock.engine.constraints import called_tokens
from fastmock.engine.event_template import Events, MetaSource, RenderedAnswer, call_id, event_bytes
from fastmock.providers.anthropic.headers import PING
from fastmock.providers.anthropic.messages.request import MessagesRequest
from fastmock.providers.anthropic.messages.signatures import sign

Document = dict[str, Any]

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_STOP = event_bytes({"type": "message_stop"})


class MessagesRenderer:
    """Renders Anthropic messages; see ``event_template.Renderer``."""

    event = staticmethod(event_bytes)

    def __init__(self, thinking: str) -> None:
        """``thinking``: the default thinking text."""
        self._thinking = thinking

    def form(self, chat: ChatRequest) -> str:
        """Return how the thinking of a request is shown."""
        assert isinstance(chat, MessagesRequest)  # noqa: S101 - always the case
        return chat.shows

    def render(self, answer: Answer, form: str, chunker: Chunker) -> tuple[list[Document], Callable[[], Events]]:
        """Return the content blocks of an answer, and a function that creates their events."""
        content: list[Document] = []
        reasoning = answer.reasoning
        if reasoning is None and form:
            reasoning = self._thinking
        if reasoning:
            reasoning = "" if form == "omitted" else reasoning
            content.append({"type": "thinking", "thinking": reasoning, "signature": sign(reasoning)})
        text = answer.text if answer.refusal is None else answer.refusal
        if text or not answer.calls:
            content.append({"type": "text", "text": text or ""})
        content += map(_tool_use, answer.calls)
        return content, partial(_events_of, answer, content, chunker)

    def whole(self, chat: ChatRequest, rendered: RenderedAnswer, content: bytes, meta: MetaSource) -> bytes:
        """Return the message with its rendered content."""
        return _message(chat, content, _ending(rendered), meta, meta.completion_tokens)

    def envelope(
        self, chat: ChatRequest, rendered: RenderedAnswer, content: bytes, meta: MetaSource
    ) -> tuple[bytes, bytes]:
        """Return the events before and after the content blocks."""
        initial = _message(
            chat, b"[]", b'"stop_reason":null,"stop_sequence":null', meta, 1 if meta.completion_tokens else 0
        )
        opening = b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n%b' % (initial, PING)
        end = b'event: message_delta\ndata: {"type":"message_delta","delta":{%b},"usage":%b}\n\n%b' % (
            _ending(rendered),
            _usage(meta, meta.completion_tokens),
            _STOP,
        )
        return opening, end


def _events_of(answer: Answer, content: Sequence[Document], chunker: Chunker) -> Events:
    """Return the events of the blocks in ``content``, in order."""
    before = len(content) - len(answer.calls)
    events: Events = []
    for index, block in enumerate(content):
        if answer.finish_reason == "length" and index >= before:  # truncated arguments are not valid JSON
            initial: Document = {"input": {}}
            deltas = _input_deltas(answer.calls[index - before].arguments, chunker)
        else:
            initial, deltas = _DELTAS[block["type"]](block, chunker)
        where = {"index": index}
        named = called_tokens(block["name"], chunker.tokenizer) if block["type"] == "tool_use" else 0
        events.append((named, {"type": "content_block_start", **where, "content_block": block | initial}))
        events += [(tokens, {"type": "content_block_delta", **where, "delta": delta}) for tokens, delta in deltas]
        events.append((0, {"type": "content_block_stop", **where}))
    return events


def _message(chat: ChatRequest, content: bytes, ending: bytes, meta: MetaSource, tokens: int) -> bytes:
    return b'{"id":"msg_%b","type":"message","role":"assistant","model":%b,"content":%b,%b,"usage":%b}' % (
        chat.unique[8:].encode(),
        orjson.dumps(meta.model),
        content,
        ending,
        _usage(meta, tokens),
    )


def _usage(meta: MetaSource, tokens: int) -> bytes:
    """Return the usage; cached tokens are not included in the input tokens."""
    return (
        b'{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,"output_tokens":%d,'
        b'"service_tier":"standard"}' % (max(0, meta.prompt_tokens - meta.cached_tokens), meta.cached_tokens, tokens)
    )


def _ending(rendered: RenderedAnswer) -> bytes:
    """Return the JSON members for the stop reason."""
    answer = rendered.answer
    if answer.stop is not None:
        return b'"stop_reason":"stop_sequence","stop_sequence":%b' % orjson.dumps(answer.stop)
    is_refusal = answer.refusal is not None
    reason = "refusal" if is_refusal else _REASONS.get(answer.finish_reason, "end_turn")
    return b'"stop_reason":"%b","stop_sequence":null' % reason.encode()


def _tool_use(call: ToolCall) -> Document:
    try:
        given = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        given = call.arguments if call.custom else {}
    if not isinstance(given, dict):  # the input of a custom tool, which this dialect does not have
        given = {"input": given}
    return {"type": "tool_use", "id": call_id(call.id, "toolu_"), "name": call.name, "input": given}


# The functions below return the initial values of a block's fields, and its deltas.


def _text_deltas(block: Document, chunker: Chunker) -> tuple[Document, Events]:
    pieces = chunker.cut(block["text"])
    return {"text": ""}, [(tokens, {"type": "text_delta", "text": piece}) for tokens, piece in pieces]


def _thinking_deltas(block: Document, chunker: Chunker) -> tuple[Document, Events]:
    pieces = chunker.cut(block["thinking"])
    deltas: Events = [(tokens, {"type": "thinking_delta", "thinking": piece}) for tokens, piece in pieces]
    deltas.append((0, {"type": "signature_delta", "signature": block["signature"]}))
    return {"thinking": "", "signature": ""}, deltas


def _use_deltas(block: Document, chunker: Chunker) -> tuple[Document, Events]:
    return {"input": {}}, _input_deltas(orjson.dumps(block["input"]).decode(), chunker)


def _input_deltas(written: str, chunker: Chunker) -> Events:
    deltas: Events = [(0, {"type": "input_json_delta", "partial_json": ""})]
    pieces = chunker.cut(written)
    return deltas + [(tokens, {"type": "input_json_delta", "partial_json": piece}) for tokens, piece in pieces]


_DELTAS = {"text": _text_deltas, "thinking": _thinking_deltas, "tool_use": _use_deltas}
