"""The base of semantic faults: a wrong answer in a right form.

They change the answers before these are rendered, so that they work for chat completions, Responses and Messages alike,
streaming or not.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol, TypeVar

from typing_extensions import override

from fastmock.core.completion import Answer as Output
from fastmock.core.completion import ChatRequest, Tool, ToolCall
from fastmock.core.provider import Provider
from fastmock.faults.base import Answer, ErrorWriter, Fault
from fastmock.faults.settings import FaultSettings


class Redo(Protocol):
    """Renders a response again.

    Attributes:
        chat: the request.
    """

    chat: ChatRequest

    def finish_reason(self) -> str:
        """Return the finish reason of the first answer."""

    def answers(self) -> Sequence[Output]:
        """Return the answers that were rendered."""

    def render(self, answers: Sequence[Output]) -> Answer:
        """Return the response with other answers; their tokens are counted anew."""


S = TypeVar("S", bound=FaultSettings)


class AnswerFault(Fault[S]):
    """A fault that changes answers."""

    @override
    def applies(self, answer: Answer, provider: Provider) -> bool:
        return self._changed(answer) is not None

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        changed = self._changed(answer)
        if changed is None:
            return None
        redo: Redo = answer.redo
        rendered = redo.render(changed)
        # The head may have the headers of limits.
        rendered.head, rendered.values, rendered.more = answer.head, answer.values, answer.more
        return rendered

    def _changed(self, answer: Answer) -> list[Output] | None:
        """Return the changed answers; None if none can be changed."""
        redo: Redo | None = answer.redo
        if redo is None:
            return None
        answers = redo.answers()
        changed = [self.change(one, redo.chat) for one in answers]
        if all(one is None for one in changed):
            return None
        return [one if new is None else new for one, new in zip(answers, changed, strict=True)]

    @abstractmethod
    def change(self, answer: Output, chat: ChatRequest) -> Output | None:
        """Return the changed answer; None if the fault is not applicable to it."""


def tools_of(chat: ChatRequest) -> Sequence[Tool]:
    """Return the tools that a request offers."""
    return chat.constraints.tools if chat.constraints is not None else ()


def new_call(chat: ChatRequest, name: str, arguments: str = "{}") -> ToolCall:
    """Return a tool call with an id of the request."""
    return ToolCall(f"call_{chat.unique[8:]}", name, arguments)
