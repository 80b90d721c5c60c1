"""``empty_answer``: an answer without any content."""

from typing import Literal

from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class EmptyAnswerSettings(FaultSettings):
    """Answer with an empty text."""

    kind: Literal["empty_answer"]


class EmptyAnswerFault(AnswerFault[EmptyAnswerSettings]):
    """The fault ``empty_answer``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        return Answer(text="")
