"""Checks of requests for chat completions."""

import re
from typing import Any

from fastmock.core import errors
from fastmock.providers.openai.chat.request import ConversationRequest
from fastmock.providers.openai.checks import functions_of, reasons
from fastmock.providers.openai.errors import null_content
from fastmock.providers.openai.schema_checks import check_strict_format
from fastmock.validation.check import CHAT, Contents, Document, Part

_LONGEST_DESCRIPTION = 1024
_is_name = re.compile(r"[^\s<|\\/>]+").fullmatch
_takes_images_anywhere = re.compile(r"gpt-5\.[2-9]|gpt-[6-9]").match
_OF_USERS = ("image_url", "input_audio", "file")
_OF_ASSISTANTS = ("refusal", "audio")

PARAMS = frozenset(
    (
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
        "response_format",
        "max_completion_tokens",
        "logit_bias",
    )
)
"""The parameters that checks examine, for any model."""


def contents(chat: ConversationRequest) -> Contents | None:
    """Return the contents of a request; None for requests with texts alone, which no check can reject."""
    body = chat.body
    if not chat.detailed:
        if len(body) == 2:  # model and messages; looking for parameters takes twice as long
            return None
        plain = PARAMS.isdisjoint(body) and not reasons(chat.model) and (chat.stream or "stream_options" not in body)
        return None if plain else Contents(CHAT, chat.model, body)
    found = Contents(CHAT, chat.model, body)
    for index, message in enumerate(body["messages"]):
        role = message["role"]
        whole = Part((index,), role, message)
        if message.get("name") is not None:
            found.add("name", whole)
        if message.get("tool_calls") is not None:
            found.add("tool_calls", whole)
        content = message.get("content")
        if content is None and role == "assistant":
            found.add("silent", whole)
        elif type(content) is list:
            if not content:
                found.add("empty", whole)
            for place, part in enumerate(content):
                if part["type"] != "text":
                    found.add("other", Part((index, place), role, part))
    return found


def refuse_empty_arrays(contents: Contents) -> None:
    """Reject empty lists of tools, calls and parts."""
    for name in ("tools", "functions"):
        if contents.body.get(name) == []:
            raise errors.EmptyArray(name)
    for part in contents.of("tool_calls"):
        if part.value["tool_calls"] == []:
            raise errors.EmptyArray(f"messages[{part.at[0]}].tool_calls")
    for part in contents.of("empty"):
        raise errors.EmptyArray(f"messages[{part.at[0]}].content")


def refuse_empty_answers(contents: Contents) -> None:
    """Reject assistant messages without content and calls."""
    for (index,), _, message in contents.of("silent"):
        if not any(message.get(name) for name in ("tool_calls", "function_call", "refusal", "audio")):
            raise null_content(index)


def refuse_names(contents: Contents) -> None:
    """Reject participant names with spaces or brackets."""
    for (index,), _, message in contents.of("name"):
        if not _is_name(message["name"]):
            param = f"messages[{index}].name"
            mismatch = f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern "
            raise errors.ApiError(400, rf"{mismatch}'^[^\s<|\\/>]+$'.", param, "invalid_value")


def refuse_misplaced_parts(contents: Contents) -> None:
    """Reject parts that the role of the message does not allow."""
    images_anywhere = _takes_images_anywhere(contents.model) is not None
    for (index, place), role, part in contents.of("other"):
        kind = part["type"]
        if role != "user" and kind == "image_url":
            if not images_anywhere:
                raise errors.ApiError(
                    400,
                    f"Invalid 'messages[{index}]'. Image URLs are only allowed for messages with role 'user', but this "
                    f"message with role '{role}' contains an image URL.",
                    f"messages[{index}]",
                    "invalid_value",
                )
        elif role != "user" if kind in _OF_USERS else role != "assistant":
            supported = {
                "user": "'text', 'image_url', 'input_audio', and 'file'",
                "assistant": "'text' and 'refusal'",
            }.get(role, "'text'")
            raise errors.UnsupportedValue(f"messages[{index}].content[{place}].type", kind, supported)


def refuse_choice_without_tools(contents: Contents) -> None:
    """Reject parameters for the choice of tools without tools."""
    body = contents.body
    for name, other in (
        ("tool_choice", "tools"),
        ("parallel_tool_calls", "tools"),
        ("function_call", "functions"),
    ):
        if body.get(name) is not None and not body.get(other):
            raise errors.OnlyWith(name, other)


def refuse_two_limits(contents: Contents) -> None:
    """Reject ``max_tokens`` together with ``max_completion_tokens``."""
    if contents.body.get("max_tokens") is not None and contents.body.get("max_completion_tokens") is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise errors.ApiError(400, message, "max_tokens", "invalid_parameter_combination")


def refuse_json_unmentioned(contents: Contents) -> None:
    """Reject the format ``json_object`` if no message mentions JSON."""
    form = contents.body.get("response_format") or {}
    if form.get("type") == "json_object" and not any(map(mentions_json, contents.body["messages"])):
        message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        raise errors.ApiError(400, f"{message}'json_object'.", "messages")


def mentions_json(message: Document) -> bool:
    """Return whether a message contains the word, in any case."""
    content: Any = message.get("content")
    texts = [part.get("text") for part in content] if type(content) is list else [content]
    return any("json" in text.lower() for text in texts if type(text) is str)


def refuse_strict_format(contents: Contents) -> None:
    """Reject a strict format whose schema uses features that strict mode does not support."""
    form = contents.body.get("response_format") or {}
    if form.get("type") == "json_schema":
        check_strict_format(form.get("json_schema") or {}, "response_format", None)


def refuse_long_descriptions(contents: Contents) -> None:
    """Reject function descriptions that are too long."""
    for at, function in functions_of(contents):
        length = len(function.get("description") or "")
        if length > _LONGEST_DESCRIPTION:
            raise errors.StringTooLong(f"{at}.description", _LONGEST_DESCRIPTION, length)
