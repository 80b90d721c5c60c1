"""``hang``: the request is taken, and never answered."""

from fastmock.faults.base import Act, Answer, Telling, bodiless, never
from fastmock.faults.settings import Hang


class Hangs(Act[Hang]):
    """See the module."""

    only_granian = True
    takes_time = True

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        reply = bodiless(answer)
        reply.dues = never()
        return reply
