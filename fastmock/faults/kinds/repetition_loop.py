"""``repetition_loop``: the answer repeats itself until it ends by its length."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class RepetitionLoopSettings(FaultSettings):
    """Repeat the answer until it ends by its length."""

    kind: Literal["repetition_loop"]
    repetitions: int = Field(20, ge=2, le=1000, description="Number of times that the text is sent.")


class RepetitionLoopFault(AnswerFault[RepetitionLoopSettings]):
    """The fault ``repetition_loop``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        if not answer.text or len(answer.text) * self._settings.repetitions > 1_000_000:
            return None
        text = " ".join([answer.text] * self._settings.repetitions)
        return answer._replace(text=text, finish_reason="length", logprobs=None)
