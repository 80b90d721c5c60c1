"""Checks of requests for Anthropic messages."""

import re
from collections.abc import Iterator
from typing import Any

from fastmock.core.errors import ApiError
from fastmock.providers.anthropic.errors import invalid
from fastmock.providers.anthropic.messages.request import MessagesRequest
from fastmock.providers.anthropic.messages.signatures import is_forged
from fastmock.validation.check import MESSAGES, Contents, Document, Part

_MOST_BREAKPOINTS = 4
_BLOCKS = frozenset(
    (
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "code_execution_tool_result",
        "compaction",
        "container_upload",
        "document",
        "fallback",
        "image",
        "mcp_tool_listing",
        "mcp_tool_result",
        "mcp_tool_use",
        "redacted_thinking",
        "search_result",
        "server_tool_use",
        "text",
        "text_editor_code_execution_tool_result",
        "thinking",
        "tool_addition",
        "tool_removal",
        "tool_result",
        "tool_search_tool_result",
        "tool_use",
        "web_fetch_tool_result",
        "web_search_tool_result",
    )
)
_INNER_BLOCKS = ("browser_state", "document", "image", "search_result", "text", "tool_reference")
_TOOLS = "'bash_20250124', 'custom', 'text_editor_20250124', 'text_editor_20250429', 'text_editor_20250728', "
_TOOLS += "'web_search_20250305'"
_is_tool = re.compile(r"custom|mcp_toolset|[a-z][a-z_0-9]*_20[0-9]{6}|tool_search_tool_(?:bm25|regex)").fullmatch
_is_id = re.compile(r"[a-zA-Z0-9_-]+").fullmatch
_is_property = re.compile(r"[a-zA-Z0-9_.-]{1,64}").fullmatch
_takes_one_of_both = re.compile(
    r"claude-(?:opus-4[-.][1-9](?![0-9])|(?:sonnet|haiku)-4[-.][5-9](?![0-9])|[a-z]+-[5-9])"
)
_WHOLE = ("empty", "prefill")  # kinds of parts that are whole messages
_MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_SOURCES = ("base64", "url", "file")
_OF_ASSISTANTS = ("tool_use", "thinking", "redacted_thinking")
_DOCS = "Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking"


PARAMS = frozenset(("tools", "top_p", "thinking", "stop_sequences"))
"""The parameters that checks examine."""


def contents(chat: MessagesRequest) -> Contents | None:
    """Return the contents of a request; None for a request with texts alone, which no check can reject."""
    body = chat.sent
    if _is_plain(body):
        return None
    found = Contents(MESSAGES, chat.model, body)
    if type(system := body.get("system")) is list:
        for place, block in enumerate(system):
            found.add("system", Part((place,), "system", block))
    for index, message in enumerate(body["messages"]):
        role, content = message["role"], message["content"]
        if not content:
            found.add("empty", Part((index,), role, message))
        if type(content) is not list:
            continue
        found.parts.setdefault("block", [])
        for place, block in enumerate(content):
            part = Part((index, place), role, block)
            found.add(block["type"], part)
            if block["type"] == "tool_result" and type(inner := block.get("content")) is list:
                for number, one in enumerate(inner):
                    if type(one) is dict:
                        found.add("inner", Part((index, place, number), role, one))
    if (last := body["messages"][-1])["role"] == "assistant":
        found.add("prefill", Part((len(body["messages"]) - 1,), "assistant", last))
    return found if found.parts or not PARAMS.isdisjoint(body) else None


def _is_plain(body: Document) -> bool:
    """Return whether a request has texts alone, as most do; 2 µs faster than classifying its parts."""
    if not PARAMS.isdisjoint(body) or type(body.get("system")) is list or body["messages"][-1]["role"] == "assistant":
        return False
    for message in body["messages"]:
        content = message["content"]
        if type(content) is not str or not content:
            return False
    return True


