"""The parsed contents of a completions request, for checks."""

from fastmock.core.completion import ChatRequest
from fastmock.validation.check import COMPLETIONS, Contents


def contents(chat: ChatRequest) -> Contents:
    """Return the contents of a request."""
    return Contents(COMPLETIONS, chat.model, chat.body)
