"""``slow_first_token``: the first token, or a whole answer, comes late by a time."""

from typing import Literal

from pydantic import Field

from fastmock.faults.base import Answer, ErrorWriter, Fault
from fastmock.faults.settings import (
    FaultSettings,
    Seconds,
)


class SlowFirstTokenSettings(FaultSettings):
    """Delay the first token, or a whole response."""

    kind: Literal["slow_first_token"]
    for_: Seconds = Field(alias="for", description="Time to add to the first token.")


class SlowFirstTokenFault(Fault[SlowFirstTokenSettings]):
    """See the module."""

    takes_time = True

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        late, due_times = self._settings.for_, answer.due_times or iter((0.0,))
        answer.due_times = (due + late for due in due_times)
        return answer
