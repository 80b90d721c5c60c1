"""``empty_body``: the answer has its headers, and nothing more."""

from typing import Literal

from fastmock.faults.base import Answer, ErrorWriter, Fault, bodiless
from fastmock.faults.settings import (
    FaultSettings,
)


class EmptyBodySettings(FaultSettings):
    """Send headers with an empty body."""

    kind: Literal["empty_body"]


class EmptyBodyFault(Fault[EmptyBodySettings]):
    """See the module."""

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        return bodiless(answer)
