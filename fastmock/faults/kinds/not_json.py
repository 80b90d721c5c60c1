"""``not_json``: prose where the request demands JSON."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class NotJsonSettings(FaultSettings):
    """Answer with prose where the request demands JSON."""

    kind: Literal["not_json"]
    text: str = Field("Sure! Here is the information you asked for.", min_length=1, description="Text of the answer.")


class NotJsonFault(AnswerFault[NotJsonSettings]):
    """The fault ``not_json``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        if chat.constraints is None or not chat.constraints.json or answer.text is None:
            return None
        return answer._replace(text=self._settings.text)
