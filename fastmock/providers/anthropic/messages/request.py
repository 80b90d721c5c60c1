"""Parse requests for Anthropic messages, and convert them to chat completions.

Rules and templates then see all dialects in the same form.
"""

import re
from typing import Any

from fastmock.content.tokenizers import TokenizerOf
from fastmock.core import errors
from fastmock.core.completion import OutputConstraints
from fastmock.core.json import as_json
from fastmock.providers.anthropic.errors import invalid
from fastmock.providers.openai.chat import request
from fastmock.providers.openai.chat.request import ConversationRequest

Document = dict[str, Any]

_MOST_TOKENS = 2**31 - 1
_LEAST_BUDGET = 1024  # minimum tokens of thinking, as in Anthropic's API
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
_OF_TOOL = re.compile(r"tools\[(\d+)\]")
_CALLABLE = (
    None,
    "custom",
)  # types of tools that can be called; all others run at the provider, or have no input schema
_COUNTED = ("document", "search_result")  # blocks that no rule examines, but whose tokens count
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class MessagesRequest(ConversationRequest):
    """A request for a message; its ``body`` is converted to a chat completion.

    Attributes:
        sent: the original body.
        shows: how the thinking is shown: empty for none, ``omitted`` for a block with its signature alone,
            ``summarized`` for the complete block.
    """

    endpoint = "messages"
    longest_tool_name = 128
    sent: Document
    shows = ""


def parse(
    body: Document, unique: str, tokenizers: TokenizerOf, thinking: str, counted_only: bool = False
) -> MessagesRequest:
    """Parse a request; raise the API's own error if it is invalid.

    Args:
        body: the request body.
        unique: the request id.
        tokenizers: the tokenizer of each model.
        thinking: the default thinking text.
        counted_only: whether the tokens are only counted, without an answer.
    """
    chat_body: Document = {"model": _text(body, "model")}
    if not counted_only:
        most = chat_body["max_completion_tokens"] = _integer(body, "max_tokens", 1)
        if most > _MOST_TOKENS:
            reason = f"{most} > {_MOST_TOKENS}, which is the maximum allowed number of output tokens for "
            reason += chat_body["model"]
            raise invalid("max_tokens", reason)
    chat_body["messages"] = as_messages(body)
    _put_options(chat_body, body)
    try:
        chat = request.parse(chat_body, unique, tokenizers, MessagesRequest)
    except errors.ApiError as error:
        raise translate_error(error, body) from None
    chat.sent = body
    _read_others(chat, body, thinking)
    return chat


def as_messages(body: Document) -> list[Document]:
    """Return the system prompt and the messages of a request as messages of a chat completion."""
    messages: list[Document] = []
    if (system := body.get("system")) is not None:
        messages.append({"role": "system", "content": _system(system)})
    given = body.get("messages")
    if given is None:
        raise invalid("messages", "Field required")
    if type(given) is not list:
        raise invalid("messages", "Input should be a valid list")
    if not given:
        raise invalid("messages", "at least one message is required")
    for index, message in enumerate(given):
        _add(messages, message, index)
    return messages or [{"role": "user", "content": ""}]  # all content may be empty


def translate_error(error: errors.ApiError, body: Document) -> errors.ApiError:
    """Return an error about the chat completion with the message's parameter names, which only differ for schemas."""
    if not isinstance(error, errors.InvalidSchema):
        return error
    if error.param.startswith("response_format"):
        return error.replace(
            param="output_format.schema" if body.get("output_format") else "output_config.format.schema"
        )
    if (at := _OF_TOOL.match(error.param)) is None:
        return error
    places = [place for place, tool in enumerate(body.get("tools") or ()) if tool.get("type") in _CALLABLE]
    return error.replace(param=f"tools.{dict(enumerate(places)).get(int(at[1]), at[1])}.custom.input_schema")


def reparse(chat: MessagesRequest, body: Document, unique: str, tokenizers: TokenizerOf) -> MessagesRequest:
    """Parse a chat completion from a response manager, made while it answers ``chat``."""
    # A message allows more of these than a chat completion.
    chat_body = {name: value for name, value in body.items() if name not in ("stop", "metadata")}
    again = request.parse(chat_body, unique, tokenizers, MessagesRequest)
    again.body = body
    if stops := body.get("stop"):
        _end_at(again, [stops] if type(stops) is str else stops)
    if chat.shows:
        details = again.add_details()
        details.reasoning_tokens = details.hidden_tokens = chat.reasoning_tokens
    return again


