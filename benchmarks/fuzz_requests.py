"""Draw the requests of a fuzz: bodies from the SDKs' types, mutated or not, in requests that may be unusual
themselves.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from benchmarks.http_client import HttpRequest
from benchmarks.mutations import corrupt, make_costly, mutate_value, serialize
from benchmarks.request_types import (
    COMPLETION_ID,
    CONVERSATION_ID,
    ITEM_ID,
    MAX_DEPTH,
    RESPONSE_ID,
    Draw,
    body_generators,
    link_tool_results,
)

ROBYN_ANSWERS_ITSELF: Mapping[str, str] = {
    "multipart": "Robyn parses multipart bodies before any handler and responds to malformed ones with a 500",
    "unknown_method": "Robyn responds to unknown methods with its own 405",
    "odd_target": "Robyn responds to a target that is not a path with its own empty 400",
    "long_target": "Robyn responds with an empty 431 and closes the connection",
    "large_headers": "Robyn responds with an empty 431 and closes the connection",
    "bad_chunks": "a malformed chunk ends the worker in Rust",
    "upgrade": "Robyn does not respond to an upgrade request",
}
"""Kinds of requests that are not sent to Robyn: they test Robyn's own code, whose behaviour is documented."""

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD")
_TARGETS = (
    "/health",
    "/",
    "/metrics",
    "/v1",
    "/v1/",
    "/v1/models",
    "/v1/models/gpt-4o",
    "/v1/models/ft:gpt-4o:org%3A%3Aid",
    "/v1/chat/completions",
    "/v1/chat/completions?limit=2&order=asc&after=" + COMPLETION_ID,
    "/v1/chat/completions?limit=-1&order=x&metadata[a]=b&model=%ff",
    "/v1/chat/completions/" + COMPLETION_ID,
    "/v1/chat/completions/" + COMPLETION_ID + "/messages?limit=1",
    "/v1/responses/" + RESPONSE_ID,
    "/v1/responses/" + RESPONSE_ID + "?stream=true",
    "/v1/responses/" + RESPONSE_ID + "?stream=true&starting_after=2",
    "/v1/responses/" + RESPONSE_ID + "?starting_after=x&include[]=a&include=b",
    "/v1/responses/" + RESPONSE_ID + "/input_items?limit=1&order=asc",
    "/v1/responses/" + RESPONSE_ID + "/cancel",
    "/v1/conversations/" + CONVERSATION_ID,
    "/v1/conversations/" + CONVERSATION_ID + "/items?limit=2&after=" + ITEM_ID,
    "/v1/conversations/" + CONVERSATION_ID + "/items/" + ITEM_ID,
    "/v1/responses/resp_unknown",
    "/v1/conversations/conv_unknown/items",
    "/fastmock/requests?limit=3&explain=true",
    "/fastmock/requests?status=5xx&model=%5B&since=-1&limit=99999999999999999999",
    "/fastmock/rules",
    "/fastmock/rules/unknown%00",
    "/fastmock/config",
    "/fastmock/nothing",
)
_HEADERS: tuple[tuple[str, str], ...] = (
    ("accept", "text/event-stream"),
    ("accept", "*/*;q=nonsense"),
    ("accept-encoding", "gzip, br, zstd"),
    ("content-encoding", "gzip"),
    ("content-encoding", "br, identity"),
    ("expect", "100-continue"),
    ("x-fastmock-session", "s1"),
    ("x-fastmock-session", "é" * 50),
    ("x-fastmock-session", "a" * 2000),
    ("x-api-key", "sk-ant-1"),
    ("x-api-key", ""),
    ("authorization", "Basic dTpw"),
    ("authorization", "Bearer"),
    ("authorization", "Bearer s2:sk-1"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "a,b,,c"),
    ("openai-organization", "org"),
    ("origin", "http://a.example"),
    ("cookie", "a=b; c"),
    ("range", "bytes=0-1"),
    ("if-none-match", "*"),
    ("x-forwarded-for", "1.2.3.4, ::1"),
    ("x-request-id", "a b\tc"),
    ("x-stainless-retry-count", "9" * 40),
    ("idempotency-key", "k"),
    ("te", "trailers"),
    ("x-fastmock-preset", "instant"),
    ("x-fastmock-preset", "unknown"),
    ("x-fastmock-ttft-ms", "2"),
    ("x-fastmock-ttft-ms", "NaN"),
    ("x-fastmock-ttft-ms", "-1e999"),
    ("x-fastmock-itl-ms", "0.01"),
    ("x-fastmock-itl-ms", "0x10"),
    ("x-fastmock-output-tokens", "20"),
    ("x-fastmock-output-tokens", "9" * 30),
    ("x-fastmock-validation", "provider"),
    ("x-fastmock-validation", "unknown"),
    ("x-fastmock-status", "503"),
    ("x-fastmock-status", "99"),
    ("x-fastmock-status", "²"),
    ("x-fastmock-fault", "status; status=500; message=asked"),
    ("x-fastmock-fault", "status; error=rate_limit; retry_after=inf"),
    ("x-fastmock-fault", "cut; after=1"),
    ("x-fastmock-fault", "error_event; after=50%"),
    ("x-fastmock-fault", "malformed_chunk; after=99999999999999999999"),
    ("x-fastmock-fault", "invalid_utf8"),
    ("x-fastmock-fault", "duplicated_chunk; after=2"),
    ("x-fastmock-fault", "truncated_body; share=0.3"),
    ("x-fastmock-fault", "empty_body"),
    ("x-fastmock-fault", "wrong_usage; factor=-3"),
    ("x-fastmock-fault", "wrong_usage; factor=1e308"),
    ("x-fastmock-fault", "broken_tool_arguments"),
    ("x-fastmock-fault", "wrong_content_type; content_type=\x01"),
    ("x-fastmock-fault", "stall; after=1; for=5ms"),
    ("x-fastmock-fault", "slow_first_token; for=3ms"),
    ("x-fastmock-fault", "latency_spike; factor=2"),
    ("x-fastmock-fault", ";;=;"),
    ("x-fastmock-fault", "unknown; a=b"),
)
_LENIENT_SHARE = 0.7  # of the requests; the checks of the providers refuse most of the others
_CONTENT_TYPES = (
    "text/plain",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "",
    "a/b/c;;",
    "é",
)
_MULTIPART = "multipart/form-data; boundary=b"


