"""``reset``: reset the connection, before the response or in the middle of a stream."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.capabilities import Capability
from fastmock.core.provider import Provider
from fastmock.faults.base import Answer, ErrorWriter, Events, Fault, is_stream, without_body
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
    """The fault ``reset``."""

    needs = Capability.RESET

    @override
    def applies(self, answer: Answer, provider: Provider) -> bool:
        return self._settings.after is None or is_stream(answer)

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if self._settings.after is None:
            reply = without_body(answer)
            reply.ending = "reset"
            return reply
        return (
            Events(answer).until(self._settings.after, writer.not_reached, ending="reset")
            if is_stream(answer)
            else None
        )