def _end_at(chat: MessagesRequest, stops: list[str]) -> None:
    """Set stop sequences, of any number."""
    details = chat.add_details()
    details.constraints = details.constraints or OutputConstraints()
    details.constraints.stop = tuple(filter(None, stops))


def _text(body: Document, name: str) -> str:
    value = body.get(name)
    if value is None:
        raise invalid(name, "Field required")
    if type(value) is not str:
        raise invalid(name, "Input should be a valid string")
    if not value:
        raise invalid(name, "String should have at least 1 character")
    return value


def _integer(body: Document, name: str, least: int, path: str = "") -> int:
    value, path = body.get(name), path or name
    if value is None:
        raise invalid(path, "Field required")
    if type(value) is not int:
        raise invalid(path, "Input should be a valid integer")
    if value < least:
        raise invalid(path, f"Input should be greater than or equal to {least}")
    return value


def _system(system: Any) -> Any:
    if type(system) is str:
        return system
    if type(system) is not list:
        raise invalid("system", "Input should be a valid list")
    texts = []
    for place, block in enumerate(system):
        at = f"system.{place}"
        texts.append({"type": "text", "text": _text_in(_as_object(block, at), "text", at)})
    return texts


def _as_object(value: Any, path: str) -> Document:
    if type(value) is not dict:
        raise invalid(path, "Input should be a valid dictionary or object to extract fields from")
    return value


def _text_in(holder: Document, name: str, path: str) -> str:
    value = holder.get(name)
    if type(value) is not str:
        raise invalid(f"{path}.{name}", "Field required" if value is None else "Input should be a valid string")
    return value


def _add(messages: list[Document], message: Any, index: int) -> None:
    """Add a message to those of the chat; each tool result becomes a message of its own."""
    path = f"messages.{index}"
    _as_object(message, path)
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{path}.role", "Field required" if role is None else "Input should be 'user' or 'assistant'")
    if content is None:
        raise invalid(f"{path}.content", "Field required")
    if type(content) is str:
        messages.append({"role": role, "content": content})
        return
    if type(content) is not list:
        raise invalid(f"{path}.content", "Input should be a valid string or list")
    parts: list[Document] = []
    calls: list[Document] = []
    for place, block in enumerate(content):
        at = f"{path}.content.{place}"
        kind = _text_in(_as_object(block, at), "type", at)
        if kind == "text":
            parts.append({"type": "text", "text": _text_in(block, "text", f"{at}.text")})
        elif kind == "tool_result":
            result = _result(block.get("content"), f"{at}.tool_result.content")
            messages.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": result})
        elif kind == "tool_use":
            call = {"name": str(block.get("name")), "arguments": as_json(block.get("input"), at).decode()}
            calls.append({"id": block.get("id"), "type": "function", "function": call})
        elif kind == "image":
            parts.append({"type": "image_url"})
        elif kind in _COUNTED:
            parts.append(block)
        # Other kinds, such as thinking, contain nothing for rules.
    if parts or calls:
        nothing = None if role == "assistant" else ""
        messages.append({"role": role, "content": parts or nothing} | ({"tool_calls": calls} if calls else {}))


def _result(content: Any, path: str) -> Any:
    """Return the content of a tool result in the form of a chat."""
    if content is None or type(content) is str:
        return content or ""
    if type(content) is not list:
        raise invalid(path, "Input should be a valid string or list")
    parts: list[Document] = []
    for block in content:
        kind = block.get("type") if type(block) is dict else None
        if kind == "text":
            parts.append({"type": "text", "text": _text_in(block, "text", path)})
        elif kind == "image":
            parts.append({"type": "image_url"})
        elif kind in _COUNTED:
            parts.append(block)
    return parts


def _put_options(chat_body: Document, body: Document) -> None:
    """Convert the options to those of chat completions."""
    if (stream := body.get("stream")) is not None:
        if type(stream) is not bool:
            raise invalid("stream", "Input should be a valid boolean")
        chat_body["stream"] = stream
    for name in ("temperature", "top_p"):
        if (value := body.get(name)) is not None:
            _check_share(value, name)
    _put_tools(chat_body, body)
    form = body.get("output_format") or (_object(body, "output_config") or {}).get("format")
    if form is not None:
        schema = form.get("schema") if type(form) is dict else None
        if type(schema) is not dict:
            raise invalid("output_config.format.schema", "Field required")
        chat_body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "output_format", "schema": schema},
        }


