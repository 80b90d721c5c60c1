"""The contents of requests for completions that checks look at."""

from fastmock.api.validation.check import COMPLETIONS, Contents
from fastmock.wire import Ask


def contents(ask: Ask) -> Contents:
    """Return the contents of a request."""
    return Contents(COMPLETIONS, ask.model, ask.body)