def _path(part: Part) -> str:
    """Return the path of a block."""
    if part.role == "system" and len(part.at) == 1:
        return f"system.{part.at[0]}"
    path = f"messages.{part.at[0]}.content.{part.at[1]}"
    return f"{path}.tool_result.content.{part.at[2]}" if len(part.at) == 3 else path


def _all(contents: Contents) -> Iterator[Part]:
    return contents.of(*(kind for kind in contents.parts if kind not in _WHOLE))


def _wrong_tag(path: str, tag: Any, expected: str) -> ApiError:
    reason = f"Input tag '{tag}' found using 'type' does not match any of the expected tags: {expected}"
    return invalid(path, reason)


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def refuse_unknown_blocks(contents: Contents) -> None:
    """Reject blocks of an unknown type, or in a place where they are not allowed."""
    for kind in contents.parts.keys() - _BLOCKS - {*_WHOLE, "block", "system", "inner"}:
        raise _wrong_tag(_path(contents.parts[kind][0]), kind, _listed(_BLOCKS))
    for part in contents.of("system"):
        if part.value.get("type") != "text":
            raise invalid(f"{_path(part)}.type", "Input should be 'text'")
    for part in contents.of("inner"):
        if (tag := part.value.get("type")) not in _INNER_BLOCKS:
            raise _wrong_tag(_path(part), tag, _listed(_INNER_BLOCKS))


def refuse_misplaced_blocks(contents: Contents) -> None:
    """Reject blocks that belong in messages of the other role."""
    for part in contents.of(*_OF_ASSISTANTS):
        if part.role == "user":
            kind = part.value["type"]
            raise invalid(f"messages.{part.at[0]}", f"`{kind}` blocks can only be in `assistant` messages")
    for part in contents.of("tool_result"):
        if part.role == "assistant":
            raise invalid(f"messages.{part.at[0]}", "`tool_result` blocks can only be in `user` messages")
    for part in contents.of("image"):
        if part.role == "assistant":
            raise invalid(_path(part), "'image' blocks are not permitted within assistant turns")


def refuse_empty_contents(contents: Contents) -> None:
    """Reject messages without content, and empty texts."""
    last = len(contents.body["messages"]) - 1
    for (index,), role, _ in contents.of("empty"):
        if role == "user":
            raise invalid(f"messages.{index}", "user messages must have non-empty content")
        if index < last:
            reason = "all messages must have non-empty content except for the optional final assistant message"
            raise invalid(f"messages.{index}", reason)
    for kind in ("text", "system"):
        for part in contents.of(kind):
            where = "system" if kind == "system" else "messages"
            text = part.value["text"]
            if not text:
                raise invalid(where, "text content blocks must be non-empty")
            if text.isspace():
                raise invalid(where, "text content blocks must contain non-whitespace text")


def refuse_trailing_space(contents: Contents) -> None:
    """Reject a prefill that ends with white space."""
    for part in contents.of("prefill"):
        content = part.value["content"]
        if type(content) is list:
            content = content[-1]["text"] if content and content[-1]["type"] == "text" else ""
        if content and content[-1].isspace():
            raise invalid("messages", "final assistant content cannot end with trailing whitespace")


def refuse_breakpoints(contents: Contents) -> None:
    """Reject too many cache breakpoints, or breakpoints in invalid places."""
    found = sum(1 for tool in contents.body.get("tools") or () if tool.get("cache_control"))
    for part in _all(contents):
        block = part.value
        if not block.get("cache_control"):
            continue
        found += 1
        kind = block.get("type")
        if kind in ("thinking", "redacted_thinking"):
            raise invalid(f"{_path(part)}.{kind}.cache_control", "Extra inputs are not permitted")
        if kind == "text" and not block.get("text"):
            raise invalid(f"{_path(part)}.text", "cache_control cannot be set for empty text blocks")
    if found > _MOST_BREAKPOINTS:
        raise ApiError(
            400, f"A maximum of {_MOST_BREAKPOINTS} blocks with cache_control may be provided. Found {found}."
        )


