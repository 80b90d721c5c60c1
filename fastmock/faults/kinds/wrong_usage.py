"""``wrong_usage``: the answer is said to have several times the tokens that it has; the sums are wrong too."""

import re
from functools import cache
from typing import Literal

from pydantic import Field

from fastmock.core.http import Reply
from fastmock.core.provider import Provider
from fastmock.faults.base import Answer, ErrorWriter, Events, Fault, is_stream
from fastmock.faults.settings import (
    FaultSettings,
)


@cache
def _counts(provider: Provider) -> re.Pattern[bytes]:
    """Return the pattern of a count of completion tokens; it finds keys only, for quotes in a text are escaped."""
    return re.compile(b'("(?:%b)":)(\\d+)' % "|".join(map(re.escape, provider.keys.output_tokens)).encode())


class WrongUsageSettings(FaultSettings):
    """Report wrong token counts in the usage."""

    kind: Literal["wrong_usage"]
    factor: float = Field(10.0, ge=0, le=1000, description="Factor by which the reported completion tokens grow.")


class WrongUsageFault(Fault[WrongUsageSettings]):
    """See the module."""

    def applies(self, answer: Answer, provider: Provider) -> bool:
        """See Fault."""
        return not isinstance(answer, Reply) or _counts(provider).search(answer.body) is not None

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
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
