"""Answers of some 100 kB that Granian sends by itself: they count in the memory budget until the kernel has them."""

import time
from threading import Lock
from typing import Any

from fastmock.core.http import Reply
from fastmock.server.runtimes.connections import FLUSHED, MOST_UNREAD, Connections, ReadingProgress


class HandedOver:
    """The answers of one worker that were handed to Granian in one piece; thread-safe."""

    def __init__(self, connections: Connections, patience: float) -> None:
        """``patience``: seconds for which a client may read nothing."""
        self._connections = connections
        self._patience = patience
        self._open: list[_Sending] = []
        self._settling = Lock()

    def send(self, client: str, proto: Any, headers: list[tuple[str, str]], answer: Reply) -> None:
        """Send an answer, and hold its share of the budget.

        In pieces, as it is read, an embedding of 100 texts would take 440 µs more.
        """
        flow = self._connections.flow(client)
        self._connections.hold(client)
        written = None if flow is None else flow.written
        self._open.append(_Sending(client, answer, written, ReadingProgress(self._patience)))
        body, answer.body = answer.body, b""  # Granian makes a copy
        proto.response_bytes(answer.head.status, headers, body)

    def settle(self) -> None:
        """Release what the kernel has, and close the connections of clients that read nothing; call it regularly."""
        with self._settling:
            found, self._open = self._open, []
            for sending in found:
                if sending.is_over(self._connections):
                    self._connections.let_go(sending.client)
                else:
                    self._open.append(sending)


class _Sending:
    """An answer that Granian sends.

    Attributes:
        client: the client.
    """

    __slots__ = ("_answer", "_end", "_progress", "_since", "client")

    def __init__(self, client: str, answer: Reply, written: int | None, progress: ReadingProgress) -> None:
        """``written``: the bytes of the connection that were handed to the kernel before; None if unknown."""
        self.client = client
        self._answer = answer  # its memory is released when it is dropped
        self._since = time.monotonic()
        self._end = 0 if written is None else written + answer.size
        self._progress = progress

    def is_over(self, connections: Connections) -> bool:
        """Return whether the kernel has the answer, or nobody waits for it any more."""
        flow = connections.flow(self.client)
        if flow is None:  # not yet found, or closed
            return connections.searched > self._since
        if not self._end and time.monotonic() < self._since + FLUSHED:
            return False
        if flow.written >= self._end and flow.unread <= MOST_UNREAD:
            return True
        if not self._progress.is_over(flow.written - flow.unread):
            return False
        connections.end(self.client, "closed")
        return True