def _check_share(value: Any, name: str) -> None:
    if type(value) not in (int, float):
        raise invalid(name, "Input should be a valid number")
    if not 0 <= value <= 1:
        edge = "less than or equal to 1" if value > 1 else "greater than or equal to 0"
        raise invalid(name, f"Input should be {edge}")


def _put_tools(chat_body: Document, body: Document) -> None:
    tools = [] if body.get("tools") is None else body["tools"]
    if type(tools) is not list:
        raise invalid("tools", "Input should be a valid list")
    offered = [_tool(tool, f"tools.{place}") for place, tool in enumerate(tools)]
    if callable_ := [tool for tool in offered if tool]:
        chat_body["tools"] = callable_
    if (choice := body.get("tool_choice")) is not None:
        _put_choice(chat_body, choice, tools)


def _object(body: Document, name: str) -> Document | None:
    value = body.get(name)
    return None if value is None else _as_object(value, name)


def _tool(tool: Any, path: str) -> Document | None:
    """Return a tool in the form of a chat; None for one that runs at the provider or has no input schema."""
    if _as_object(tool, path).get("type") not in _CALLABLE:
        return None
    name = _text_in(tool, "name", path)
    if not _TOOL_NAME.match(name):
        raise invalid(f"{path}.custom.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
    if tool.get("input_schema") is None:
        raise invalid(f"{path}.custom.input_schema", "Field required")
    function = {"name": name, "parameters": _as_object(tool["input_schema"], f"{path}.custom.input_schema")}
    if type(tool.get("description")) is str:
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _put_choice(chat_body: Document, choice: Any, tools: list[Document]) -> None:
    """Convert the tool choice; a chosen tool that can never be called here is ignored."""
    kind = choice.get("type") if type(choice) is dict else None
    if type(kind) is not str or (kind not in _CHOICES and kind != "tool"):
        raise invalid("tool_choice", "Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    if kind in ("any", "tool") and not tools:
        raise invalid("tool_choice", "tool_choice may only be specified while providing tools")
    chat_choice: Any = _CHOICES.get(kind)
    if kind == "tool":
        name = _text_in(choice, "name", "tool_choice.tool")
        named = [tool for tool in tools if tool.get("name") == name]
        if not named:
            raise invalid("tool_choice", f"Tool '{name}' not found in provided tools")
        if named[0].get("type") in _CALLABLE:
            chat_choice = {"type": "function", "function": {"name": name}}
    if "tools" in chat_body and chat_choice is not None:
        chat_body["tool_choice"] = chat_choice
    if choice.get("disable_parallel_tool_use") is True:
        chat_body["parallel_tool_calls"] = False


def _read_others(chat: MessagesRequest, body: Document, thinking: str) -> None:
    """Read the options that chat completions do not have."""
    if stops := body.get("stop_sequences"):
        if type(stops) is not list or not all(type(stop) is str for stop in stops):
            raise invalid("stop_sequences", "Input should be a valid list of strings")
        chat.body["stop"] = stops
        _end_at(chat, stops)
    metadata = _object(body, "metadata")
    if metadata:
        chat.body["metadata"] = metadata
        if type(user := metadata.get("user_id")) is str:
            chat.body["user"] = user
    config = _object(body, "thinking")
    kind = None if config is None else _text_in(config, "type", "thinking")
    if kind not in (None, "enabled", "adaptive", "disabled"):
        expected = "'adaptive', 'disabled', 'enabled'"
        reason = f"Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}"
        raise invalid("thinking", reason)
    if config is not None and kind != "disabled":
        if kind == "enabled":
            budget = _integer(config, "budget_tokens", _LEAST_BUDGET, "thinking.enabled.budget_tokens")
            most = chat.body.get("max_completion_tokens")
            if most is not None and budget >= most:
                raise invalid("max_tokens", "`max_tokens` must be greater than `thinking.budget_tokens`")
        chat.shows = "omitted" if config.get("display") == "omitted" else "summarized"
        details = chat.add_details()
        details.reasoning_tokens = chat.tokenizer.count(thinking)
        details.hidden_tokens += details.reasoning_tokens
