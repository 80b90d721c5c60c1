"""``invalid_utf8``: a chunk of a stream, or a whole answer, has bytes that are no UTF-8."""

from fastmock.core.http import Reply
from fastmock.faults.base import Act, Answer, Events, Telling, is_stream
from fastmock.faults.settings import InvalidUtf8

_BYTES = b"\xff\xfe"


class Garbles(Act[InvalidUtf8]):
    """See the module."""

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if not is_stream(answer):
            if not isinstance(answer, Reply) or b'"' not in answer.body:
                return None
            answer.body = _garbled(answer.body)
            return answer
        events = Events(answer)
        at = events.reaches(self._settings.after)
        if at is None or b'"' not in events.frames[at]:
            return None
        events.frames[at] = _garbled(events.frames[at])
        return events.stream(events.frames, events.dues)


def _garbled(data: bytes) -> bytes:
    """Put the bytes into the last string of a JSON text."""
    before, _, after = data.rpartition(b'"')
    return b'%b%b"%b' % (before, _BYTES, after)
