"""``slow_first_token``: delay the first token, or a non-streaming response."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

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
    """The fault ``slow_first_token``."""

    takes_time = True

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        late, due_times = self._settings.for_, answer.due_times or iter((0.0,))
        answer.due_times = (due + late for due in due_times)
        return answer
