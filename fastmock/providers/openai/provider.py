"""OpenAI as a provider."""

from fastmock.core.durations import SHORT, duration
from fastmock.core.provider import Keys, LimitHeaders, Provider
from fastmock.providers.openai.errors import words
from fastmock.providers.openai.headers import HEADS, error_event
from fastmock.providers.openai.routes import api

OPENAI = Provider(
    name="openai",
    bases=("", "/v1"),
    paths=("/chat/", "/completions", "/embeddings", "/moderations", "/responses", "/conversations"),
    sign="",
    public_url="https://api.openai.com",
    key_headers=("authorization",),
    heads=HEADS,
    limit_headers=LimitHeaders(
        {"requests": "x-ratelimit-{}-requests", "tokens": "x-ratelimit-{}-tokens"}, duration, SHORT
    ),
    words_of=words,
    envelope=lambda error, request_id: error.body(),
    error_event=error_event,
    api=api,
    keys=Keys(
        ("completion_tokens", "output_tokens"),
        ('"arguments":', r'"response\.function_call_arguments\.delta"[^\n]*?"delta":'),
    ),
)
