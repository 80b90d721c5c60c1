"""``malformed_chunk``: send half of a chunk, so that it is not valid JSON."""

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


class MalformedChunkSettings(FaultSettings):
    """Send a chunk of a stream that is not valid JSON."""

    kind: Literal["malformed_chunk"]
    after: PlaceOrText = Field(FIRST, description=AFTER)

    @model_validator(mode="after")
    def _fits(self) -> "MalformedChunkSettings":
        without_time(self.after)
        return self


class MalformedChunkFault(StreamFault[MalformedChunkSettings]):
    """The fault ``malformed_chunk``."""

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if not is_stream(answer):
            return None
        events = Events(answer)
        at = events.reaches(self._settings.after)
        if at is None or (broken := events.framing.break_off(events.frames[at])) is None:
            return None
        events.frames[at] = broken
        return events.stream(events.frames, events.due_times)
