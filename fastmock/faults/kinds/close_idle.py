"""``close_idle``: close a keep-alive connection while it is idle."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

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
    """The fault ``close_idle``."""

    needs = Capability.CLOSE_IDLE

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        answer.close_idle = self._settings.after_idle
        return answer
