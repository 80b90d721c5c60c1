"""``slow_first_token``: the first token, or a whole answer, comes late by a time."""

from fastmock.faults.base import Act, Answer, Telling
from fastmock.faults.settings import SlowFirstToken


class IsSlow(Act[SlowFirstToken]):
    """See the module."""

    takes_time = True

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        late, dues = self._settings.for_, answer.dues or iter((0.0,))
        answer.dues = (due + late for due in dues)
        return answer
