"""``duplicated_chunk``: a chunk of a stream comes twice."""

from typing import Literal

from pydantic import Field, model_validator

from fastmock.faults.base import Answer, ErrorWriter, Events, StreamFault, is_stream
from fastmock.faults.settings import (
    AFTER,
    FIRST,
    FaultSettings,
    PlaceOrText,
    without_time,
)


class DuplicatedChunkSettings(FaultSettings):
    """Send a chunk of a stream twice."""

    kind: Literal["duplicated_chunk"]
    after: PlaceOrText = Field(FIRST, description=AFTER)

    @model_validator(mode="after")
    def _fits(self) -> "DuplicatedChunkSettings":
        without_time(self.after)
        return self


class DuplicatedChunkFault(StreamFault[DuplicatedChunkSettings]):
    """See the module."""

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        if not is_stream(answer):
            return None
        events = Events(answer)
        at = events.reaches(self._settings.after)
        if at is None:
            return None
        events.frames[at] += events.framing.later(events.frames[at])  # in one piece, and read as two events
        return events.stream(events.frames, events.due_times)
