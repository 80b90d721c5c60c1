"""``refusal``: the model refuses to answer."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class RefusalSettings(FaultSettings):
    """Answer with a refusal instead of the text."""

    kind: Literal["refusal"]
    message: str = Field("I'm sorry, but I can't help with that.", min_length=1, description="Text of the refusal.")


class RefusalFault(AnswerFault[RefusalSettings]):
    """The fault ``refusal``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        return Answer(refusal=self._settings.message, reasoning=answer.reasoning)
