"""``invalid_utf8``: insert bytes that are not UTF-8 into a chunk of a stream, or into a non-streaming response."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from fastmock.core.http import Reply
from fastmock.faults.base import Answer, ErrorWriter, Events, Fault, is_stream
from fastmock.faults.settings import (
    AFTER,
    FIRST,
    FaultSettings,
    PlaceOrText,
    without_time,
)

_BYTES = b"\xff\xfe"


class InvalidUtf8Settings(FaultSettings):
    """Send a chunk, or a whole response, that is not valid UTF-8."""

    kind: Literal["invalid_utf8"]
    after: PlaceOrText = Field(FIRST, description=AFTER)

    @model_validator(mode="after")
    def _fits(self) -> "InvalidUtf8Settings":
        without_time(self.after)
        return self


class InvalidUtf8Fault(Fault[InvalidUtf8Settings]):
    """The fault ``invalid_utf8``."""

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if not is_stream(answer):
            if not isinstance(answer, Reply) or b'"' not in answer.body:
                return None
            answer.body = _with_invalid_bytes(answer.body)
            return answer
        events = Events(answer)
        at = events.reaches(self._settings.after)
        if at is None or b'"' not in events.frames[at]:
            return None
        events.frames[at] = _with_invalid_bytes(events.frames[at])
        return events.stream(events.frames, events.due_times)


def _with_invalid_bytes(data: bytes) -> bytes:
    """Insert the bytes into the last string of a JSON text."""
    before, _, after = data.rpartition(b'"')
    return b'%b%b"%b' % (before, _BYTES, after)
