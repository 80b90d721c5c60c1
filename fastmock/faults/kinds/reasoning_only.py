"""``reasoning_only``: reasoning, and no answer after it."""

from typing import Literal

from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class ReasoningOnlySettings(FaultSettings):
    """Spend all tokens on reasoning: the answer is empty, and ends by its length."""

    kind: Literal["reasoning_only"]


class ReasoningOnlyFault(AnswerFault[ReasoningOnlySettings]):
    """The fault ``reasoning_only``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        return Answer(text="", reasoning=answer.reasoning or answer.text or None, finish_reason="length")
