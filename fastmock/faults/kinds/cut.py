"""``cut``: end a stream early, as if it were complete, or by closing the connection."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.capabilities import Capability
from fastmock.faults.base import Answer, ErrorWriter, Events, StreamFault, is_stream
from fastmock.faults.settings import (
    AFTER,
    FIRST,
    FaultSettings,
    PlaceOrText,
)


class CutSettings(FaultSettings):
    """End a stream too early."""

    kind: Literal["cut"]
    after: PlaceOrText = Field(FIRST, description=AFTER)
    clean: bool = Field(
        True, description="End the stream as if it were complete, without its last events; off, close the connection."
    )


class CutFault(StreamFault[CutSettings]):
    """The fault ``cut``."""

    def __init__(self, settings: CutSettings) -> None:
        super().__init__(settings)
        self.needs = None if settings.clean else Capability.CLOSE

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if not is_stream(answer):
            return None
        return Events(answer).until(
            self._settings.after, writer.not_reached, ending="whole" if self._settings.clean else "closed"
        )
