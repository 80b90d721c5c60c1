"""``hang``: accept a request and never answer it."""

from typing import Literal

from typing_extensions import override

from fastmock.core.capabilities import Capability
from fastmock.faults.base import Answer, ErrorWriter, Fault, never, without_body
from fastmock.faults.settings import (
    FaultSettings,
)


class HangSettings(FaultSettings):
    """Accept the request and never answer it."""

    kind: Literal["hang"]


class HangFault(Fault[HangSettings]):
    """The fault ``hang``."""

    needs = Capability.HANG
    takes_time = True

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        reply = without_body(answer)
        reply.due_times = never()
        return reply