def refuse_two_samplings(contents: Contents) -> None:
    """Reject ``temperature`` together with ``top_p`` if the model allows only one of them."""
    body = contents.body
    both = body.get("temperature") is not None and body.get("top_p") is not None
    if both and _takes_one_of_both.search(contents.model):
        message = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
        raise ApiError(400, message)


def refuse_thinking_parameters(contents: Contents) -> None:
    """Reject parameters that are incompatible with thinking."""
    body = contents.body
    kind = (body.get("thinking") or {}).get("type")
    if kind not in ("enabled", "adaptive"):
        return
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise ApiError(400, "Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "adaptive":
        return
    if body.get("temperature") not in (None, 1):
        raise ApiError(400, f"`temperature` may only be set to 1 when thinking is enabled. {_DOCS}")
    if body.get("top_k") is not None:
        raise ApiError(400, f"`top_k` must be unset when thinking is enabled. {_DOCS}")
    if (top_p := body.get("top_p")) is not None and top_p < 0.95:
        message = "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled."
        raise ApiError(400, f"{message} {_DOCS}")


def refuse_unsigned_thinking(contents: Contents) -> None:
    """Reject thinking without its signature, or with the signature of another text."""
    for part in contents.of("thinking"):
        thinking, signature = part.value.get("thinking"), part.value.get("signature")
        for name, value in (("thinking", thinking), ("signature", signature)):
            if type(value) is not str:
                reason = "Field required" if value is None else "Input should be a valid string"
                raise invalid(f"{_path(part)}.thinking.{name}", reason)
        if not signature or is_forged(str(thinking), str(signature)):
            raise invalid(_path(part), "Invalid `signature` in `thinking` block")
    for part in contents.of("redacted_thinking"):
        if not part.value.get("data"):
            raise invalid(f"{_path(part)}.redacted_thinking.data", "Field required")


def refuse_wrong_calls(contents: Contents) -> None:
    """Reject calls and results that lack a field, or whose input is not an object."""
    for part in contents.of("tool_use"):
        path = f"{_path(part)}.tool_use"
        for name in ("id", "name"):
            _require_text(part.value, name, path)
        if not _is_id(part.value["id"]):
            raise invalid(f"{path}.id", "String should match pattern '^[a-zA-Z0-9_-]+$'")
        given = part.value.get("input")
        if type(given) is not dict:
            raise invalid(f"{path}.input", "Field required" if given is None else "Input should be a valid dictionary")
    for part in contents.of("tool_result"):
        _require_text(part.value, "tool_use_id", f"{_path(part)}.tool_result")


def _require_text(holder: Document, name: str, path: str) -> None:
    value = holder.get(name)
    if type(value) is not str:
        raise invalid(f"{path}.{name}", "Field required" if value is None else "Input should be a valid string")


def refuse_repeated_ids(contents: Contents) -> None:
    """Reject two calls with the same id, and two results of the same call."""
    for kind, name in (("tool_use", "id"), ("tool_result", "tool_use_id")):
        seen = set()
        for part in contents.of(kind):
            id_ = part.value.get(name)
            if id_ in seen:
                if kind == "tool_use":
                    raise invalid(_path(part), "`tool_use` ids must be unique")
                reason = f"each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id_}"
                raise invalid(_path(part), reason)
            seen.add(id_)


class _Turn:
    """Consecutive messages of one role, which count as one.

    Attributes:
        first: the number of the first message.
        calls: the ids of their calls.
        results: the ids of the results at their beginning.
        later: the results after other content, with their paths.
    """

    def __init__(self, role: str, first: int) -> None:
        self.role = role
        self.first = self.last = first
        self.calls: list[str] = []
        self.results: list[tuple[str, str]] = []
        self.later: list[tuple[str, str]] = []
        self._only_results = True

    def add(self, message: Document, index: int) -> None:
        """Add a message."""
        self.last = index
        content = message["content"]
        if type(content) is not list:
            self._only_results = False
            return
        for place, block in enumerate(content):
            if block["type"] == "tool_result":
                results = self.results if self._only_results else self.later
                results.append((block["tool_use_id"], f"messages.{index}.content.{place}"))
                continue
            self._only_results = False
            if block["type"] == "tool_use":
                self.calls.append(block["id"])


def _turns(messages: list[Document]) -> list[_Turn]:
    turns: list[_Turn] = []
    for index, message in enumerate(messages):
        role = message["role"]
        if role == "system":  # instructions between turns
            continue
        if not turns or turns[-1].role != role:
            turns.append(_Turn(role, index))
        turns[-1].add(message, index)
    return turns


def refuse_calls_without_results(contents: Contents) -> None:
    """Reject calls whose results do not follow at once."""
    turns = _turns(contents.body["messages"])
    for place, turn in enumerate(turns):
        if not turn.calls:
            continue
        results = {id_ for id_, _ in turns[place + 1].results} if place + 1 < len(turns) else set()
        missing = [id_ for id_ in turn.calls if id_ not in results]
        if missing:
            reason = f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. "
            reason += "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            raise invalid(f"messages.{turn.last}", reason)


def refuse_results_without_calls(contents: Contents) -> None:
    """Reject results of calls that are not in the previous message."""
    called: list[str] = []
    for turn in _turns(contents.body["messages"]):
        for id_, path in (*turn.results, *turn.later):
            if id_ not in called:
                reason = f"unexpected `tool_use_id` found in `tool_result` blocks: {id_}. "
                reason += "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                raise invalid(path, reason)
        called = turn.calls


def refuse_foreign_tools(contents: Contents) -> None:
    """Reject tools that are not in Anthropic's format."""
    for place, tool in enumerate(contents.body.get("tools") or ()):
        if (kind := tool.get("type")) is not None and not (type(kind) is str and _is_tool(kind)):
            raise _wrong_tag(f"tools.{place}", kind, _TOOLS)


def refuse_repeated_tools(contents: Contents) -> None:
    """Reject two tools with the same name."""
    names = [tool["name"] for tool in contents.body.get("tools") or () if type(tool.get("name")) is str]
    if len(set(names)) < len(names):
        raise invalid("tools", "Tool names must be unique.")


def refuse_input_schemas(contents: Contents) -> None:
    """Reject input schemas that do not describe an object."""
    for place, tool in enumerate(contents.body.get("tools") or ()):
        schema = tool.get("input_schema")
        if type(schema) is not dict or tool.get("type") not in (None, "custom"):
            continue
        path = f"tools.{place}.custom.input_schema"
        if (kind := schema.get("type")) != "object":
            raise invalid(f"{path}.type", "Field required" if kind is None else "Input should be 'object'")
        if any(word in schema for word in ("oneOf", "allOf", "anyOf")):
            raise invalid(path, "input_schema does not support oneOf, allOf, or anyOf at the top level")
        properties = schema.get("properties")
        for name in properties if type(properties) is dict else ():
            if not _is_property(name):
                reason = "Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'"
                raise invalid(f"{path}.properties", reason)


def refuse_images(contents: Contents) -> None:
    """Reject images without a source or in an unsupported format."""
    inner = (part for part in contents.of("inner") if part.value.get("type") == "image")
    for part in (*contents.of("image"), *inner):
        path = f"{_path(part)}.image.source"
        source = part.value.get("source")
        if type(source) is not dict:
            raise invalid(path, "Field required")
        if (kind := source.get("type")) not in _SOURCES:
            raise _wrong_tag(path, kind, _listed(_SOURCES))
        if kind == "base64" and source.get("media_type") not in _MEDIA_TYPES:
            reason = "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
            raise invalid(f"{path}.base64.media_type", reason)


def refuse_blank_stops(contents: Contents) -> None:
    """Reject stop sequences that consist of white space."""
    if any(not stop.strip() for stop in contents.body.get("stop_sequences") or ()):
        raise invalid("stop_sequences", "each stop sequence must contain non-whitespace")
