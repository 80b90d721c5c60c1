"""Bounds on the size of one answer, and which work is done apart from other requests."""

from fastmock.core import errors
from fastmock.core.http import ChatRequest, MoveApart, Request

MAX_TOKENS = 131_072
"""Tokens that are generated for one request: prompts times choices times tokens of each. No model of these APIs answers
with more than 128,000."""
MAX_LOGPROBS = 200_000
"""Log probabilities in one answer: choices times tokens times (1 + top_logprobs)."""
MAX_CHOICES = 2048
"""Choices in one answer: prompts times n."""
MAX_EMBEDDING_TOKENS = 300_000
"""Tokens in all inputs of one request for embeddings; OpenAI's own limit."""

_APART_TOKENS = 4000  # generated tokens, log probabilities or numbers of vectors that take some 20 ms
_APART_LOGPROBS = 4000
_APART_NUMBERS = 50_000
_APART_INPUTS = 100


def check_tokens(chat: ChatRequest, tokens: int) -> None:
    """Check that an answer of ``tokens`` tokens a choice is not too large; a large one is made apart.

    Raises:
        ApiError: 400, it is too large.
        MoveApart: the request has to be moved.
    """
    total = chat.prompts * chat.choices * tokens
    if total > _APART_TOKENS:
        if total > MAX_TOKENS:
            raise errors.AnswerTooLarge(total, "tokens", MAX_TOKENS)
        move_apart(chat.request)


def check_logprobs(chat: ChatRequest, tokens: int, top: int) -> None:
    """Check likewise that not too many log probabilities are wanted."""
    total = chat.prompts * chat.choices * tokens * (1 + top)
    if total > _APART_LOGPROBS:
        if total > MAX_LOGPROBS:
            raise errors.AnswerTooLarge(total, "log probabilities", MAX_LOGPROBS)
        move_apart(chat.request)


def check_inputs(request: Request | None, inputs: int, numbers: int = 0) -> None:
    """Have a request with many inputs, or for many numbers, answered apart."""
    if inputs > _APART_INPUTS or numbers > _APART_NUMBERS:
        move_apart(request)


def move_apart(request: Request | None) -> None:
    """Have a request answered apart from others, where the runtime can do that and does not do so already.

    Raises:
        MoveApart: it can.
    """
    if request is not None and request.can_move:
        raise MoveApart
