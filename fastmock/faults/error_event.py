"""``error_event``: a stream goes on with an error, and ends."""

from fastmock.config.faults import ErrorEvent
from fastmock.faults.act import Answer, Error, Events, OfStreams, Telling, is_stream


class SaysError(OfStreams[ErrorEvent]):
    """See the module."""

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if not is_stream(answer):
            return None
        settings = self._settings
        error = Error(settings.status, None, settings.message, settings.type, settings.code)
        return Events(answer).until(settings.after, telling.missed, telling.event(error))
