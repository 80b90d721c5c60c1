"""A small HTTP/1.1 client that sends any bytes and reads any response, including those that strict clients reject."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

HOST = "127.0.0.1"
_WITHOUT_BODY = (204, 304)


@dataclass
class HttpRequest:
    """A request as it is sent."""

    method: str
    target: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    chunk_size: int = 0  # 0 sends the body in one piece, with a content-length
    bad_chunks: bool = False

    def encode(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        chunked = self.chunk_size > 0
        if chunked:
            lines.append("transfer-encoding: chunked")
        elif self.body or self.method not in ("GET", "HEAD", "DELETE"):
            lines.append(f"content-length: {len(self.body)}")
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n"
        return head + (self._chunks() if chunked else self.body)

    def _chunks(self) -> bytes:
        size, body = self.chunk_size, self.body
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        return chunks + (b"zz\r\nbroken\r\n0\r\n\r\n" if self.bad_chunks else b"0\r\n\r\n")


@dataclass
class HttpResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes


class ResponseCutError(Exception):
    """The connection ended before the response was complete."""


class HttpConnection:
    """A keep-alive connection; it must be closed after any error."""

    def __init__(self, port: int, timeout: float) -> None:
        self._socket = socket.create_connection((HOST, port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.keeps_alive = True
        self.has_received = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def exchange(self, request: HttpRequest) -> HttpResponse:
        """Send a request and read its complete response.

        Raises:
            TimeoutError: nothing was received within the timeout.
            ResponseCutError: the connection ended first.
            OSError: the connection broke otherwise.
        """
        self.has_received = bool(self._buffer)
        with suppress(BrokenPipeError, ConnectionResetError):  # the server may have responded before it read the body
            self._socket.sendall(request.encode())
        status, headers = self._head()
        while 100 <= status < 200:
            status, headers = self._head()
        body = b"" if request.method == "HEAD" or status in _WITHOUT_BODY else self._body(headers)
        closes = ("connection", "close") in request.headers or headers.get("connection", "").lower() == "close"
        self.keeps_alive = self.keeps_alive and not closes
        return HttpResponse(status, headers, body)

    def read_until(self, count: int) -> bytes:
        """Read until at least ``count`` further bytes are buffered; used by clients that abort a stream."""
        while len(self._buffer) < count:
            self._fill()
        return self._buffer

    def send(self, request: HttpRequest) -> None:
        """Send a request without waiting for its response."""
        self._socket.sendall(request.encode())

    def _fill(self) -> None:
        part = self._socket.recv(65536)
        if not part:
            raise ResponseCutError
        self.has_received = True
        self._buffer += part

    def _until(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            self._fill()
        found, self._buffer = self._buffer[:at], self._buffer[at + len(end) :]
        return found

    def _exactly(self, count: int) -> bytes:
        parts = [self._buffer]
        missing = count - len(self._buffer)
        while missing > 0:
            part = self._socket.recv(min(missing + 65536, 1 << 20))
            if not part:
                raise ResponseCutError
            parts.append(part)
            missing -= len(part)
        whole = b"".join(parts)
        self._buffer = whole[count:]
        return whole[:count]

    def _head(self) -> tuple[int, dict[str, str]]:
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        parts = lines[0].split(" ", 2)
        if len(parts) < 2 or not parts[1].isdigit():
            raise ResponseCutError(f"no status line: {lines[0][:80]!r}")
        pairs = (line.partition(":") for line in lines[1:])
        return int(parts[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self._until(b"\r\n"), 16):
                chunks.append(self._exactly(size + 2)[:-2])
            self._until(b"\r\n")
            return b"".join(chunks)
        if (length := headers.get("content-length")) is not None:
            return self._exactly(int(length))
        self.keeps_alive = False
        with suppress(ResponseCutError):
            while True:
                self._fill()
        rest, self._buffer = self._buffer, b""
        return rest
