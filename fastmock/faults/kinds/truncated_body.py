"""``truncated_body``: cut a non-streaming response short, with the truncated or the original ``content-length``."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.capabilities import Capability
from fastmock.core.http import Reply
from fastmock.core.provider import Provider
from fastmock.faults.base import Answer, ErrorWriter, Fault, is_stream
from fastmock.faults.settings import (
    FaultSettings,
)


class TruncatedBodySettings(FaultSettings):
    """Cut a non-streaming response short."""

    kind: Literal["truncated_body"]
    share: float = Field(0.5, ge=0, lt=1, description="Share of the body that is sent.")
    clean: bool = Field(
        True, description="State the length that is sent in `content-length`; off, the length of the whole body."
    )


class TruncatedBodyFault(Fault[TruncatedBodySettings]):
    """The fault ``truncated_body``."""

    def __init__(self, settings: TruncatedBodySettings) -> None:
        super().__init__(settings)
        self.needs = None if settings.clean else Capability.SHORT_BODY

    @override
    def applies(self, answer: Answer, provider: Provider) -> bool:
        return not is_stream(answer)

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if is_stream(answer) or not isinstance(answer, Reply):
            return None
        length = len(answer.body)
        answer.body = answer.body[: int(length * self._settings.share)]
        if not self._settings.clean:
            answer.unsent = length - len(answer.body)
        return answer
