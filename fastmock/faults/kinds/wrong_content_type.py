"""``wrong_content_type``: replace the ``content-type`` of a response."""

from typing import Literal

from pydantic import Field
from typing_extensions import override

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
    """The fault ``wrong_content_type``."""

    def __init__(self, settings: WrongContentTypeSettings) -> None:
        super().__init__(settings)
        self._heads: dict[
            ResponseHead, ResponseHead
        ] = {}  # a runtime keeps its own form of each head, so they are created once

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        head = answer.head
        if head not in self._heads:
            others = (header for header in head.headers if header[0] != "content-type")
            headers = (("content-type", self._settings.content_type), *others)
            self._heads[head] = head.replace(headers)
        answer.head = self._heads[head]
        return answer