class RequestGenerator:
    """Draws requests: most from the SDKs' types, the rest from the lists above."""

    def __init__(self, seed: str, runtime: str, mutated: float = 0.5, costly: float = 0.0) -> None:
        """Prepare to draw.

        Args:
            seed: the same seed draws the same requests.
            runtime: the runtime; kinds that it handles by itself are left out.
            mutated: share of bodies that are mutated.
            costly: share of bodies that request as much work as possible.
        """
        self._random = Random(seed)
        self._bodies = list(body_generators().items())
        self._weights = [6 if path.count("/") == 2 or path.endswith("/completions") else 2 for path, _ in self._bodies]
        self._mutated, self._costly = mutated, costly
        self._left_out = ROBYN_ANSWERS_ITSELF if runtime == "robyn" else {}

    def __iter__(self) -> "RequestGenerator":
        return self

    def __next__(self) -> HttpRequest:
        random = self._random
        request = self._posted() if random.random() < 0.85 else self._other()
        for kind, share, change in _ODDITIES:
            if random.random() < share and kind not in self._left_out:
                change(random, request)
        return request

    def _posted(self) -> HttpRequest:
        random = self._random
        path, draws = random.choices(self._bodies, self._weights)[0]
        body = _drawn(random, draws)
        if path == "/v1/chat/completions" and random.random() < 0.8:
            link_tool_results(body)
        is_mutated = random.random() < self._mutated
        if is_mutated and random.random() < 0.8:
            for _ in range(random.choice((1, 1, 1, 2, 5))):
                mutate_value(random, body)
        if random.random() < self._costly:
            make_costly(random, body)
        data = serialize(body)
        if is_mutated and random.random() < 0.25:
            data = corrupt(random, data)
        headers = [("authorization", "Bearer sk-fuzz"), ("content-type", "application/json")]
        if random.random() < _LENIENT_SHARE:
            headers.append(("x-fastmock-validation", "lenient"))
        return HttpRequest("POST", path, headers, data)

    def _other(self) -> HttpRequest:
        """Draw a request to a stored, listed or unknown object."""
        random = self._random
        method = random.choice(("GET", "GET", "GET", "DELETE", "POST", *_METHODS))
        target = random.choice(_TARGETS)
        if target.startswith("/fastmock") and method not in ("GET", "HEAD"):
            method = "GET"  # changes of the configuration are the subject of benchmarks.changes
        body = b"" if method in ("GET", "HEAD") or random.random() < 0.5 else b'{"metadata": {"a": "b"}}'
        return HttpRequest(method, target, [("authorization", "Bearer sk-fuzz")], body)


