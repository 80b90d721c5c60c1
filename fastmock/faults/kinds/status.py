"""``status``: respond with an error."""

from math import ceil
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from fastmock.faults.base import Answer, Error, ErrorWriter, Fault
from fastmock.faults.settings import (
    ErrorFaultSettings,
    ErrorType,
)


class StatusSettings(ErrorFaultSettings):
    """Return an error instead of the response."""

    kind: Literal["status"]
    status: int | None = Field(None, ge=400, le=599, description="HTTP status of the error.")
    error: ErrorType | None = Field(
        None, description="One of the API's own errors instead, in the form of each provider."
    )
    retry_after: float | None = Field(
        None, ge=0, le=86_400, description="Value of the header `retry-after`, in seconds."
    )
    retry_after_ms: float | None = Field(
        None, ge=0, le=86_400_000, description="Value of the header `retry-after-ms`, in milliseconds."
    )
    should_retry: bool | None = Field(None, description="Value of the header `x-should-retry`.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "StatusSettings":
        if (self.status is None) == (self.error is None):
            raise ValueError("needs 'status' or 'error', and not both")
        return self


class StatusFault(Fault[StatusSettings]):
    """The fault ``status``."""

    def __init__(self, settings: StatusSettings) -> None:
        super().__init__(settings)
        wait, exact, again = settings.retry_after, settings.retry_after_ms, settings.should_retry
        headers = {
            "retry-after": None if wait is None else str(ceil(wait)),
            "retry-after-ms": None if exact is None else f"{exact:g}",
            "x-should-retry": None if again is None else str(again).lower(),
        }
        given = tuple((name, value) for name, value in headers.items() if value is not None)
        self._error = Error(settings.status, settings.error, settings.message, settings.type, settings.code, given)

    @override
    def apply(self, answer: Answer, writer: ErrorWriter) -> Answer | None:
        writer.raise_error(self._error)
