"""Read recorded answers: their text, tool calls and vectors, of streams too."""

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from fastmock.cassettes.cassette import RecordedAnswer, coding_of, decompressed


@dataclass
class ReadToolCall:
    """A tool call; ``arguments`` is JSON, complete or not."""

    name: str = ""
    arguments: str = ""


@dataclass
class ReadAnswer:
    """The content of an answer.

    Attributes:
        text, reasoning: the text, and that of the reasoning.
        refusal: the text of a refusal.
        calls: the tool calls.
        vectors: the vectors of embeddings.
        flagged: the flagged categories of a moderation; None for other answers.
        error: the message of an error.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[ReadToolCall] = field(default_factory=list)
    vectors: list[list[float]] = field(default_factory=list)
    flagged: list[str] | None = None
    error: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was understood."""
        return self == ReadAnswer()


def plain_content(answer: RecordedAnswer) -> bytes | None:
    """Return the body without its content coding; None if it cannot be decoded."""
    coding = coding_of(answer.headers)
    return answer.content if coding == "identity" else decompressed(answer.content, coding)


def is_stream(answer: RecordedAnswer) -> bool:
    """Return whether the body is a stream of server-sent events."""
    return answer.headers.get("content-type", "").startswith("text/event-stream")


def read_answer(answer: RecordedAnswer) -> ReadAnswer:
    """Read an answer; what is not understood is left out."""
    content = plain_content(answer) or b""
    found = ReadAnswer()
    if is_stream(answer):
        calls: dict[object, ReadToolCall] = {}
        for event in events_of(content):
            _read_event(event, found, calls)
        found.calls = [*calls.values()]
        return found
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return found
    if isinstance(body, dict):
        _read_body(body, found)
    return found


