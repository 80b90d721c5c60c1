"""Recordings made without an upstream, and servers that misbehave as upstreams do."""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st

from fastmock.cassettes.canonical import Canonical
from fastmock.cassettes.named_values import kind_of
from fastmock.cassettes.recorder import Exchange
from fastmock.core.credentials import CREDENTIALS
from fastmock.core.http import Request
from tests.support import KEY

JSON = {**KEY, "content-type": "application/json"}
CANONICAL = Canonical()
PATH = "/v1/chat/completions"
EVENTS = (("content-type", "text/event-stream"),)


def chat(text: str = "Hello", **more: Any) -> bytes:
    """Return the body of a chat completion."""
    return orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more})


def posted(body: str | bytes, path: str = PATH, headers: dict[str, str] = JSON) -> Request:
    return Request("POST", path, headers, body)


def line(
    request: Request,
    *frames: bytes | tuple[float, bytes],
    status: int = 200,
    headers: Iterable[tuple[str, str]] = (("content-type", "application/json"),),
    canonical: Canonical = CANONICAL,
    end: float | None = None,
) -> bytes:
    """Return the line of a cassette; a frame has the milliseconds at which it arrived, 0 by default."""
    exchange = Exchange(request, 0.0)
    exchange.begin(status, tuple(headers))
    at = 0.0
    for frame in frames:
        at, data = frame if isinstance(frame, tuple) else (at, frame)
        exchange.add(data, at / 1000)
    return exchange.line((at if end is None else end) / 1000, canonical)


def write(directory: Path, *lines: bytes, name: str = "a.jsonl") -> Path:
    """Write a cassette; return its directory."""
    (directory / name).write_bytes(b"".join(lines))
    return directory


class RawUpstream:
    """A server that answers each connection with bytes of the test's own."""

    def __init__(self, answer: Callable[[socket.socket, bytes], None]) -> None:
        """``answer`` gets each connection and its request."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answer = answer
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                part = connection.recv(65_536)
                if not part:
                    return
                request += part
            head, _, body = request.partition(b"\r\n\r\n")
            length = next(
                (int(one.split(b":")[1]) for one in head.lower().split(b"\r\n") if one.startswith(b"content-length")), 0
            )
            while len(body) < length:
                body += connection.recv(65_536)
            self.requests.append(head + b"\r\n\r\n" + body)
            with suppress(OSError):
                self._answer(connection, self.requests[-1])

    def close(self) -> None:
        self._listener.close()


def head(status: str = "200 OK", **headers: str) -> bytes:
    """Return the head of an HTTP response."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """Return a chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


CANARY = "c4n4ry-7Qx9w2ZkLm"
"""A secret that must not be found in any cassette."""
WORDS = st.sampled_from(
    ["hf", "user", "my", "openai", "x", "github", "db", "vendor", "service", "mcp", "prod", "refresh", "app", "oauth"]
)
ENDS = st.sampled_from(
    [
        *("token", "secret", "password", "api_key", "access_key", "credentials", "auth", "authorization", "cookie"),
        *("passwd", "passphrase", "private_key", "org_id", "organization_id", "key", "jwt", "session_key"),
    ]
)


@st.composite
def names(draw):
    """Draw the name of a secret: any that the list of credentials knows, however it is written."""
    parts = [*draw(st.lists(WORDS, max_size=2)), *draw(ENDS).split("_")]
    form = draw(st.sampled_from(["snake", "kebab", "camel", "upper"]))
    if form == "camel":
        return parts[0] + "".join(part.title() for part in parts[1:])
    text = ("-" if form == "kebab" else "_").join(parts)
    return text.upper() if form == "upper" else text


NAMES = names() | st.sampled_from(sorted(CREDENTIALS))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def with_canary(draw):
    """Draw a JSON value that holds the canary as a secret."""
    secret = draw(st.sampled_from([CANARY, f"Bearer {CANARY}", f'"{CANARY}\\', f"a\n{CANARY}"]))
    name = draw(NAMES)
    if kind_of(name) != "secret":
        secret = CANARY  # a value that shows what it is
    value = draw(
        st.sampled_from(
            [
                {name: secret},
                {name: [secret, secret]},
                {name: {"id": 1, name: secret, "more": [{name: secret}]}},
                {"headers": {"X-Foo": secret}},
                {"extra_headers": [{"name": "X-Foo", "value": secret}]},
                {"url": f"https://me:{CANARY}@host.example/path"},
                {"url": f"see https://host.example/path?a=b&{name}={CANARY}&c=d and more"},
                {"image_url": {"url": f"https://host.example/x.png?sv=1&sig={CANARY}"}},
                {"project": {"name": "x", "hf_token": secret}},
                {"token": orjson.dumps({"hf_token": secret}).decode()},
                f"with 'Authorization: Bearer {CANARY}' in it",
            ]
        )
    )
    nested = "headers" not in repr(value)
    for _ in range(draw(st.integers(0, 4))):
        around = draw(st.sampled_from(["list", "dict", "text", "pretty"]))
        if around == "list":
            value = [draw(PLAIN), value, draw(PLAIN)]
        elif around == "dict":
            value = {"before": draw(PLAIN), "it": value, "after": draw(PLAIN)}
        elif nested:
            value = orjson.dumps(value, option=orjson.OPT_INDENT_2 if around == "pretty" else 0).decode()
    return value
