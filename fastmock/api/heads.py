"""The constant headers of answers."""

from fastmock.wire import Head, Headers

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"

_ORGANIZATION = "org-fastmock"
_EXPOSED = "x-request-id, openai-processing-ms, openai-version, openai-organization, retry-after, retry-after-ms"


class Heads:
    """Makes the heads of answers; each is made once."""

    def __init__(self, any_origin: bool) -> None:
        """``any_origin``: let a browser call from anywhere, without looking at the request."""
        # An instant answer takes some 20 µs, which in whole milliseconds is 0.
        common = [
            ("openai-processing-ms", "0"),
            ("openai-version", "2020-10-01"),
            ("openai-organization", _ORGANIZATION),
        ]
        if any_origin:
            common += [("access-control-allow-origin", "*"), ("access-control-expose-headers", _EXPOSED)]
        self._common: Headers = tuple(common)
        self._made: dict[tuple[int, str, Headers], Head] = {}

    def get(self, status: int, content_type: str = JSON, more: Headers = ()) -> Head:
        """Return the head for a status, a content type (empty: none) and further headers."""
        key = (status, content_type, more)
        head = self._made.get(key)
        if head is None:
            kind = (("content-type", content_type),) if content_type else ()
            head = self._made[key] = Head(status, (*kind, *self._common, *more))
        return head


def for_origin(head: Head, origin: str) -> Head:
    """Return ``head`` with the headers that let a page of ``origin`` read the answer."""
    more = (
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", _EXPOSED),
        ("vary", "Origin"),
    )
    return Head(head.status, (*head.headers, *more))


def preflight(wanted: str | None) -> Headers:
    """Return the headers that answer a preflight asking for the request headers ``wanted``."""
    return (
        ("access-control-allow-methods", "GET, POST, DELETE, HEAD, OPTIONS"),
        ("access-control-allow-headers", wanted or "authorization, content-type"),
        ("access-control-max-age", "86400"),
    )