def events_of(content: bytes) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a stream of server-sent events."""
    for line in content.splitlines():
        if line.startswith(b"data:"):
            try:
                event = orjson.loads(line[5:].strip())
            except orjson.JSONDecodeError:
                continue
            if isinstance(event, dict):
                yield event


def _read_body(body: Mapping[str, Any], found: ReadAnswer) -> None:
    if isinstance(error := body.get("error"), Mapping):
        found.error = str(error.get("message") or "")
    for choice in _objects(body.get("choices"))[:1]:
        message = choice.get("message")
        if isinstance(message, Mapping):
            _read_message(message, found)
        found.text += _text(choice.get("text"))
    for item in _objects(body.get("output")):
        _read_item(item, found)
    for block in _objects(body.get("content")):
        _read_block(block, found)
    for one in _objects(body.get("data")):
        if (vector := _vector(one.get("embedding"))) is not None:
            found.vectors.append(vector)
    for result in _objects(body.get("results"))[:1]:
        if isinstance(categories := result.get("categories"), Mapping):
            found.flagged = [str(name) for name, flag in categories.items() if flag]


def _read_message(message: Mapping[str, Any], found: ReadAnswer) -> None:
    found.text += _text(message.get("content"))
    found.refusal += _text(message.get("refusal"))
    found.reasoning += _text(message.get("reasoning_content"))
    for call in _objects(message.get("tool_calls")):
        if isinstance(function := call.get("function"), Mapping):
            found.calls.append(ReadToolCall(_text(function.get("name")), _text(function.get("arguments"))))


def _read_item(item: Mapping[str, Any], found: ReadAnswer) -> None:
    """Read an item of the output of a response."""
    if item.get("type") == "function_call":
        found.calls.append(ReadToolCall(_text(item.get("name")), _text(item.get("arguments"))))
    for part in _objects(item.get("content")):
        found.text += _text(part.get("text")) if part.get("type") == "output_text" else ""
        found.refusal += _text(part.get("refusal"))
    for part in _objects(item.get("summary")):
        found.reasoning += _text(part.get("text"))


def _read_block(block: Mapping[str, Any], found: ReadAnswer) -> None:
    """Read a content block of a message."""
    if block.get("type") == "tool_use":
        found.calls.append(ReadToolCall(_text(block.get("name")), orjson.dumps(block.get("input")).decode()))
    elif block.get("type") == "thinking":
        found.reasoning += _text(block.get("thinking"))
    else:
        found.text += _text(block.get("text"))


def _read_event(event: Mapping[str, Any], found: ReadAnswer, calls: dict[object, ReadToolCall]) -> None:
    """Read an event of a stream; ``calls`` are the tool calls so far, by their index."""
    if isinstance(error := event.get("error"), Mapping):
        found.error = str(error.get("message") or "")
    for choice in _objects(event.get("choices")):
        if not choice.get("index"):
            _read_choice(choice, found, calls)
    kind = event.get("type")
    if isinstance(kind, str) and kind.startswith("response."):
        _read_response_event(kind, event, found, calls)
    elif isinstance(kind, str) and kind.startswith("content_block_"):
        _read_block_event(event, found, calls)


def _read_choice(choice: Mapping[str, Any], found: ReadAnswer, calls: dict[object, ReadToolCall]) -> None:
    """Read a chunk of a chat completion or of a completion."""
    found.text += _text(choice.get("text"))
    if isinstance(delta := choice.get("delta"), Mapping):
        found.text += _text(delta.get("content"))
        found.refusal += _text(delta.get("refusal"))
        found.reasoning += _text(delta.get("reasoning_content"))
        for call in _objects(delta.get("tool_calls")):
            if isinstance(function := call.get("function"), Mapping):
                _extend(calls, call.get("index"), function.get("name"), function.get("arguments"))


def _read_response_event(
    kind: str, event: Mapping[str, Any], found: ReadAnswer, calls: dict[object, ReadToolCall]
) -> None:
    """Read an event of a response."""
    delta, item = event.get("delta"), event.get("item")
    if kind == "response.output_text.delta":
        found.text += _text(delta)
    elif kind == "response.refusal.delta":
        found.refusal += _text(delta)
    elif kind == "response.reasoning_summary_text.delta":
        found.reasoning += _text(delta)
    elif kind == "response.function_call_arguments.delta":
        _extend(calls, event.get("output_index"), "", delta)
    elif kind == "response.output_item.added" and isinstance(item, Mapping) and item.get("type") == "function_call":
        _extend(calls, event.get("output_index"), item.get("name"), "")


def _read_block_event(event: Mapping[str, Any], found: ReadAnswer, calls: dict[object, ReadToolCall]) -> None:
    """Read an event about a content block of a message."""
    block, delta = event.get("content_block"), event.get("delta")
    if isinstance(block, Mapping) and block.get("type") == "tool_use":
        _extend(calls, event.get("index"), block.get("name"), "")
    if isinstance(delta, Mapping):
        found.text += _text(delta.get("text"))
        found.reasoning += _text(delta.get("thinking"))
        if delta.get("type") == "input_json_delta":
            _extend(calls, event.get("index"), "", delta.get("partial_json"))


def _extend(calls: dict[object, ReadToolCall], key: object, name: object, arguments: object) -> None:
    call = calls.setdefault(str(key), ReadToolCall())
    call.name += _text(name)
    call.arguments += _text(arguments)


def _vector(value: Any) -> list[float] | None:
    """Return a vector, given as numbers or as base64 of 32-bit floats."""
    if isinstance(value, list):
        return [float(one) for one in value if isinstance(one, int | float)]
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
            return [*struct.unpack(f"<{len(raw) // 4}f", raw)]
        except (ValueError, struct.error):
            return None
    return None


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def last_user_text(body: Any) -> str:
    """Return the text of the last message of the user in the body of a request; its prompt or input without one."""
    if not isinstance(body, Mapping):
        return ""
    for message in reversed([*_objects(body.get("messages")), *_objects(body.get("input"))]):
        if message.get("role") == "user" and (text := text_of(message.get("content"))):
            return text
    for value in (body.get("input"), body.get("prompt")):
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and isinstance(value[0], str):
            return value[0]
    return ""


def text_of(content: Any) -> str:
    """Return the text of the content of a message: a text, or parts."""
    return content if isinstance(content, str) else "".join(_text(part.get("text")) for part in _objects(content))
