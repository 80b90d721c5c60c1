"""Render answers as responses, streaming and non-streaming."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from fastmock.content.filler import lorem
from fastmock.content.words import Chunker
from fastmock.core.completion import Answer, ChatRequest, ToolCall
from fastmock.core.errors import ApiError
from fastmock.core.http import Reply, Request, Stream
from fastmock.core.provider import in_words
from fastmock.engine.constraints import called_tokens
from fastmock.engine.event_template import ID_PLACEHOLDER, Events, MetaSource, RenderedAnswer, call_id, event_bytes
from fastmock.providers.openai.chat.render import logprobs_of, pieces
from fastmock.providers.openai.errors import words
from fastmock.providers.openai.responses.request import ResponsesRequest

Document = dict[str, Any]

_OPENING = 2  # events before those of the output
_SUMMARY = 12  # words of a generated summary
_ENCRYPTED = "gAAAAABmYXN0bW9jaw=="  # opaque to clients, like the real one
_UNKNOWN = -1  # stands for an event number that is not known yet
_NUMBERLESS = b'"sequence_number":%d' % _UNKNOWN  # cannot occur in texts, whose quotes are escaped
_EVENT = b"\ndata: "  # comments, such as heartbeats, do not contain it
_REASONS = {"length": b"max_output_tokens", "content_filter": b"content_filter"}


Form = tuple[str, bool, bool]
"""The properties of a request that affect the form of its answer: how reasoning is shown, whether it is encrypted, and
whether deltas are padded.
"""


class ResponsesRenderer:
    """Renders responses; see ``event_template.Renderer``."""

    event = staticmethod(event_bytes)

    def __init__(self, seed: int) -> None:
        """``seed``: seed of generated summaries."""
        self._summary = lorem(_SUMMARY, seed, "summary")

    def form(self, chat: ChatRequest) -> Form:
        """Return the properties of a request that affect the form of its answer."""
        assert isinstance(chat, ResponsesRequest)  # noqa: S101 - always the case
        return chat.shows, chat.encrypted, bool(chat.obfuscation)

    def render(self, answer: Answer, form: Form, chunker: Chunker) -> tuple[list[Document], Callable[[], Events]]:
        """Return the output items of an answer, and a function that creates their events."""
        shows, encrypted, padded = form
        output: list[Document] = []
        reasoning = answer.reasoning
        if reasoning is None and shows == "summary":
            reasoning = self._summary
        if shows or reasoning:
            output.append(_reasoning(reasoning or "", encrypted))
        status = "incomplete" if answer.finish_reason in _REASONS else "completed"
        if answer.text or answer.refusal is not None or not answer.calls:
            output.append(_message(answer, status))
        output += [_call(call, place, status) for place, call in enumerate(answer.calls)]
        return output, partial(events_of, output, chunker, padded)

    def whole(self, chat: ChatRequest, rendered: RenderedAnswer, content: bytes, meta: MetaSource) -> bytes:
        """Return the response with its rendered output."""
        assert isinstance(chat, ResponsesRequest)  # noqa: S101
        chat.whole = _response(chat, chat.created(), chat.echo, rendered, content, meta)
        return chat.whole

    def envelope(
        self, chat: ChatRequest, rendered: RenderedAnswer, content: bytes, meta: MetaSource
    ) -> tuple[bytes, bytes]:
        """Return the events before and after the output."""
        assert isinstance(chat, ResponsesRequest)  # noqa: S101
        now, echo = chat.created(), chat.echo
        initial = empty_response(chat, b"in_progress", now, echo, meta.model)
        chat.whole = _response(chat, now, echo, rendered, content, meta)
        end = b"incomplete" if rendered.answer.finish_reason in _REASONS else b"completed"
        opening = _event(b"created", 0, initial) + _event(b"in_progress", 1, initial)
        return opening, _event(end, _OPENING + rendered.stream.events, chat.whole)


def error_event(error: ApiError, request_id: str) -> bytes:
    """Return an error as an event of a stream; ``numbered`` adds its sequence number."""
    error = in_words(error, words)
    event = {"type": "error", "sequence_number": _UNKNOWN, "code": error.code or error.kind, "message": error.message}
    return event_bytes(event | {"param": error.param})


def numbered(answer: Reply | Stream) -> Reply | Stream:
    """Add sequence numbers to the errors within a stream, which are only known while it is sent."""
    if isinstance(answer, Stream):
        _Numbering(answer)
    return answer


def numbering(endpoint: Callable[[Request, str], Reply | Stream]) -> Callable[[Request, str], Reply | Stream]:
    """Return an endpoint whose responses are ``numbered``."""
    return lambda request, unique: numbered(endpoint(request, unique))


class _Numbering:
    """Wraps the sending of a stream."""

    def __init__(self, stream: Stream) -> None:
        self._cut = stream.cut
        self._failed = stream.failed
        self._begin = 0
        stream.cut = self._cut_numbered if stream.fault else self._cut_known
        stream.failed = self._failed_numbered

    def _cut_known(self, begin: int, end: int) -> bytes:
        self._begin = begin
        return self._cut(begin, end)

    def _cut_numbered(self, begin: int, end: int) -> bytes:
        data = self._cut_known(begin, end)
        return self._put(data) if _NUMBERLESS in data else data

    def _failed_numbered(self) -> bytes:
        return self._put(self._failed())

    def _put(self, data: bytes) -> bytes:
        before, _, after = data.partition(_NUMBERLESS)
        number = (self._cut(0, self._begin) + before).count(_EVENT) - 1
        return b'%b"sequence_number":%d%b' % (before, number, after)


def _event(kind: bytes, number: int, response: bytes) -> bytes:
    """Serialize an event that contains the whole response."""
    return b'event: response.%b\ndata: {"type":"response.%b","sequence_number":%d,"response":%b}\n\n' % (
        kind,
        kind,
        number,
        response,
    )


def empty_response(chat: ResponsesRequest, status: bytes, now: int, echo: bytes, model: str) -> bytes:
    """Return a response without output."""
    return (
        b'{"id":"resp_%b","object":"response","created_at":%d,"status":"%b","completed_at":null,"error":null,'
        b'"incomplete_details":null,"model":%b,"output":[],%b,"usage":null}'
        % (chat.unique.encode(), now, status, orjson.dumps(model), echo)
    )


def _response(
    chat: ResponsesRequest, now: int, echo: bytes, rendered: RenderedAnswer, content: bytes, meta: MetaSource
) -> bytes:
    reason = _REASONS.get(rendered.answer.finish_reason)
    return (
        b'{"id":"resp_%b","object":"response","created_at":%d,"status":"%b","completed_at":%b,"error":null,'
        b'"incomplete_details":%b,"model":%b,"output":%b,%b,"usage":{"input_tokens":%d,"input_tokens_details":'
        b'{"cached_tokens":%d,"cache_write_tokens":0},"output_tokens":%d,"output_tokens_details":'
        b'{"reasoning_tokens":%d},"total_tokens":%d}}'
        % (
            chat.unique.encode(),
            now,
            b"incomplete" if reason else b"completed",
            b"null" if reason else b"%d" % now,
            b'{"reason":"%b"}' % reason if reason else b"null",
            orjson.dumps(meta.model),
            content,
            echo,
            meta.prompt_tokens,
            meta.cached_tokens,
            meta.completion_tokens,
            meta.reasoning_tokens,
            meta.prompt_tokens + meta.completion_tokens,
        )
    )


def _reasoning(text: str, encrypted: bool) -> Document:
    summary = [{"type": "summary_text", "text": text}] if text else []
    item = {"id": f"rs_{ID_PLACEHOLDER}", "type": "reasoning", "summary": summary}
    return item | {"encrypted_content": _ENCRYPTED} if encrypted else item


def _message(answer: Answer, status: str) -> Document:
    part: Document
    if answer.refusal is not None:
        part = {"type": "refusal", "refusal": answer.refusal}
    else:
        logprobs = (logprobs_of(answer) or {}).get("content") or []
        part = {"type": "output_text", "text": answer.text or "", "annotations": [], "logprobs": logprobs}
    return {"id": f"msg_{ID_PLACEHOLDER}", "type": "message", "status": status, "role": "assistant", "content": [part]}


def _call(call: ToolCall, place: int, status: str) -> Document:
    item: Document = {"id": f"{'ctc' if call.custom else 'fc'}_{ID_PLACEHOLDER}{place or ''}"}
    item |= {"type": "custom_tool_call" if call.custom else "function_call", "status": status}
    item |= {"call_id": call_id(call.id), "name": call.name}
    return item | {"input" if call.custom else "arguments": call.arguments}


def events_of(output: Sequence[Document], chunker: Chunker, padded: bool = False) -> Events:
    """Return the events of the items in ``output``, in order."""
    events: Events = []
    for index, item in enumerate(output):
        initial, deltas = _EVENTS[item["type"]](item, chunker)
        where = {"output_index": index}
        named = called_tokens(item["name"], chunker.tokenizer) if "call_id" in item else 0
        events.append((named, {"type": "response.output_item.added", **where, "item": item | initial}))
        events += [(tokens, {**event, **where}) for tokens, event in deltas]
        events.append((0, {"type": "response.output_item.done", **where, "item": item}))
    for number, (_, event) in enumerate(events, _OPENING):
        event["sequence_number"] = number
        if padded and "delta" in event:
            event["obfuscation"] = f"{number:x}".ljust(16, "a")[: 16 - len(event["delta"]) % 16]
    return events


# The functions below return the initial values of an item's fields, and its events.


def _reasoning_events(item: Document, chunker: Chunker) -> tuple[Document, Events]:
    if not item["summary"]:
        return {}, []
    [part] = item["summary"]
    where, kind = {"item_id": item["id"], "summary_index": 0}, "response.reasoning_summary"
    events: Events = [(0, {"type": f"{kind}_part.added", **where, "part": part | {"text": ""}})]
    for tokens, piece in chunker.cut(part["text"]):
        events.append((tokens, {"type": f"{kind}_text.delta", **where, "delta": piece}))
    events.append((0, {"type": f"{kind}_text.done", **where, "text": part["text"]}))
    events.append((0, {"type": f"{kind}_part.done", **where, "part": part}))
    return {"summary": []}, events


def _message_events(item: Document, chunker: Chunker) -> tuple[Document, Events]:
    [part] = item["content"]
    kind, where = f"response.{part['type']}", {"item_id": item["id"], "content_index": 0}
    is_refusal = part["type"] == "refusal"
    field = "refusal" if is_refusal else "text"
    logprobs: Document = {} if is_refusal else {"logprobs": []}
    events: Events = [(0, {"type": "response.content_part.added", **where, "part": part | {field: ""} | logprobs})]
    for tokens, piece, logs in pieces(part[field], chunker, part.get("logprobs")):
        event = {"type": f"{kind}.delta", **where, "delta": piece}
        events.append((tokens, event if is_refusal else event | {"logprobs": logs or []}))
    done = {name: part[name] for name in (field, *logprobs)}
    events.append((0, {"type": f"{kind}.done", **where, **done}))
    events.append((0, {"type": "response.content_part.done", **where, "part": part}))
    return {"status": "in_progress", "content": []}, events


def _function_events(item: Document, chunker: Chunker) -> tuple[Document, Events]:
    return _call_events(item, chunker, "arguments", "response.function_call_arguments")


def _custom_events(item: Document, chunker: Chunker) -> tuple[Document, Events]:
    return _call_events(item, chunker, "input", "response.custom_tool_call_input")


def _call_events(item: Document, chunker: Chunker, field: str, kind: str) -> tuple[Document, Events]:
    where = {"item_id": item["id"]}
    events: Events = []
    for tokens, piece in chunker.cut(item[field]):
        events.append((tokens, {"type": f"{kind}.delta", **where, "delta": piece}))
    events.append((0, {"type": f"{kind}.done", **where, "name": item["name"], field: item[field]}))
    return {"status": "in_progress", field: ""}, events


_EVENTS = {
    "reasoning": _reasoning_events,
    "message": _message_events,
    "function_call": _function_events,
    "custom_tool_call": _custom_events,
}
