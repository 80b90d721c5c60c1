"""``stall``: stall a stream for a time or indefinitely."""

from collections.abc import Iterator
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
    Seconds,
)


class StallSettings(FaultSettings):
    """Stall a stream for a time or indefinitely."""

    kind: Literal["stall"]
    after: PlaceOrText = Field(FIRST, description=AFTER)
    for_: Seconds | None = Field(
        None, alias="for", description="Duration of the stall; without it, the stream never continues."
    )


class StallFault(StreamFault[StallSettings]):
    """The fault ``stall``."""

    takes_time = True

    def __init__(self, settings: StallSettings) -> None:
        super().__init__(settings)
        self.needs = Capability.HANG if settings.for_ is None else None

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if not is_stream(answer):
            return None
        place, pause = self._settings.after, self._settings.for_
        events = Events(answer)
        if pause is None:
            return events.until(place, writer.not_reached, hangs=True)
        before = events.reaches(place)
        if before is None:
            return None

        def due_times() -> Iterator[float]:
            stalled = False
            for number, due in enumerate(events.due_times):
                stalled = due > place.time if place.time is not None else number >= before
                yield due + pause if stalled else due
            if not stalled:
                writer.not_reached()

        return events.stream(events.frames, due_times())
