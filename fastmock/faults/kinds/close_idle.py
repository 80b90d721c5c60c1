"""``close_idle``: the connection is closed while it is idle, though it was said to be kept."""

from fastmock.faults.base import Act, Answer, Telling
from fastmock.faults.settings import CloseIdle


class ClosesIdle(Act[CloseIdle]):
    """See the module."""

    only_granian = True

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        answer.close_idle = self._settings.after_idle
        return answer
