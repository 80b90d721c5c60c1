"""``broken_tool_arguments``: remove the last brace of tool call arguments, so that they are not valid JSON.

Not applicable to providers that send arguments as a JSON object instead of a text.
"""

import re
from functools import cache
from typing import Literal, NamedTuple

from typing_extensions import override

from fastmock.core.http import Reply
from fastmock.core.provider import Provider
from fastmock.faults.base import Answer, ErrorWriter, Events, Fault, is_stream
from fastmock.faults.settings import (
    FaultSettings,
)


class _Patterns(NamedTuple):
    """Regular expressions for a provider's arguments: the beginning of the text, and a text that ends with a brace."""

    begin: re.Pattern[bytes]
    text: re.Pattern[bytes]


@cache
def _patterns(provider: Provider) -> _Patterns:
    begin = b'(?:%b)"' % "|".join(provider.keys.arguments).encode()
    return _Patterns(re.compile(begin), re.compile(b'(%b(?:[^"\\\\]|\\\\.)*)\\}"' % begin))


class BrokenToolArgumentsSettings(FaultSettings):
    """Break the arguments of tool calls, so that they are not valid JSON."""

    kind: Literal["broken_tool_arguments"]


class BrokenToolArgumentsFault(Fault[BrokenToolArgumentsSettings]):
    """The fault ``broken_tool_arguments``."""

    @override
    def applies(self, answer: Answer, provider: Provider) -> bool:
        if not isinstance(answer, Reply):
            return True  # only known once it is split
        return _patterns(provider).begin.search(answer.body) is not None

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if not is_stream(answer):
            if not isinstance(answer, Reply):
                return None
            answer.body, count = _patterns(writer.provider).text.subn(rb'\1"', answer.body)
            return answer if count else None
        events = Events(answer)
        broken = [_patterns(writer.provider).text.subn(rb'\1"', frame) for frame in events.frames]
        if not any(count for _, count in broken):
            return None
        return events.stream([frame for frame, _ in broken], events.due_times)