def _drawn(random: Random, draws: list[Draw]) -> dict[str, Any]:
    body: dict[str, Any] = random.choice(draws)(random, MAX_DEPTH)
    return body


def _change_headers(random: Random, request: HttpRequest) -> None:
    name, value = random.choice(_HEADERS)
    if name in ("authorization", "content-encoding") and random.random() < 0.5:
        request.headers = [header for header in request.headers if header[0] != name]
    request.headers.append((name, value))


def _change_content_type(random: Random, request: HttpRequest) -> None:
    request.headers = [header for header in request.headers if header[0] != "content-type"]
    request.headers.append(("content-type", random.choice(_CONTENT_TYPES)))


def _drop_headers(_: Random, request: HttpRequest) -> None:
    request.headers = []


def _make_multipart(_: Random, request: HttpRequest) -> None:
    request.headers = [header for header in request.headers if header[0] != "content-type"]
    request.headers.append(("content-type", _MULTIPART))


def _change_target(random: Random, request: HttpRequest) -> None:
    path, question, query = request.target.partition("?")
    path = random.choice(
        (
            path + "/",
            path + "//",
            path.removeprefix("/v1"),
            "/v1" + path,
            path.replace("e", "%65"),
            path.upper(),
            path + "/%2e%2e/x",
            path + "%00%ff",
            path + "/" + "a" * 300,
            "/" + path,
            path + ";v=1",
        )
    )
    request.target = path + (
        question + query if question else random.choice(("", "?", "?a=%zz&=&&b", "?limit=1&limit=2"))
    )


def _change_method(random: Random, request: HttpRequest) -> None:
    if not request.target.startswith("/fastmock"):
        request.method = random.choice(_METHODS)


def _unknown_method(random: Random, request: HttpRequest) -> None:
    request.method = random.choice(("BREW", "get", "PROPFIND", "TRACE"))


def _odd_target(random: Random, request: HttpRequest) -> None:
    request.target = random.choice(("*", "http://127.0.0.1/v1/models", "v1/models", "/v1/%", "?"))


def _long_target(_: Random, request: HttpRequest) -> None:
    request.target = "/v1/models/" + "a" * 60_000


def _large_headers(_: Random, request: HttpRequest) -> None:
    request.headers += [(f"x-large-{number}", "a" * 5000) for number in range(12)]


def _send_chunked(random: Random, request: HttpRequest) -> None:
    if request.method not in ("GET", "HEAD"):
        request.chunk_size = random.choice((7, 100, 4096)) if len(request.body) < 5000 else 4096


def _bad_chunks(random: Random, request: HttpRequest) -> None:
    request.method, request.chunk_size, request.bad_chunks = "POST", 100, True


def _upgrade(_: Random, request: HttpRequest) -> None:
    request.headers += [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]


def _close(_: Random, request: HttpRequest) -> None:
    request.headers.append(("connection", "close"))


_ODDITIES: tuple[tuple[str, float, Callable[[Random, HttpRequest], None]], ...] = (
    ("header", 0.15, _change_headers),
    ("header", 0.05, _change_headers),
    ("content_type", 0.03, _change_content_type),
    ("no_headers", 0.01, _drop_headers),
    ("multipart", 0.003, _make_multipart),
    ("target", 0.04, _change_target),
    ("method", 0.02, _change_method),
    ("unknown_method", 0.003, _unknown_method),
    ("odd_target", 0.003, _odd_target),
    ("long_target", 0.001, _long_target),
    ("large_headers", 0.001, _large_headers),
    ("chunked", 0.1, _send_chunked),
    ("bad_chunks", 0.002, _bad_chunks),
    ("upgrade", 0.002, _upgrade),
    ("close", 0.01, _close),
)
"""Changes to a whole request: the kind, its share of all requests, and the function that applies it."""
