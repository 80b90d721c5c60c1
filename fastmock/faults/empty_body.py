"""``empty_body``: the answer has its headers, and nothing more."""

from fastmock.config.faults import EmptyBody
from fastmock.faults.act import Act, Answer, Telling, bodiless


class Empties(Act[EmptyBody]):
    """See the module."""

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        return bodiless(answer)
