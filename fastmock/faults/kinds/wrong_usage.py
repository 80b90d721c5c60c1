"""``wrong_usage``: multiply the completion tokens in the usage; the totals become inconsistent too."""

import re
from functools import cache
from typing import Literal

from pydantic import Field
from typing_extensions import override

from fastmock.core.http import Reply
from fastmock.core.provider import Provider
from fastmock.faults.base import Answer, ErrorWriter, Events, Fault, is_stream
from fastmock.faults.settings import (
    FaultSettings,
)


@cache
def _counts(provider: Provider) -> re.Pattern[bytes]:
    """Return the regular expression of completion token counts; it only matches keys, since quotes in texts are
    escaped.
    """
    return re.compile(b'("(?:%b)":)(\\d+)' % "|".join(map(re.escape, provider.keys.output_tokens)).encode())


class WrongUsageSettings(FaultSettings):
    """Report wrong token counts in the usage."""

    kind: Literal["wrong_usage"]
    factor: float = Field(10.0, ge=0, le=1000, description="Factor by which the reported completion tokens grow.")


class WrongUsageFault(Fault[WrongUsageSettings]):
    """The fault ``wrong_usage``."""

    @override
    def applies(self, answer: Answer, provider: Provider) -> bool:
        return not isinstance(answer, Reply) or _counts(provider).search(answer.body) is not None

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        if not is_stream(answer):
            if not isinstance(answer, Reply):
                return None
            answer.body, count = self._wrong(answer.body, writer.provider)
            return answer if count else None
        events = Events(answer)
        wrong = [self._wrong(frame, writer.provider) for frame in events.frames]
        return (
            events.stream([frame for frame, _ in wrong], events.due_times) if any(count for _, count in wrong) else None
        )

    def _wrong(self, data: bytes, provider: Provider) -> tuple[bytes, int]:
        factor = self._settings.factor
        return _counts(provider).subn(lambda found: b"%b%d" % (found[1], int(found[2]) * factor), data)
