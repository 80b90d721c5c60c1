"""OpenAI as a provider."""

from fastmock.core.durations import SHORT, duration
from fastmock.core.headers import Heads
from fastmock.core.provider import LimitHeaders, Provider
from fastmock.providers.openai.errors import ORGANIZATION, in_stream, words

OPENAI = Provider(
    name="openai",
    paths=(*("/chat/", "/completions", "/embeddings", "/moderations", "/responses", "/conversations"),),
    sign="",
    key_headers=("authorization",),
    # An instant answer takes some 20 µs, which in whole milliseconds is 0.
    heads=Heads(
        (("openai-processing-ms", "0"), ("openai-version", "2020-10-01"), ("openai-organization", ORGANIZATION)),
        "x-request-id",
    ),
    limit_headers=LimitHeaders(
        {"requests": "x-ratelimit-{}-requests", "tokens": "x-ratelimit-{}-tokens"}, duration, SHORT
    ),
    words_of=words,
    envelope=lambda error, request_id: error.body(),
    event=in_stream,
)
