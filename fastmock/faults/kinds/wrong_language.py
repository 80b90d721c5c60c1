"""``wrong_language``: an answer in a language that nobody asked for."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings

_TEXT = "Es tut mir leid, aber ich habe die Frage nicht verstanden. Können Sie sie bitte anders formulieren?"


class WrongLanguageSettings(FaultSettings):
    """Answer in another language."""

    kind: Literal["wrong_language"]
    text: str = Field(_TEXT, min_length=1, description="Text of the answer.")


class WrongLanguageFault(AnswerFault[WrongLanguageSettings]):
    """The fault ``wrong_language``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        return answer._replace(text=self._settings.text, logprobs=None) if answer.text else None
