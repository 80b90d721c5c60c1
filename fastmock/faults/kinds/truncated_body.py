"""``truncated_body``: a whole answer ends too early; its length is that of what is sent, or what it should be."""

from fastmock.core.http import Reply
from fastmock.faults.base import Act, Answer, Telling, is_stream
from fastmock.faults.settings import TruncatedBody


class Truncates(Act[TruncatedBody]):
    """See the module."""

    def __init__(self, settings: TruncatedBody) -> None:
        super().__init__(settings)
        self.only_granian = not settings.clean

    def applies(self, answer: Answer) -> bool:
        """See Act."""
        return not is_stream(answer)

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        if is_stream(answer) or not isinstance(answer, Reply):
            return None
        length = len(answer.body)
        answer.body = answer.body[: int(length * self._settings.share)]
        if not self._settings.clean:
            answer.unsent = length - len(answer.body)
        return answer
