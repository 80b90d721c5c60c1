"""``latency_spike``: everything takes several times as long; nothing where it takes no time."""

from fastmock.faults.base import Act, Answer, Telling
from fastmock.faults.settings import LatencySpike


class TakesLonger(Act[LatencySpike]):
    """See the module."""

    def applies(self, answer: Answer) -> bool:
        """See Act."""
        return answer.dues is not None

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if answer.dues is None:
            return None
        factor, dues = self._settings.factor, answer.dues
        answer.dues = (due * factor for due in dues)
        return answer
