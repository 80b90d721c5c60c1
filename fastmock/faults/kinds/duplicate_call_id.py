"""``duplicate_call_id``: two tool calls with the same id."""

from typing import Literal

from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class DuplicateCallIdSettings(FaultSettings):
    """Give two tool calls the same id; a single call is repeated."""

    kind: Literal["duplicate_call_id"]


class DuplicateCallIdFault(AnswerFault[DuplicateCallIdSettings]):
    """The fault ``duplicate_call_id``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        if not answer.calls:
            return None
        first, *others = answer.calls
        second = others[0]._replace(id=first.id) if others else first
        return answer._replace(calls=(first, second, *others[1:]))
