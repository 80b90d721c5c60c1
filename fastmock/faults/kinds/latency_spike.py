"""``latency_spike``: multiply all delays of a response; without delays, nothing happens."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

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
    """The fault ``latency_spike``."""

    @override
    def applies(self, answer: Answer, provider: Provider) -> bool:
        return answer.due_times is not None

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if answer.due_times is None:
            return None
        factor, due_times = self._settings.factor, answer.due_times
        answer.due_times = (due * factor for due in due_times)
        return answer
