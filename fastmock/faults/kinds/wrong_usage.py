"""``wrong_usage``: the answer is said to have several times the tokens that it has; the sums are wrong too."""

import re
from typing import Literal

from pydantic import Field

from fastmock.core.http import Reply
from fastmock.faults.base import Answer, ErrorWriter, Events, Fault, is_stream
from fastmock.faults.settings import (
    FaultSettings,
)

# What stands in a text has its quotes escaped, so that only the keys themselves are found.
_tokens = re.compile(rb'("(?:completion|output)_tokens":)(\d+)').subn


class WrongUsageSettings(FaultSettings):
    """Report wrong token counts in the usage."""

    kind: Literal["wrong_usage"]
    factor: float = Field(10.0, ge=0, le=1000, description="Factor by which the reported completion tokens grow.")


class WrongUsageFault(Fault[WrongUsageSettings]):
    """See the module."""

    def applies(self, answer: Answer) -> bool:
        """See Fault."""
        return not isinstance(answer, Reply) or _tokens(b"", answer.body)[1] > 0

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        if not is_stream(answer):
            if not isinstance(answer, Reply):
                return None
            answer.body, count = self._wrong(answer.body)
            return answer if count else None
        events = Events(answer)
        wrong = [self._wrong(frame) for frame in events.frames]
        return (
            events.stream([frame for frame, _ in wrong], events.due_times) if any(count for _, count in wrong) else None
        )

    def _wrong(self, data: bytes) -> tuple[bytes, int]:
        factor = self._settings.factor
        return _tokens(lambda found: b"%b%d" % (found[1], int(found[2]) * factor), data)
