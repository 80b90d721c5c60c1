"""``malformed_chunk``: a chunk of a stream is no JSON, for half of it is lacking."""

from fastmock.faults.base import Answer, Events, OfStreams, Telling, is_stream
from fastmock.faults.settings import MalformedChunk


class Malforms(OfStreams[MalformedChunk]):
    """See the module."""

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if not is_stream(answer):
            return None
        events = Events(answer)
        at = events.reaches(self._settings.after)
        if at is None or (begin := events.frames[at].find(b"data: {")) < 0:
            return None
        frame = events.frames[at]
        events.frames[at] = frame[: begin + (len(frame) - begin) // 2] + b"\n\n"
        return events.stream(events.frames, events.dues)
