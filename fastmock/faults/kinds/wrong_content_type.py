"""``wrong_content_type``: the answer says that it is something else."""

from fastmock.core.http import Head
from fastmock.faults.base import Act, Answer, Telling
from fastmock.faults.settings import WrongContentType


class Mislabels(Act[WrongContentType]):
    """See the module."""

    def __init__(self, settings: WrongContentType) -> None:
        super().__init__(settings)
        self._made: dict[Head, Head] = {}  # a runtime keeps its own form of each, so that they are made once

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        head = answer.head
        if head not in self._made:
            others = (header for header in head.headers if header[0] != "content-type")
            headers = (("content-type", self._settings.content_type), *others)
            self._made[head] = head.but(headers)
        answer.head = self._made[head]
        return answer
