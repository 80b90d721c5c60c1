"""``empty_body``: send only the headers of a response."""

from typing import Literal

from typing_extensions import override

from fastmock.faults.base import Answer, ErrorWriter, Fault, without_body
from fastmock.faults.settings import (
    FaultSettings,
)


class EmptyBodySettings(FaultSettings):
    """Send headers with an empty body."""

    kind: Literal["empty_body"]


class EmptyBodyFault(Fault[EmptyBodySettings]):
    """The fault ``empty_body``."""

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        return without_body(answer)
