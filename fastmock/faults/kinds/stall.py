"""``stall``: a stream stands still for a time, or for ever."""

from collections.abc import Iterator

from fastmock.faults.base import Answer, Events, OfStreams, Telling, is_stream
from fastmock.faults.settings import Stall


class Stalls(OfStreams[Stall]):
    """See the module."""

    takes_time = True

    def __init__(self, settings: Stall) -> None:
        super().__init__(settings)
        self.only_granian = settings.for_ is None  # on Robyn a stream holds a thread while it waits

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if not is_stream(answer):
            return None
        place, pause = self._settings.after, self._settings.for_
        events = Events(answer)
        if pause is None:
            return events.until(place, telling.missed, hangs=True)
        before = events.reaches(place)
        if before is None:
            return None

        def dues() -> Iterator[float]:
            stalled = False
            for number, due in enumerate(events.dues):
                stalled = due > place.time if place.time is not None else number >= before
                yield due + pause if stalled else due
            if not stalled:
                telling.missed()

        return events.stream(events.frames, dues())
