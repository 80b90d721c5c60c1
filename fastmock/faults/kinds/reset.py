"""``reset``: the connection is reset, before anything is answered or in the midst of a stream."""

from typing import Literal

from pydantic import Field

from fastmock.core.capabilities import Capability
from fastmock.core.provider import Provider
from fastmock.faults.base import Answer, ErrorWriter, Events, Fault, bodiless, is_stream
from fastmock.faults.settings import (
    AFTER,
    FaultSettings,
    PlaceOrText,
)


class ResetSettings(FaultSettings):
    """Reset the connection (TCP RST)."""

    kind: Literal["reset"]
    after: PlaceOrText | None = Field(None, description=f"{AFTER} Without it before anything is answered.")


class ResetFault(Fault[ResetSettings]):
    """See the module."""

    needs = Capability.RESET

    def applies(self, answer: Answer, provider: Provider) -> bool:
        """See Fault."""
        return self._settings.after is None or is_stream(answer)

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        if self._settings.after is None:
            reply = bodiless(answer)
            reply.ending = "reset"
            return reply
        return (
            Events(answer).until(self._settings.after, writer.not_reached, ending="reset")
            if is_stream(answer)
            else None
        )
