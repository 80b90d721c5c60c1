"""``error_event``: a stream goes on with an error, and ends."""

from fastmock.faults.base import Answer, Error, Events, OfStreams, Telling, is_stream
from fastmock.faults.settings import ErrorEvent


class SaysError(OfStreams[ErrorEvent]):
    """See the module."""

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if not is_stream(answer):
            return None
        settings = self._settings
        error = Error(settings.status, None, settings.message, settings.type, settings.code)
        return Events(answer).until(settings.after, telling.missed, telling.event(error))
