"""Framing of a stream: the separation of events in its body."""

from abc import ABC, abstractmethod

from typing_extensions import override


class Framing(ABC):
    """A framing.

    Attributes:
        content_type: the content type of streams.
        heartbeat: bytes that every client ignores, to keep a connection busy.
    """

    content_type: str
    heartbeat: bytes

    @abstractmethod
    def split(self, data: bytes) -> list[bytes]:
        """Split a part of a stream into its events; joined, they equal ``data``."""

    @abstractmethod
    def break_off(self, event: bytes) -> bytes | None:
        """Return an event with half of its JSON missing; None if it has no JSON object."""

    def first(self, event: bytes) -> bytes:
        """Return an event, written to follow another, as the first of a stream."""
        return event

    def later(self, event: bytes) -> bytes:
        """Return an event as it follows another, also one that was the first of its stream."""
        return event


class ServerSentEvents(Framing):
    """Server-sent events (HTML standard, 9.2)."""

    content_type = "text/event-stream; charset=utf-8"
    heartbeat = b": heartbeat\n\n"

    @override
    def split(self, data: bytes) -> list[bytes]:
        return [event + b"\n\n" for event in data.split(b"\n\n") if event]

    @override
    def break_off(self, event: bytes) -> bytes | None:
        begin = event.find(b"data: {")
        return None if begin < 0 else event[: begin + (len(event) - begin) // 2] + b"\n\n"


SSE = ServerSentEvents()
"""The framing of most APIs."""
