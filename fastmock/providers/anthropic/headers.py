"""The constant headers of Anthropic's responses, and errors within a stream."""

from fastmock.core.errors import ApiError
from fastmock.core.headers import HeaderFactory
from fastmock.core.provider import in_words
from fastmock.providers.anthropic.errors import envelope, words

HEADS = HeaderFactory((("anthropic-organization-id", "fa57a0c4-0000-4000-8000-000000000000"),), "request-id")

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""An event without content, allowed anywhere in a stream."""


def error_event(error: ApiError, request_id: str) -> bytes:
    """Return an error as an event of a stream."""
    return b"event: error\ndata: %b\n\n" % envelope(in_words(error, words), request_id)
