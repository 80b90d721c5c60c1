"""``error_event``: end a stream with an error event."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.faults.base import Answer, Error, ErrorWriter, Events, StreamFault, is_stream
from fastmock.faults.settings import (
    AFTER,
    FIRST,
    ErrorFaultSettings,
    PlaceOrText,
)


class ErrorEventSettings(ErrorFaultSettings):
    """End a stream with an error event."""

    kind: Literal["error_event"]
    after: PlaceOrText = Field(FIRST, description=AFTER)
    status: int = Field(500, ge=400, le=599, description="HTTP status that the error stands for.")


class ErrorEventFault(StreamFault[ErrorEventSettings]):
    """The fault ``error_event``."""

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if not is_stream(answer):
            return None
        settings = self._settings
        error = Error(settings.status, None, settings.message, settings.type, settings.code)
        return Events(answer).until(settings.after, writer.not_reached, writer.event(error))
