"""Bounds on the size of one response, and thresholds for answering in a separate thread."""

from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.http import MoveApart, Request

MAX_TOKENS = 131_072
"""Maximum tokens generated for one request: prompts * choices * tokens of each. No model of these APIs answers with
more than 128,000.
"""
MAX_LOGPROBS = 200_000
"""Maximum log probabilities in one response: choices * tokens * (1 + top_logprobs)."""
MAX_CHOICES = 2048
"""Maximum choices in one response: prompts * n."""
MAX_EMBEDDING_TOKENS = 300_000
"""Maximum tokens in all inputs of one embeddings request, as OpenAI's limit."""

_APART_TOKENS = 4000  # generated tokens, log probabilities or vector numbers that take some 20 ms
_APART_LOGPROBS = 4000
_APART_NUMBERS = 400_000
_APART_INPUTS = 100


def check_tokens(chat: ChatRequest, tokens: int) -> None:
    """Check that a response with ``tokens`` tokens per choice is not too large; move a large one to a separate thread.

    Raises:
        ApiError: 400, it is too large.
        MoveApart: the request must be moved.
    """
    total = chat.prompts * chat.choices * tokens
    if total > _APART_TOKENS:
        if total > MAX_TOKENS:
            raise errors.AnswerTooLarge(total, "tokens", MAX_TOKENS)
        move_apart(chat.request)


def check_logprobs(chat: ChatRequest, tokens: int, top: int) -> None:
    """Check likewise the number of log probabilities."""
    total = chat.prompts * chat.choices * tokens * (1 + top)
    if total > _APART_LOGPROBS:
        if total > MAX_LOGPROBS:
            raise errors.AnswerTooLarge(total, "log probabilities", MAX_LOGPROBS)
        move_apart(chat.request)


def check_inputs(request: Request | None, inputs: int, numbers: int = 0) -> None:
    """Move a request with many inputs or numbers to a separate thread."""
    if inputs > _APART_INPUTS or numbers > _APART_NUMBERS:
        move_apart(request)


def move_apart(request: Request | None) -> None:
    """Move a request to a separate thread, if the runtime supports that and has not done so already.

    Raises:
        MoveApart: the request must be moved.
    """
    if request is not None and request.can_move:
        raise MoveApart
