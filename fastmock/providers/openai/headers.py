"""The constant headers of OpenAI's answers, and an error in the midst of a stream."""

from fastmock.core.errors import ApiError
from fastmock.core.headers import HeaderFactory
from fastmock.core.provider import in_words
from fastmock.providers.openai.errors import ORGANIZATION, words

# An instant answer takes some 20 µs, which in whole milliseconds is 0.
HEADS = HeaderFactory(
    (("openai-processing-ms", "0"), ("openai-version", "2020-10-01"), ("openai-organization", ORGANIZATION)),
    "x-request-id",
)


def error_event(error: ApiError, request_id: str) -> bytes:
    """Return an error as a stream of chunks has it in its midst."""
    return b"data: %b\n\n" % in_words(error, words).body()
