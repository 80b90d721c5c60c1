"""The contract with a runtime (Request in, Reply or Stream out) and the neutral form between dialects and rules (Ask).

Nothing here knows a server, a dialect or a rule.
"""

import time
from collections.abc import Iterator
from typing import Any, Protocol

import orjson

Headers = tuple[tuple[str, str], ...]


class RequestHeaders(Protocol):
    """What both runtimes hand over: names in lower case, one value each."""

    def get(self, name: str, /) -> str | None:
        """Return the value of the header, or None."""


class Request:
    """One HTTP request.

    Attributes:
        method: in capitals.
        path: percent-decoded, with or without a trailing slash.
        headers: see RequestHeaders.
        body: ``str`` where the runtime has already decoded UTF-8, else ``bytes``.
    """

    __slots__ = ("body", "headers", "method", "path")

    def __init__(self, method: str, path: str, headers: RequestHeaders, body: str | bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body


class Head:
    """The constant part of an answer: status and headers, made once and known by identity.

    A runtime keeps its own form of each; only the request id is spliced in per answer.
    """

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers


class Reply:
    """A whole answer: all its bytes are ready."""

    __slots__ = ("body", "head", "request_id")

    def __init__(self, head: Head, request_id: str, body: bytes) -> None:
        self.head = head
        self.request_id = request_id
        self.body = body


class Stream:
    """An answer in pieces.

    ``frames`` yields (due, bytes): seconds after the start of the stream, never falling, and what goes out then. It is
    drawn lazily, one step ahead of what is sent.
    """

    __slots__ = ("frames", "head", "request_id")

    def __init__(self, head: Head, request_id: str, frames: Iterator[tuple[float, bytes]]) -> None:
        self.head = head
        self.request_id = request_id
        self.frames = frames


class Ask:
    """What a request asks for, whichever dialect it came in; the source of every template variable.

    The plain attributes are what rules look at. The properties are what templates splice: ``json_*`` are UTF-8 bytes
    escaped for the inside of a JSON string, the others str or int.

    Attributes:
        model: the model's name, as asked for.
        user_message: the text of the last user message, its text parts joined (the prompt, for completions).
        system_prompt: the text of the system and developer messages, joined by newlines.
        unique: 32 hexadecimal digits, no two alike on any worker.
        stream: whether a stream is wanted, and ``include_usage`` whether it ends with a usage chunk.
        choices: how many choices are wanted (``n``).
        prompt_tokens: tokens of the whole prompt.
        completion_tokens: tokens of the answer; set once it is known.
        body: the parsed request.
    """

    __slots__ = (
        "body",
        "choices",
        "completion_tokens",
        "include_usage",
        "model",
        "prompt_tokens",
        "stream",
        "system_prompt",
        "unique",
        "user_message",
    )

    def __init__(self, unique: str, body: dict[str, Any], model: str) -> None:
        self.unique = unique
        self.body = body
        self.model = model
        self.user_message = ""
        self.system_prompt = ""
        self.stream = False
        self.include_usage = False
        self.choices = 1
        self.prompt_tokens = 0
        self.completion_tokens = 0

    @property
    def chat_id(self) -> str:
        """``chatcmpl-`` and 29 characters, as OpenAI's are."""
        return "chatcmpl-" + self.unique[3:]

    @property
    def json_chat_id(self) -> bytes:
        """The same as bytes."""
        return b"chatcmpl-%b" % self.unique[3:].encode()

    @property
    def completion_id(self) -> str:
        """``cmpl-`` and 29 characters."""
        return "cmpl-" + self.unique[3:]

    @property
    def json_completion_id(self) -> bytes:
        """The same as bytes."""
        return b"cmpl-" + self.unique[3:].encode()

    @property
    def request_id(self) -> str:
        """What the header ``x-request-id`` says."""
        return "req_" + self.unique

    @property
    def json_request_id(self) -> bytes:
        """The same as bytes."""
        return b"req_" + self.unique.encode()

    @property
    def uuid(self) -> str:
        """A version 4 UUID in form; unique as ``unique`` is."""
        u = self.unique
        return f"{u[:8]}-{u[8:12]}-4{u[13:16]}-a{u[17:20]}-{u[20:]}"

    @property
    def json_uuid(self) -> bytes:
        """The same as bytes."""
        return self.uuid.encode()

    @property
    def timestamp(self) -> int:
        """Unix time, in whole seconds."""
        return int(time.time())

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def json_model(self) -> bytes:
        """The model's name, escaped."""
        return orjson.dumps(self.model)[1:-1]

    @property
    def json_user_message(self) -> bytes:
        """The last user message, escaped."""
        return orjson.dumps(self.user_message)[1:-1]

    @property
    def json_system_prompt(self) -> bytes:
        """The system prompt, escaped."""
        return orjson.dumps(self.system_prompt)[1:-1]
