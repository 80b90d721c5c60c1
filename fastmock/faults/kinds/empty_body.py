"""``empty_body``: the answer has its headers, and nothing more."""

from fastmock.faults.base import Act, Answer, Telling, bodiless
from fastmock.faults.settings import EmptyBody


class Empties(Act[EmptyBody]):
    """See the module."""

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        return bodiless(answer)
