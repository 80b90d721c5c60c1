"""Request bodies on Granian, received piece by piece within bounds of size, memory and time."""

import time
from collections.abc import Callable
from typing import Any

from fastmock.core import errors
from fastmock.engine.buffers import Buffers

Answer = Callable[[bytes | errors.ApiError, int], None]
"""Continues with a body, or with the error in it; the number is the bytes reserved in the buffers for it, which have to
be released.
"""

_SMALL = 16_384  # bytes; bodies up to this size are not counted, and are received in one piece


class Bodies:
    """The bodies that one worker is receiving."""

    def __init__(self, buffers: Buffers, timeout: float) -> None:
        """``timeout``: seconds allowed between two pieces of a body, and for all of a small one."""
        self.buffers = buffers
        self._timeout = timeout
        self._open: dict[int, _Body] = {}

    @property
    def clients(self) -> set[str]:
        """The clients whose bodies are being received."""
        return {body.client for body in list(self._open.values())}

    def receive(self, proto: Any, client: str, length: str | None, limit: int, answer: Answer) -> None:
        """Receive a body.

        Args:
            proto: Granian's protocol object.
            client: the address of the client, with its port.
            length: the header ``content-length``; None if the length is unknown.
            limit: the maximum number of bytes.
            answer: called once.
        """
        size = None if length is None else int(length) if len(length) <= 18 else limit + 1
        if size is not None and size > limit:
            answer(errors.BodyTooLarge(limit), 0)
            return
        taken = size if size is not None and size > _SMALL else 0
        if taken and not self.buffers.take(taken):
            answer(errors.BuffersFull(), 0)
            return
        body = _Body(self, client, limit, answer, taken)
        self._open[id(body)] = body
        if size is not None and size <= _SMALL:
            proto().add_done_callback(body.take_whole)
        else:
            body.parts = aiter(proto)
            body.read()

    def expire(self) -> None:
        """Refuse the bodies that have received nothing for too long; call it regularly."""
        too_old = time.monotonic() - self._timeout
        for body in list(self._open.values()):
            if body.since < too_old:
                body.finish(errors.RequestTimeout())

    def is_open(self, body: "_Body") -> bool:
        """Remove a body; return whether it was not answered before."""
        return self._open.pop(id(body), None) is not None


class _Body:
    """A body being received.

    Attributes:
        client: the address it comes from.
        since: the time of its last piece, a reading of ``time.monotonic``.
    """

    __slots__ = ("_answer", "_bodies", "_body", "_limit", "_taken", "client", "parts", "since")

    def __init__(self, bodies: Bodies, client: str, limit: int, answer: Answer, taken: int) -> None:
        self.client = client
        self._bodies = bodies
        self._limit = limit
        self._answer = answer
        self._taken = taken
        self._body = bytearray()
        self.parts: Any = None
        self.since = time.monotonic()

    def take_whole(self, reading: Any) -> None:
        """Receive the body in one piece."""
        try:
            body: bytes | errors.ApiError = reading.result()
        except RuntimeError:  # raised for Granian's own errors: the body was truncated or malformed
            body = errors.InvalidJson()
        self.finish(body)

    def read(self) -> None:
        """Request the next piece."""
        try:
            anext(self.parts).add_done_callback(self._take)
        except StopAsyncIteration:
            self.finish(bytes(self._body))

    def _take(self, reading: Any) -> None:
        try:
            self._body += reading.result()
        except RuntimeError:
            self.finish(errors.InvalidJson())
            return
        self.since = time.monotonic()
        size = len(self._body)
        if size > self._limit:
            self.finish(errors.BodyTooLarge(self._limit))
            return
        more = size - self._taken
        if size > _SMALL and more > 0:
            if not self._bodies.buffers.take(more):
                self.finish(errors.BuffersFull())
                return
            self._taken = size
        self.read()

    def finish(self, body: bytes | errors.ApiError) -> None:
        """Continue with the body, unless that was done before."""
        if self._bodies.is_open(self):
            self._body = bytearray()
            self.parts = None
            self._answer(body, self._taken)
