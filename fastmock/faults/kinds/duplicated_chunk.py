"""``duplicated_chunk``: a chunk of a stream comes twice."""

from fastmock.faults.base import Answer, Events, OfStreams, Telling, is_stream
from fastmock.faults.settings import DuplicatedChunk


class Repeats(OfStreams[DuplicatedChunk]):
    """See the module."""

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if not is_stream(answer):
            return None
        events = Events(answer)
        at = events.reaches(self._settings.after)
        if at is None:
            return None
        events.frames[at] *= 2  # both are sent in one piece, and read as two events
        return events.stream(events.frames, events.dues)
