"""The contents of requests for completions that checks look at."""

from fastmock.core.http import Ask
from fastmock.validation.check import COMPLETIONS, Contents


def contents(ask: Ask) -> Contents:
    """Return the contents of a request."""
    return Contents(COMPLETIONS, ask.model, ask.body)
