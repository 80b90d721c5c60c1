"""The constant headers of OpenAI's responses, and errors within a stream."""

from fastmock.core.errors import ApiError
from fastmock.core.headers import HeaderFactory
from fastmock.core.provider import in_words
from fastmock.providers.openai.errors import ORGANIZATION, words

# An immediate response takes some 20 µs, which is 0 in milliseconds.
HEADS = HeaderFactory(
    (("openai-processing-ms", "0"), ("openai-version", "2020-10-01"), ("openai-organization", ORGANIZATION)),
    "x-request-id",
)


def error_event(error: ApiError, request_id: str) -> bytes:
    """Return an error as an event of a stream."""
    return b"data: %b\n\n" % in_words(error, words).body()
