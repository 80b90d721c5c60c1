"""``status``: an error instead of the answer."""

from math import ceil

from fastmock.faults.base import Act, Answer, Error, Telling
from fastmock.faults.settings import Status


class Refuses(Act[Status]):
    """See the module."""

    def __init__(self, settings: Status) -> None:
        super().__init__(settings)
        wait, exact, again = settings.retry_after, settings.retry_after_ms, settings.should_retry
        headers = {
            "retry-after": None if wait is None else str(ceil(wait)),
            "retry-after-ms": None if exact is None else f"{exact:g}",
            "x-should-retry": None if again is None else str(again).lower(),
        }
        given = tuple((name, value) for name, value in headers.items() if value is not None)
        self._error = Error(settings.status, settings.error, settings.message, settings.type, settings.code, given)

    def strike(self, answer: Answer, telling: Telling) -> Answer | None:
        """See Act."""
        telling.refuse(self._error)
