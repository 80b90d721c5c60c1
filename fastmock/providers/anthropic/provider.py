"""Anthropic as a provider."""

from datetime import UTC, datetime, timedelta

from fastmock.core.provider import Keys, LimitHeaders, Provider
from fastmock.providers.anthropic.errors import envelope, words
from fastmock.providers.anthropic.headers import HEADS, error_event
from fastmock.providers.anthropic.routes import api


def _reset(milliseconds: int) -> str:
    """Format the time of a reset as in RFC 3339."""
    at = datetime.now(UTC) + timedelta(milliseconds=milliseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


ANTHROPIC = Provider(
    name="anthropic",
    bases=("", "/v1"),
    paths=("/messages",),
    sign="anthropic-version",
    public_url="https://api.anthropic.com",
    key_headers=("authorization", "x-api-key"),
    heads=HEADS,
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
    error_event=error_event,
    api=api,
    keys=Keys(("output_tokens",), ('"partial_json":',)),
)
