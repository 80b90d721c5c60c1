"""Findings about conversations: truncated answers that are used, tool calls without a result."""

from collections.abc import Iterator, Sequence

from fastmock.findings.attempts import Attempt, Client, Message
from fastmock.findings.finding import Context, Seen

_MOST_LATER = 200  # requests after a truncated answer in which it is searched for
_CONTINUES = "continue"  # in the user's message after an answer that the client knows to be incomplete


def _after(client: Client, place: int) -> Sequence[Attempt]:
    """Return the attempts after the one at a place that are searched for the rest of its conversation."""
    return client.attempts[place + 1 : place + 1 + _MOST_LATER]


def used_truncated_stream(client: Client, context: Context) -> Iterator[Seen]:
    """Find conversations that go on with a part of a text whose stream broke off."""
    for place, attempt in enumerate(client.attempts):
        if not attempt.fault or not attempt.stream or not attempt.facts.get("text"):
            continue
        for later, index in _answers_to(attempt, _after(client, place)):
            text = later.messages[index].text
            if text and len(text) < attempt.facts["length"] and _is_prefix(text, attempt.facts["text"]):
                share = f"{len(text)} of {attempt.facts['length']} characters"
                message = f"went on with {share} of an answer whose stream broke off ({attempt.fault})"
                yield Seen("error", message, (attempt, later))
                break


def ignored_length(client: Client, context: Context) -> Iterator[Seen]:
    """Find conversations that go on after an answer that was cut at the maximum of tokens."""
    for place, attempt in enumerate(client.attempts):
        if attempt.facts.get("finish") != "length" or (attempt.fault and "text" not in attempt.facts):
            continue
        for later, index in _answers_to(attempt, _after(client, place)):
            answer, following = later.messages[index], later.messages[index + 1 : index + 2]
            text = attempt.facts.get("text", "")
            is_used = _is_prefix(answer.text, text) if text else bool(answer.calls)
            if is_used and following and _CONTINUES not in following[0].text.lower():
                yield Seen("warning", "used an answer that was cut at the maximum of tokens", (attempt, later))
                break


def _is_prefix(text: str, whole: str) -> bool:
    """Return whether one text begins with the other; of a long whole only the beginning is known."""
    return bool(text) and text[: len(whole)] == whole[: len(text)]


def _answers_to(attempt: Attempt, later: Sequence[Attempt]) -> Iterator[tuple[Attempt, int]]:
    """Yield the later requests that go on in the conversation of a request, with the index of the assistant's message
    after it.
    """
    asked = len(attempt.messages)
    if not asked or attempt.ended is None:
        return
    for one in later:
        messages = one.messages
        if (
            len(messages) > asked
            and messages[asked].role == "assistant"
            and messages[asked - 1] == attempt.messages[-1]
        ):
            yield one, asked


def unknown_tool_call(client: Client, context: Context) -> Iterator[Seen]:
    """Find results of tool calls that are not in the conversation."""
    for attempt in client.attempts:
        known: set[str] = set()
        for message in attempt.messages:
            known.update(message.calls)
            if message.result and message.result not in known:
                message_ = f"sent a result for a tool call that is not in the conversation: {message.result!r}"
                yield Seen("error", message_, (attempt,))
                break


def unanswered_tool_call(client: Client, context: Context) -> Iterator[Seen]:
    """Find conversations that go on without the result of a tool call."""
    for place, attempt in enumerate(client.attempts):
        if (missing := _without_result(attempt.messages)) is not None:
            yield Seen("error", f"went on without a result for the tool call {missing!r}", (attempt,))
        if attempt.facts.get("finish") == "tool_calls" and attempt.is_success:
            found = next(_dropped(attempt, _after(client, place)), None)
            if found is not None:
                yield Seen(
                    "warning", "went on in the conversation without the tool call of the answer", (attempt, found)
                )


def _without_result(messages: Sequence[Message]) -> str | None:
    """Return the first call whose result does not follow before another message; None without one."""
    waiting: dict[str, None] = {}
    for message in messages:
        if message.result:
            waiting.pop(message.result, None)
        elif waiting:
            break
        else:
            waiting = dict.fromkeys(message.calls)
    return next(iter(waiting), None)


def _dropped(attempt: Attempt, later: Sequence[Attempt]) -> Iterator[Attempt]:
    """Yield the later requests that go on in the conversation of a request without the tool calls of its answer."""
    asked = list(attempt.messages)
    for one in later:
        messages = one.messages
        if len(messages) > len(asked) > 0 and list(messages[: len(asked)]) == asked:
            following = messages[len(asked)]
            if not following.calls and not following.result:
                yield one
