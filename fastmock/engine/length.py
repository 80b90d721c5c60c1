"""Length limits of a request: ``max_tokens``, ``min_tokens``, ``ignore_eos`` and others."""

from typing import NamedTuple

from fastmock.content.filler import head, lorem
from fastmock.core.completion import NO_DETAILS, Answer, ChatRequest, Tokenizer, ToolCall
from fastmock.engine.constraints import called_tokens

LEAST = frozenset(("min_tokens", "ignore_eos"))
"""The parameters that set a minimum length, used by load testing tools."""
LENGTHS = LEAST | {"max_completion_tokens", "max_tokens"}
"""All parameters that limit the length."""


class Length(NamedTuple):
    """The allowed number of tokens of an answer.

    Attributes:
        most: the maximum; None without a limit.
        least: the minimum.
    """

    most: int | None
    least: int


def length_of(chat: ChatRequest) -> Length:
    """Return the length limits of a request; with ``ignore_eos`` the length is exactly the maximum, as in vLLM."""
    body, most = chat.body, chat.max_tokens
    least: int = body.get("min_tokens") or 0
    if most is not None:
        least = most if body.get("ignore_eos") else min(least, most)
    return Length(most, least)


def deduct_reasoning(chat: ChatRequest, most: int) -> int:
    """Deduct the hidden reasoning of a request from a limit; return the rest for the answer."""
    details = chat.details or NO_DETAILS
    hidden = min(details.reasoning_tokens, details.hidden_tokens)
    if hidden > most:
        details.hidden_tokens -= hidden - most
        details.reasoning_tokens -= hidden - most
        hidden = most
    return most - hidden


def with_length(chat: ChatRequest, answer: Answer, length: Length, seed: int) -> Answer:
    """Return an answer within the length limits of its request; the same object if it already is.

    Args:
        chat: the request.
        answer: the answer, with its token count.
        length: the limits, without the hidden reasoning.
        seed: seeds the words that lengthen a text.
    """
    if length.most is not None and answer.tokens > length.most:
        return _cut(answer, length.most, chat.tokenizer)
    missing = length.least - answer.tokens
    is_text = not answer.calls and answer.refusal is None and (chat.constraints is None or not chat.constraints.json)
    if missing <= 0 or not is_text:
        return answer
    text = (answer.text or "").rstrip()
    missing += chat.tokenizer.count(answer.text or "") - chat.tokenizer.count(text)
    text = " ".join(filter(None, (text, lorem(missing, seed, chat.user_message))))
    reason = "length" if length.least == length.most else "stop"
    return answer._replace(text=text, finish_reason=reason, tokens=length.least, stop=None, logprobs=None)


def _cut(answer: Answer, most: int, tokenizer: Tokenizer) -> Answer:
    """Return the first tokens of an answer: of its reasoning, then its text, then its tool calls."""
    left = most
    reasoning, left, _ = _head(answer.reasoning, left, tokenizer)
    text, left, text_tokens = _head(answer.text, left, tokenizer)
    refusal, left, refusal_tokens = _head(answer.refusal, left, tokenizer)
    calls: list[ToolCall] = []
    for call in answer.calls:
        left -= called_tokens(call.name, tokenizer)
        if left <= 0:
            break
        arguments, left, _ = _head(call.arguments, left, tokenizer)
        calls.append(call._replace(arguments=arguments or ""))
    logprobs = answer.logprobs and answer.logprobs[: text_tokens or refusal_tokens]
    if text is None and refusal is None and not calls:
        text = ""
    return Answer(text, tuple(calls), refusal, "length", most, logprobs, reasoning)


def _head(text: str | None, most: int, tokenizer: Tokenizer) -> tuple[str | None, int, int]:
    """Return the beginning of a text, the number of tokens left after it, and its own number of tokens."""
    if text is None or most < 0:
        return None, most, 0
    kept, tokens = head(tokenizer.pieces(text), most)
    # A character that would be split is dropped, but its tokens count.
    return kept, most - tokens if len(kept) == len(text) else 0, tokens
