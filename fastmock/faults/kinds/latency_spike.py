"""``latency_spike``: everything takes several times as long; nothing where it takes no time."""

from typing import Literal

from pydantic import Field

from fastmock.core.provider import Provider
from fastmock.faults.base import Answer, ErrorWriter, Fault
from fastmock.faults.settings import (
    FaultSettings,
)


class LatencySpikeSettings(FaultSettings):
    """Multiply all times of the response."""

    kind: Literal["latency_spike"]
    factor: float = Field(10.0, ge=1, le=100_000, description="Factor by which all times grow.")


class LatencySpikeFault(Fault[LatencySpikeSettings]):
    """See the module."""

    def applies(self, answer: Answer, provider: Provider) -> bool:
        """See Fault."""
        return answer.due_times is not None

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        if answer.due_times is None:
            return None
        factor, due_times = self._settings.factor, answer.due_times
        answer.due_times = (due * factor for due in due_times)
        return answer
