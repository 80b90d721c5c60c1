"""Relay the answer of an upstream to a client of Granian."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from fastmock.core import errors
from fastmock.core.http import Headers, Relay, Reply, Request, ResponseHead, Stream
from fastmock.core.ids import unique
from fastmock.latency.scheduler import Scheduler
from fastmock.server.runtimes.connections import (
    FLUSHED,
    MOST_UNREAD,
    TRUSTED,
    ClosingTask,
    Connections,
    ReadingProgress,
)

_EMPTY_STATUS = (204, 304)  # have no body
_ID_NAMES = ("x-request-id", "request-id")  # headers that may hold a request id


class RelaySender(NamedTuple):
    """Access to the worker that relays an answer.

    Attributes:
        connections, scheduler: those of the worker.
        handle: has the App answer the request.
        send: sends an answer that is not relayed.
        release: releases the memory of the request's body.
        patience: seconds for which a client may read nothing.
        began: the time at which the request came in, a reading of ``time.monotonic_ns``.
    """

    connections: Connections
    scheduler: Scheduler
    handle: Callable[[], Reply | Stream]
    send: Callable[[Reply | Stream], None]
    release: Callable[[], None]
    patience: float
    began: int


class Relaying:
    """An answer on its way to the client; see ``cassettes.forward.Receiver``."""

    __slots__ = (
        *("_client", "_is_bodiless", "_progress", "_proto", "_relay"),
        *("_request", "_sender", "_sent", "_transport"),
    )

    def __init__(self, request: Request, scope: Any, proto: Any, sender: RelaySender) -> None:
        """Take a request, with Granian's objects for it."""
        self._request, self._client, self._proto = request, scope.client, proto
        self._is_bodiless = scope.method == "HEAD"
        self._sender = sender
        self._relay: Relay | None = None
        self._transport: Any = None
        self._sent = 0
        self._progress: ReadingProgress | None = None

    def _answer(self) -> Relay | None:
        """Answer the request; return the answer if it is to be relayed."""
        answer = self._sender.handle()
        if isinstance(answer, Relay):
            return answer
        self._sender.send(answer)
        return None

    def failed(self, error: errors.ApiError) -> None:
        """Send an error instead of an answer."""
        self._request.upstream = error
        self._answer()
        self._let_go()

    def begin(self, status: int, headers: Headers) -> None:
        """Begin the answer."""
        id_ = next(((name, value) for name, value in headers if name in _ID_NAMES), (_ID_NAMES[0], f"req_{unique()}"))
        constant = tuple(pair for pair in headers if pair[0] != id_[0])
        self._request.upstream = Relay(ResponseHead(status, constant, id_[0]), id_[1], self._sender.began)
        self._relay = relay = self._answer()
        if relay is None:
            return
        sent = [*relay.head.headers, (relay.head.id_name, relay.request_id), *relay.more]
        if self._is_bodiless or status in _EMPTY_STATUS:
            self._proto.response_empty(status, sent)
        else:
            self._transport = self._proto.response_stream(status, sent)

    def send(self, data: bytes) -> bool:
        """Send a part of the body; return whether the client is still there."""
        if self._relay is None or self._transport is None:
            return False
        data = self._relay.add(data)
        self._sent += len(data)
        try:
            for _ in self._transport.send_bytes(data):
                pass
        except RuntimeError:  # raised as RSGIProtocolClosed
            self._forget()  # it ends for observers too: the client has disconnected
            return False
        return True

    def is_full(self) -> bool:
        """Return whether the client has to read first; one that reads nothing for too long is disconnected."""
        unread = self._sender.connections.unread(self._client) if self._sent > TRUSTED else None
        if unread is None or unread <= MOST_UNREAD:
            self._progress = None
            return False
        self._progress = self._progress or ReadingProgress(self._sender.patience)
        if self._progress.is_over(unread):
            self._break_off()
            return False
        return True

    def end(self, is_whole: bool) -> None:
        """End the answer, or break it off."""
        if is_whole and self._relay is not None:
            self._relay.finish()
        elif not is_whole:
            self._break_off()
        self._forget()
        self._let_go()

    def _forget(self) -> None:
        """Release the answer."""
        if self._relay is not None:
            self._relay.release()
        self._relay = self._transport = None

    def _let_go(self) -> None:
        self._sender.connections.let_go(self._client)
        self._sender.release()

    def _break_off(self) -> None:
        """Close the connection once all that was sent has left the process."""
        task = ClosingTask(self._sender.connections, self._client, None, self._transport)
        self._sender.scheduler.add(time.monotonic() + FLUSHED, task)
        self._forget()
