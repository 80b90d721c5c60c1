"""``cut``: a stream ends too early, as if it were complete, or with its connection."""

from fastmock.faults.base import Answer, Events, OfStreams, Telling, is_stream
from fastmock.faults.settings import Cut


class Cuts(OfStreams[Cut]):
    """See the module."""

    def __init__(self, settings: Cut) -> None:
        super().__init__(settings)
        self.only_granian = not settings.clean

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if not is_stream(answer):
            return None
        return Events(answer).until(
            self._settings.after, telling.missed, ending="whole" if self._settings.clean else "closed"
        )
