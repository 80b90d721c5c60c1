"""``unknown_tool``: call a tool that was not offered."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault, new_call, tools_of
from fastmock.faults.settings import FaultSettings


class UnknownToolSettings(FaultSettings):
    """Call a tool that the request does not offer."""

    kind: Literal["unknown_tool"]
    name: str = Field("unknown_tool", min_length=1, description="Name of the called tool.")


class UnknownToolFault(AnswerFault[UnknownToolSettings]):
    """The fault ``unknown_tool``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        name, offered = self._settings.name, tools_of(chat)
        if not offered or any(tool.name == name for tool in offered):
            return None
        calls = (answer.calls[0]._replace(name=name), *answer.calls[1:]) if answer.calls else (new_call(chat, name),)
        return Answer(calls=calls, finish_reason="tool_calls", reasoning=answer.reasoning)
