"""``close_idle``: the connection is closed while it is idle, though it was said to be kept."""

from typing import Literal

from pydantic import Field

from fastmock.core.capabilities import Capability
from fastmock.faults.base import Answer, ErrorWriter, Fault
from fastmock.faults.settings import (
    FaultSettings,
    Seconds,
)


class CloseIdleSettings(FaultSettings):
    """Close the connection while it is idle after the response; a client that then sends a request gets a reset."""

    kind: Literal["close_idle"]
    after_idle: Seconds = Field(0.0, description="Time for which the connection is idle before.")


class CloseIdleFault(Fault[CloseIdleSettings]):
    """See the module."""

    needs = Capability.CLOSE_IDLE

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        answer.close_idle = self._settings.after_idle
        return answer
