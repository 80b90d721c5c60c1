"""``cut_arguments``: a tool call that ends in the middle of its arguments, because of the length."""

from typing import Literal

from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class CutArgumentsSettings(FaultSettings):
    """End an answer by its length in the middle of the arguments of a tool call."""

    kind: Literal["cut_arguments"]


class CutArgumentsFault(AnswerFault[CutArgumentsSettings]):
    """The fault ``cut_arguments``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        if not answer.calls:
            return None
        last = answer.calls[-1]
        cut = last._replace(arguments=last.arguments[: max(1, len(last.arguments) // 2)])
        return answer._replace(calls=(*answer.calls[:-1], cut), finish_reason="length")
