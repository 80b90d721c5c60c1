"""Anthropic as a provider."""

from datetime import UTC, datetime, timedelta

from fastmock.core.headers import Heads
from fastmock.core.provider import LimitHeaders, Provider
from fastmock.providers.anthropic.errors import envelope, in_stream, words

_ORGANIZATION = "fa57a0c4-0000-4000-8000-000000000000"


def _reset(milliseconds: int) -> str:
    """Write the time of a reset, as RFC 3339 has it."""
    at = datetime.now(UTC) + timedelta(milliseconds=milliseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


ANTHROPIC = Provider(
    name="anthropic",
    paths=("/messages",),
    sign="anthropic-version",
    key_headers=("authorization", "x-api-key"),
    heads=Heads((("anthropic-organization-id", _ORGANIZATION),), "request-id"),
    limit_headers=LimitHeaders(
        {
            "requests": "anthropic-ratelimit-requests-{}",
            "tokens": "anthropic-ratelimit-tokens-{}",
            "input": "anthropic-ratelimit-input-tokens-{}",
            "output": "anthropic-ratelimit-output-tokens-{}",
        },
        _reset,
    ),
    words_of=words,
    envelope=envelope,
    event=in_stream,
)
