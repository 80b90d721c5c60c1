"""The constant headers of responses."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from fastmock.core.errors import ApiError
from fastmock.core.framing import SSE, Framing
from fastmock.core.http import Headers, ResponseHead

JSON = "application/json"

_MOST_HEADS = 1000
_EXPOSED = (
    *("retry-after", "retry-after-ms", "x-should-retry"),
    *("x-fastmock-rule", "x-fastmock-fault", "x-fastmock-check"),
)


class HeaderFactory:
    """Creates response heads, each once.

    Attributes:
        names: names of the headers that all responses have.
    """

    def __init__(self, common: Headers, id_name: str) -> None:
        """``common``: the headers of every response; ``id_name``: the header of the request id."""
        self._common = common
        self._id_name = id_name
        self._heads: dict[tuple[int, str, Headers], ResponseHead] = {}
        self._streams: dict[Framing, ResponseHead] = {}
        self.names = (id_name, *(name for name, _ in common))

    def get(self, status: int, content_type: str = JSON, more: Headers = ()) -> ResponseHead:
        """Return the head for a status, a content type (empty: none) and additional headers."""
        key = (status, content_type, more)
        head = self._heads.get(key)
        if head is None:
            kind = (("content-type", content_type),) if content_type else ()
            head = self._heads[key] = ResponseHead(status, (*kind, *self._common, *more), self._id_name)
        return head

    def stream(self, framing: Framing) -> ResponseHead:
        """Return the head of a stream."""
        head = self._streams.get(framing)
        if head is None:
            headers = (("content-type", framing.content_type), *self._common, ("cache-control", "no-cache"))
            head = self._streams[framing] = ResponseHead(200, headers, self._id_name, framing=framing)
        return head


class AnswerHeads(NamedTuple):
    """The heads of an endpoint's responses, and the bytes that only its streams have.

    Attributes:
        whole: the head of a non-streaming response.
        events: the head of a stream.
        error: writes an error as an event within a stream; the other argument is the request id.
        ping: the heartbeat of the form ``ping``.
    """

    whole: ResponseHead
    events: ResponseHead
    error: Callable[[ApiError, str], bytes]
    ping: bytes


def make_answer_heads(
    factory: HeaderFactory, error: Callable[[ApiError, str], bytes], framing: Framing = SSE, ping: bytes = b""
) -> AnswerHeads:
    """Return the heads of an endpoint; without a ``ping``, the heartbeat of the framing is used."""
    return AnswerHeads(factory.get(200), factory.stream(framing), error, ping or framing.heartbeat)


class Origins:
    """Lets pages of some origins read responses (CORS)."""

    def __init__(self, allowed: Iterable[str], exposed: Iterable[str]) -> None:
        """``allowed``: the origins, ``*`` for any; ``exposed``: header names of the providers."""
        self._allowed = frozenset(allowed)
        self._exposed = ", ".join(dict.fromkeys((*exposed, *_EXPOSED)))
        self._heads: dict[tuple[ResponseHead, str], ResponseHead] = {}

    def add_cors_headers(self, head: ResponseHead, origin: str) -> ResponseHead:
        """Return ``head`` with the CORS headers for ``origin``, if it is allowed."""
        allowed = "*" if "*" in self._allowed else origin
        if allowed not in self._allowed:
            return head
        found = self._heads.get((head, allowed))
        if found is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            vary = () if allowed == "*" else (("vary", "Origin"),)
            more = (("access-control-allow-origin", allowed), ("access-control-expose-headers", self._exposed), *vary)
            found = self._heads[head, allowed] = head.replace((*head.headers, *more))
        return found


def preflight(wanted: str | None) -> Headers:
    """Return the headers of a preflight response; ``wanted`` are the requested headers."""
    return (
        ("access-control-allow-methods", "GET, POST, DELETE, HEAD, OPTIONS"),
        ("access-control-allow-headers", wanted or "authorization, content-type"),
        ("access-control-max-age", "86400"),
    )
