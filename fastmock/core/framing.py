"""The framing of a stream: how events follow each other in its body."""

from abc import ABC, abstractmethod


class Framing(ABC):
    """A framing.

    Attributes:
        content_type: the content type of streams.
        heartbeat: bytes without meaning, which keep a connection busy and which every client skips.
    """

    content_type: str
    heartbeat: bytes

    @abstractmethod
    def split(self, data: bytes) -> list[bytes]:
        """Cut a part of a stream between its events; the parts joined are ``data``."""

    @abstractmethod
    def break_off(self, event: bytes) -> bytes | None:
        """Return an event with half of its JSON missing; None where it has no JSON object."""

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

    def split(self, data: bytes) -> list[bytes]:
        """See Framing."""
        return [event + b"\n\n" for event in data.split(b"\n\n") if event]

    def break_off(self, event: bytes) -> bytes | None:
        """See Framing."""
        begin = event.find(b"data: {")
        return None if begin < 0 else event[: begin + (len(event) - begin) // 2] + b"\n\n"


SSE = ServerSentEvents()
"""The framing of most APIs."""
