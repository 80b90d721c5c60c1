"""``close_idle``: the connection is closed while it is idle, though it was said to be kept."""

from typing import Literal

from pydantic import Field

from fastmock.faults.base import Answer, ErrorWriter, Fault
from fastmock.faults.settings import (
    FaultSettings,
    Seconds,
)


class CloseIdleSettings(FaultSettings):
    """The connection is closed while it is idle after the answer, as servers do at the end of their keep-alive time: a
    client that sends its next request at that moment gets a reset."""

    kind: Literal["close_idle"]
    after_idle: Seconds = Field(0.0, description="For how long it is idle before.")


class CloseIdleFault(Fault[CloseIdleSettings]):
    """See the module."""

    only_granian = True

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        answer.close_idle = self._settings.after_idle
        return answer
