"""Run the checks of an endpoint only for requests that have something to check, as most have not."""

from collections.abc import Callable
from typing import Any

from fastmock.core.completion import ChatRequest
from fastmock.validation.check import Contents
from fastmock.validation.validator import Validator


def checked(validator: Validator, contents: Callable[[Any], Contents | None]) -> Callable[[ChatRequest], None]:
    """Return the check of a parsed request, which raises the provider's error.

    ``contents`` returns the contents of a request that the checks look at; None without any.
    """
    has_header = validator.has_header  # whose value may be wrong

    def check(chat: ChatRequest) -> None:
        found = contents(chat)
        if found is not None or has_header:
            validator.check(chat, found)

    return check
