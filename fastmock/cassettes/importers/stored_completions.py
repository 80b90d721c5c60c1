"""Import stored chat completions: objects of the API with their messages, or lines of a dataset."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from fastmock.cassettes.importers.written import Imported, line_of

_PATH = "/v1/chat/completions"
_ASKED = (
    *("tools", "tool_choice", "response_format", "temperature", "top_p", "seed", "metadata", "service_tier"),
    *("presence_penalty", "frequency_penalty", "max_tokens", "max_completion_tokens", "parallel_tool_calls"),
)
"""Fields of a stored completion that the request had."""
_OF_ANSWER = ("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier")
_JSON = {"content-type": "application/json"}
_message_id = re.compile(r"(.+)-\d+").fullmatch  # the id of its completion, and its number
StoredMessages = Mapping[str, list[Any]]
"""The messages of stored completions, by the id of the completion."""


def stored_messages(documents: Iterable[object]) -> StoredMessages:
    """Return the messages of stored completions in list pages of their own."""
    found: dict[str, list[Any]] = {}
    for one in (one for document in documents for one in _listed(document)):
        if _is_message(one) and (of := _message_id(str(one.get("id")))):
            found.setdefault(of[1], []).append(one)
    return found


def recordings_of_completions(document: object, messages: StoredMessages) -> Iterator[Imported]:
    """Yield the recordings of stored completions: a list page, a list, or one of them.

    ``messages``: messages that stand in other files.
    """
    for place, one in enumerate(_listed(document)):
        if _is_message(one) and isinstance(document, Mapping):
            continue  # a completion has it
        given = messages.get(str(one.get("id"))) if isinstance(one, Mapping) and "messages" not in one else None
        found = _recording(one if given is None else {**one, "messages": given})
        yield f"[{place}]: {found}" if isinstance(found, str) and isinstance(document, list) else found


def _listed(document: object) -> Sequence[Any]:
    if isinstance(document, Mapping) and document.get("object") == "list":
        document = document.get("data")
    return document if isinstance(document, list) else [document]


def _is_message(one: object) -> bool:
    return isinstance(one, Mapping) and "role" in one and "choices" not in one


def _recording(stored: Any) -> Imported:
    """Return the recording of a completion; its messages are its own field ``messages`` or ``input``."""
    if not isinstance(stored, Mapping):
        return "is not an object"
    item, sample = stored.get("item"), stored.get("sample")
    if isinstance(item, Mapping):  # a row of a dataset of evaluations
        stored = {**item, **(sample if isinstance(sample, Mapping) else {})}
    messages = stored.get("messages", stored.get("input"))
    if isinstance(messages, Mapping):  # the page of its messages
        messages = messages.get("data")
    if not isinstance(messages, list) or not messages:
        return "has no messages: add those of GET /v1/chat/completions/{id}/messages as its field 'messages'"
    messages = [_sent(one) for one in messages if isinstance(one, Mapping)]
    choices = stored.get("choices")
    if isinstance(choices, list) and len(messages) > 1 and _answers(messages[-1], choices):
        messages = messages[:-1]  # the list of messages ends with the answer
    if not isinstance(choices, list):
        answer = stored.get("output_text") or (messages[-1] if messages[-1].get("role") == "assistant" else None)
        if answer is None:
            return "has no answer: neither choices nor a last message of the assistant"
        if isinstance(answer, dict):
            messages = messages[:-1]
        message = answer if isinstance(answer, dict) else {"role": "assistant", "content": answer}
        choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
    request = {"model": stored.get("model") or "gpt-4o", "messages": messages}
    request |= {name: stored[name] for name in _ASKED if stored.get(name) not in (None, [], {})}
    answer_body = {"id": "chatcmpl-imported", "object": "chat.completion", "created": 0, "model": request["model"]}
    answer_body |= {name: stored[name] for name in _OF_ANSWER if stored.get(name) is not None}
    answer_body["choices"] = choices
    return line_of("POST", _PATH, _JSON, orjson.dumps(request), 200, _JSON, orjson.dumps(answer_body))


def _answers(message: Mapping[str, Any], choices: list[Any]) -> bool:
    """Return whether a message is the first choice."""
    first = choices[0].get("message") if choices and isinstance(choices[0], Mapping) else None
    is_answer = isinstance(first, Mapping) and message.get("role") == "assistant"
    return is_answer and message.get("content") == first.get("content")  # type: ignore[union-attr]


def _sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored message as it was sent: without its id and fields that are empty."""
    parts = message.get("content_parts")
    found = {
        name: value for name, value in message.items() if value is not None and name not in ("id", "content_parts")
    }
    return {**found, "content": parts} if parts else found
