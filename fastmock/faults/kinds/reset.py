"""``reset``: the connection is reset, before anything is answered or in the midst of a stream."""

from fastmock.faults.base import Act, Answer, Events, Telling, bodiless, is_stream
from fastmock.faults.settings import Reset


class Resets(Act[Reset]):
    """See the module."""

    only_granian = True

    def applies(self, answer: Answer) -> bool:
        """See Act."""
        return self._settings.after is None or is_stream(answer)

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if self._settings.after is None:
            reply = bodiless(answer)
            reply.ending = "reset"
            return reply
        return Events(answer).until(self._settings.after, telling.missed, ending="reset") if is_stream(answer) else None
