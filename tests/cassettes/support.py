"""Recordings made without an upstream, and servers that misbehave as upstreams do."""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from fastmock.cassettes.canonical import Canonical
from fastmock.cassettes.recorder import Exchange
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
