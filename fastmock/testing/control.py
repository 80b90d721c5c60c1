"""Calls of the control API, over one connection that stays open."""

import http.client
import json
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

_TIMEOUT = 10.0  # seconds


class ControlError(Exception):
    """The control API refused a call, or did not respond; the message says why.

    Attributes:
        status: the status of the response; 0 without one.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """Calls the control API of a server; for any thread, also after a fork."""

    def __init__(self, url: str, token: str | None = None, session: str = "") -> None:
        """Call the server at ``url``.

        Args:
            url: the URL of the server, without a path.
            token: the token of the control API, if it needs one.
            session: the session that calls are about; empty for all.
        """
        parts = urlsplit(url)
        self._url = url
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._address = parts.hostname or "", parts.port
        self._headers = {"content-type": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        if session:
            self._headers["x-fastmock-session"] = session
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._process = 0

    def call(self, method: str, path: str, body: Any = None, query: Mapping[str, object] | None = None) -> Any:
        """Call the control API; return the parsed body of the response.

        Args:
            method: the HTTP method.
            path: the path below ``/fastmock/``.
            body: the body, sent as JSON; None for none.
            query: the parameters of the URL.

        Raises:
            ControlError: it was refused, or there was no response.
        """
        __tracebackhide__ = True
        parameters = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in (query or {}).items())
        target = f"/fastmock/{quote(path)}{'?' if parameters else ''}{parameters}"
        data = None if body is None else json.dumps(body).encode()
        with self._lock:
            status, text = self._send(method, target, data)
        try:
            found = json.loads(text)
        except ValueError:
            raise ControlError(f"{self._url}{target}: status {status}, and no JSON: {text[:200]!r}", status) from None
        if status >= 400:
            error = found.get("error", {}) if isinstance(found, dict) else {}
            raise ControlError(str(error.get("message", found)), status)
        return found

    def _send(self, method: str, target: str, data: bytes | None) -> tuple[int, bytes]:
        """Send a request; again on a new connection if the server has closed the old one meanwhile."""
        is_new = self._connection is None or self._process != os.getpid()
        if is_new:
            self._connection = self._kind(*self._address, timeout=_TIMEOUT)
            self._process = os.getpid()
        connection = self._connection
        assert connection is not None  # noqa: S101 - see above
        try:
            connection.request(method, target, data, self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._connection = None
            if is_new or isinstance(error, TimeoutError):
                raise ControlError(f"{self._url} does not respond: {error or type(error).__name__}") from None
        return self._send(method, target, data)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None
