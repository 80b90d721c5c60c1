"""``content_filter``: a content filter ends the answer."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class ContentFilterSettings(FaultSettings):
    """End the answer by a content filter."""

    kind: Literal["content_filter"]
    share: float = Field(0.5, ge=0, le=1, description="Share of the text that is sent before.")


class ContentFilterFault(AnswerFault[ContentFilterSettings]):
    """The fault ``content_filter``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        text = answer.text or ""
        cut = text[: round(len(text) * self._settings.share)]
        return Answer(text=cut, reasoning=answer.reasoning, finish_reason="content_filter")
