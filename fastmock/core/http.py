"""The contract with runtimes: Request, Reply and Stream.

This module depends on no server, dialect or rule.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol

from typing_extensions import override

from fastmock.core.framing import Framing

Headers = tuple[tuple[str, str], ...]
Query = Mapping[str, Sequence[str]]
"""The decoded query parameters of a URL; each may occur several times."""


NO_QUERY: Query = MappingProxyType({})


def query_value(query: Query, name: str) -> str | None:
    """Return a query parameter, the last one if it occurs several times; None if it is missing."""
    values = query.get(name)
    return values[-1] if values else None


_NOTHING: Any = None
_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class RequestHeaders(Protocol):
    """The headers that both runtimes pass: names in lower case, one value each."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a header, or None."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return all headers."""


class Completion(Protocol):
    """A request for text, as far as its response notes it; see ``core.completion.ChatRequest``."""

    endpoint: str
    model: str
    stream: bool
    prompt_tokens: int
    completion_tokens: int


class Provider(Protocol):
    """A provider, as far as a request knows it; see ``core.provider``."""

    def session_of(self, request: "Request") -> str:
        """Return the session of a request."""


class Request:
    """An HTTP request.

    Attributes:
        method: the method in capitals.
        path: percent-decoded, with or without a trailing slash.
        headers: see RequestHeaders.
        body: ``str`` if the runtime has already decoded UTF-8, else ``bytes``.
        query: see Query. On Robyn, only set for a POST to a path without parameters if its provider has the API key in
            the query (``Provider.key_parameter``): reading it costs 1 µs.
        authorization: the header ``authorization`` once it has been read, which costs 1 µs.
        client: address of the client; only set for the control API, and on Granian for findings, then with its port.
        host: requested host, if no header contains it; only set for the control API.
        params: path parameters by the names in the route.
        provider: the provider of the requested API, a ``core.provider.Provider``; None until it is known.
        upstream: the answer of the upstream, a ``Relay`` or an ApiError, once there is one; see Forward.
        can_move: whether the runtime can answer the request in a separate thread; see MoveApart.
    """

    __slots__ = (
        *("authorization", "body", "can_move", "client", "headers", "host"),
        *("method", "params", "path", "provider", "query", "upstream"),
    )

    def __init__(
        self, method: str, path: str, headers: RequestHeaders, body: str | bytes, query: Query = NO_QUERY
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.query = query
        self.authorization: str | None = None
        self.client = self.host = ""
        self.can_move = False
        self.upstream = _NOTHING
        self.provider: Provider | None = None
        self.params: Mapping[str, str] = _NO_PARAMS


class Deferred(Exception):  # noqa: N818 - not an error
    """Raised while answering a request that the runtime is to hand to the App once more. Nothing has been counted or
    stored for it yet.
    """


class MoveApart(Deferred):
    """Raised while answering a request that takes long: answer it again in a thread for such requests, so that others
    do not wait.
    """


class Forward(Deferred):
    """Raised if an upstream is to answer: handle the request again with the beginning of its answer, a ``Relay``, as
    ``Request.upstream``.
    """


class Progress:
    """Cells in which a worker notes its progress, for a parent process that finds it hung.

    Attributes:
        cells: ``ROUTE`` holds the number of the route of the last started request, from 1; 0 if it has no number.
            ``MANAGER`` holds the number of running calls of the response manager.
    """

    ROUTE, MANAGER = 0, 1

    def __init__(self) -> None:
        self.cells: memoryview[int] = memoryview(bytearray(16)).cast("Q")


class ResponseHead:
    """The constant part of a response: status and headers, created once and compared by identity.

    A runtime keeps its own form of each. For each response, the request id is added in the header ``id_name``, and
    values for the headers in ``varying``. ``framing`` is the framing of a stream; None for other bodies.
    """

    __slots__ = ("framing", "headers", "id_name", "status", "varying")

    def __init__(
        self,
        status: int,
        headers: Headers,
        id_name: str = "x-request-id",
        varying: tuple[str, ...] = (),
        framing: Framing | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.id_name = id_name
        self.varying = varying
        self.framing = framing

    def replace(self, headers: Headers, varying: tuple[str, ...] = ()) -> "ResponseHead":
        """Return a copy with other constant headers and additional varying ones."""
        return ResponseHead(self.status, headers, self.id_name, self.varying + varying, self.framing)


Ending = Literal["whole", "closed", "reset"]
"""The end of a response: complete, with the connection closed early, or with the connection reset."""


class Wait(float):
    """A due time at which nothing is sent, only whether the response may begin is checked. It does not count as a
    frame.
    """


class HeartbeatTime(Wait):
    """The due time of a heartbeat; it may be sent some milliseconds early, together with other data."""


class Reply:
    """A response whose bytes are all ready.

    Attributes:
        chat: the request, if responses are observed.
        model: the model, if ``chat`` does not contain it; empty if responses are not observed.
        rule: the name of the winning rule, likewise.
        fault: the injected fault, likewise; ``limit`` is the limit and ``check`` the check that rejected the request.
        prompt_tokens: tokens of the input, if ``chat`` does not contain them.
        due_times: None to send at once, else the response is sent at the last of them; see Stream.
        values: values of the varying headers, which the head names.
        more: headers of this response alone.
        ending: how the response ends; one that is reset is not sent at all.
        unsent: number of bytes by which ``content-length`` exceeds the body.
        close_idle: seconds after which the idle connection is closed; None to keep it open.
        redo: renders it with other answers, see ``faults.answers.Redo``; None if no fault may change them.
        control: whether this is not an API response, so it is not counted; its head and body may change until it is
            due.
    """

    model = ""
    rule = ""
    fault = ""
    limit = ""
    check = ""
    chat: Completion | None = None
    prompt_tokens = 0
    values: tuple[str, ...] = ()
    more: Headers = ()
    due_times: Iterator[float] | None = None
    ending: Ending = "whole"
    unsent = 0
    close_idle: float | None = None
    redo: Any = None
    control = False

    def __init__(self, head: ResponseHead, request_id: str, body: bytes) -> None:
        self.head = head
        self.request_id = request_id
        self.body = body

    @property
    def size(self) -> int:
        """The size of the body, in bytes."""
        return len(self.body)

    @property
    def held(self) -> int:
        """The memory in bytes held until the response is sent and not accounted for elsewhere."""
        return self.size

    def parts(self) -> Iterator[bytes]:
        """Yield the body in parts."""
        view = memoryview(self.body)
        for begin in range(0, len(view), _PART):
            yield bytes(view[begin : begin + _PART])


class LargeReply(Reply):
    """A response whose body is joined while it is sent.

    In one piece, the body of a stream of 131,072 tokens takes 36 MB more and stops all threads for 50 ms.
    """

    def __init__(
        self, head: ResponseHead, request_id: str, size: int, held: int, parts: "Callable[[], Iterator[bytes]]"
    ) -> None:
        """``size`` and ``held``: see Reply; ``parts`` returns an iterator over all bytes of the body."""
        self.head = head
        self.request_id = request_id
        self._size, self._held, self._parts = size, held, parts
        self._body: bytes | None = None

    @property
    def body(self) -> bytes:
        """The complete body, for users that cannot take it in parts."""
        if self._body is None:
            self._body = b"".join(self._parts())
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._body = body

    @property
    @override
    def size(self) -> int:
        return self._size if self._body is None else len(self._body)

    @property
    @override
    def held(self) -> int:
        return self._held if self._body is None else len(self._body)

    @override
    def parts(self) -> Iterator[bytes]:
        return self._parts() if self._body is None else super().parts()


_PART = 131_072  # bytes


def model_of(answer: "Reply | Stream") -> str:
    """Return the model of a response; empty if responses are not observed."""
    return answer.model if answer.chat is None else answer.chat.model


class Stream:
    """A response in steps.

    Attributes:
        due_times: yields the due time of each step, in seconds after the request came in, never decreasing. It is
            consumed lazily, one step ahead of sending, so that a delay may depend on the load.
        cut: returns the bytes of the steps from ``begin`` up to ``end``. Steps that are due together are rendered and
            sent together, which saves most of the cost under load.
        failed: returns the bytes to send instead of the rest if rendering a step fails: an error in the dialect's form.
        steps: the number of steps.
        tokens: the tokens of each step; None if unknown.
        ending: how the stream ends; final when it has ended.
        model, rule, fault, limit, check, chat, prompt_tokens, values, more, redo, control: see Reply.
    """

    model = ""
    rule = ""
    fault = ""
    limit = ""
    check = ""
    chat: Completion | None = None
    prompt_tokens = 0
    values: tuple[str, ...] = ()
    more: Headers = ()
    ending: Ending = "whole"
    close_idle: float | None = None
    redo: Any = None
    control = False
    tokens: Sequence[int] | None = None

    def __init__(
        self,
        head: ResponseHead,
        request_id: str,
        due_times: Iterator[float],
        cut: Callable[[int, int], bytes],
        steps: int,
        failed: Callable[[], bytes] = bytes,
    ) -> None:
        self.head = head
        self.request_id = request_id
        self.due_times = due_times
        self.cut = cut
        self.steps = steps
        self.failed = failed


class Relay(Stream):
    """A response whose steps arrive from an upstream while it is sent: each is sent as soon as it is added.

    Attributes:
        began: the time at which its request came in, a reading of ``time.monotonic_ns``.
    """

    def __init__(self, head: ResponseHead, request_id: str, began: int) -> None:
        super().__init__(head, request_id, iter(()), self._join, 0)
        self.began = began
        self._parts: list[bytes] = []

    def add(self, data: bytes) -> bytes:
        """Add a step, and return its bytes as they are to be sent."""
        self._parts.append(data)
        self.steps += 1
        return self.cut(self.steps - 1, self.steps)

    def finish(self) -> None:
        """Note that all steps were added."""
        for _ in self.due_times:
            pass
        self.cut(self.steps, self.steps)
        self.release()

    def release(self) -> None:
        """Let go of whoever follows the response, which has ended; else they would hold each other."""
        self.cut, self.due_times = self._join, iter(())

    def _join(self, begin: int, end: int) -> bytes:
        """Return a step, once."""
        data = b"".join(self._parts[begin:end])
        self._parts[begin:end] = [b""] * (end - begin)
        return data
