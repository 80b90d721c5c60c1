"""The constant headers of answers."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from fastmock.core.errors import ApiError
from fastmock.core.http import Headers, ResponseHead

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"

_MOST_MADE = 1000
_EXPOSED = "x-request-id, request-id, openai-processing-ms, openai-version, openai-organization, retry-after, "
_EXPOSED += "retry-after-ms, x-should-retry, x-fastmock-rule, x-fastmock-fault, x-fastmock-check, "
_EXPOSED += ", ".join(
    [f"x-ratelimit-{part}-{unit}" for part in ("limit", "remaining", "reset") for unit in ("requests", "tokens")]
    + [
        f"anthropic-ratelimit-{unit}-{part}"
        for part in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens", "input-tokens", "output-tokens")
    ]
)


class HeaderFactory:
    """Makes the heads of answers; each is made once."""

    def __init__(self, common: Headers, id_name: str) -> None:
        """``common``: the headers that all have; ``id_name``: the one that has the request's id."""
        self._common = common
        self._id_name = id_name
        self._made: dict[tuple[int, str, Headers], ResponseHead] = {}

    def get(self, status: int, content_type: str = JSON, more: Headers = ()) -> ResponseHead:
        """Return the head for a status, a content type (empty: none) and further headers."""
        key = (status, content_type, more)
        head = self._made.get(key)
        if head is None:
            kind = (("content-type", content_type),) if content_type else ()
            head = self._made[key] = ResponseHead(status, (*kind, *self._common, *more), self._id_name)
        return head


class AnswerHeads(NamedTuple):
    """The heads of what is said, whole and as a stream, and what writes an error in the midst of a stream."""

    whole: ResponseHead
    events: ResponseHead
    error: Callable[[ApiError, str], bytes]


def make_answer_heads(made: HeaderFactory, error: Callable[[ApiError, str], bytes]) -> AnswerHeads:
    """Return them; ``error`` is given an error and the request's id."""
    return AnswerHeads(made.get(200), made.get(200, EVENTS, (("cache-control", "no-cache"),)), error)


class Origins:
    """Lets pages of some origins read answers (CORS)."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """``allowed``: the origins; ``*`` among them is any."""
        self._allowed = frozenset(allowed)
        self._made: dict[tuple[ResponseHead, str], ResponseHead] = {}

    def let_read(self, head: ResponseHead, origin: str) -> ResponseHead:
        """Return ``head`` with the headers that let a page of ``origin`` read the answer, where it may."""
        allowed = "*" if "*" in self._allowed else origin
        if allowed not in self._allowed:
            return head
        found = self._made.get((head, allowed))
        if found is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            vary = () if allowed == "*" else (("vary", "Origin"),)
            more = (("access-control-allow-origin", allowed), ("access-control-expose-headers", _EXPOSED), *vary)
            found = self._made[head, allowed] = head.but((*head.headers, *more))
        return found


def preflight(wanted: str | None) -> Headers:
    """Return the headers that answer a preflight asking for the request headers ``wanted``."""
    return (
        ("access-control-allow-methods", "GET, POST, DELETE, HEAD, OPTIONS"),
        ("access-control-allow-headers", wanted or "authorization, content-type"),
        ("access-control-max-age", "86400"),
    )
