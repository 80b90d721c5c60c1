"""``broken_tool_arguments``: the arguments of tool calls are no JSON, for they lack their last brace.

Anthropic's whole answers have no text there that could be broken: nothing to strike at.
"""

import re
from typing import Literal

from fastmock.core.http import Reply
from fastmock.faults.base import Answer, ErrorWriter, Events, Fault, is_stream
from fastmock.faults.settings import (
    FaultSettings,
)

# A string that ends with a brace: of chat and Responses, of Anthropic's streams, of the Responses' streams.
_whole = re.compile(rb'("(?:arguments|partial_json)":"(?:[^"\\]|\\.)*)\}"').subn
_delta = re.compile(rb'("delta":"(?:[^"\\]|\\.)*)\}"').subn
_OF_DELTAS = b"function_call_arguments.delta"


class BrokenToolArgumentsSettings(FaultSettings):
    """Break the arguments of tool calls, so that they are not valid JSON."""

    kind: Literal["broken_tool_arguments"]


class BrokenToolArgumentsFault(Fault[BrokenToolArgumentsSettings]):
    """See the module."""

    def applies(self, answer: Answer) -> bool:
        """See Fault."""
        if not isinstance(answer, Reply):
            return True  # it shows only when it is taken apart
        return any(name in answer.body for name in (b'"arguments":"', b'"partial_json":"'))

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        if not is_stream(answer):
            if not isinstance(answer, Reply):
                return None
            answer.body, count = _whole(rb'\1"', answer.body)
            return answer if count else None
        events = Events(answer)
        broken = [(_delta if _OF_DELTAS in frame else _whole)(rb'\1"', frame) for frame in events.frames]
        if not any(count for _, count in broken):
            return None
        return events.stream([frame for frame, _ in broken], events.due_times)
