"""``wrong_content_type``: the answer says that it is something else."""

from typing import Literal

from pydantic import Field

from fastmock.core.http import ResponseHead
from fastmock.faults.base import Answer, ErrorWriter, Fault
from fastmock.faults.settings import (
    FaultSettings,
)


class WrongContentTypeSettings(FaultSettings):
    """Send a wrong `content-type`."""

    kind: Literal["wrong_content_type"]
    content_type: str = Field("text/html", pattern=r"^[ -~]+$", description="Value of the header `content-type`.")


class WrongContentTypeFault(Fault[WrongContentTypeSettings]):
    """See the module."""

    def __init__(self, settings: WrongContentTypeSettings) -> None:
        super().__init__(settings)
        self._made: dict[
            ResponseHead, ResponseHead
        ] = {}  # a runtime keeps its own form of each, so that they are made once

    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        """See Fault."""
        head = answer.head
        if head not in self._made:
            others = (header for header in head.headers if header[0] != "content-type")
            headers = (("content-type", self._settings.content_type), *others)
            self._made[head] = head.but(headers)
        answer.head = self._made[head]
        return answer
