"""``hang``: the request is taken, and never answered."""

from typing import Literal

from fastmock.core.capabilities import Capability
from fastmock.faults.base import Answer, ErrorWriter, Fault, bodiless, never
from fastmock.faults.settings import (
    FaultSettings,
)


class HangSettings(FaultSettings):
    """Accept the request and never answer it."""

    kind: Literal["hang"]


class HangFault(Fault[HangSettings]):
    """See the module."""

    needs = Capability.HANG
    takes_time = True

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        reply = bodiless(answer)
        reply.due_times = never()
        return reply
