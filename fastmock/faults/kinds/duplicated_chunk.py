"""``duplicated_chunk``: send a chunk of a stream twice."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

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
    """The fault ``duplicated_chunk``."""

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if not is_stream(answer):
            return None
        events = Events(answer)
        at = events.reaches(self._settings.after)
        if at is None:
            return None
        events.frames[at] += events.framing.later(events.frames[at])  # one frame that clients read as two events
        return events.stream(events.frames, events.due_times)
