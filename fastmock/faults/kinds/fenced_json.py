"""``fenced_json``: JSON inside of a Markdown fence."""

from typing import Literal

import orjson
from typing_extensions import override

from fastmock.core.completion import Answer, ChatRequest
from fastmock.faults.answers import AnswerFault
from fastmock.faults.settings import FaultSettings


class FencedJsonSettings(FaultSettings):
    """Put JSON answers inside of a Markdown fence."""

    kind: Literal["fenced_json"]


class FencedJsonFault(AnswerFault[FencedJsonSettings]):
    """The fault ``fenced_json``."""

    @override
    def change(self, answer: Answer, chat: ChatRequest) -> Answer | None:
        try:
            value = orjson.loads(answer.text or "")
        except orjson.JSONDecodeError:
            return None
        return answer._replace(text=f"```json\n{answer.text}\n```") if isinstance(value, dict | list) else None
