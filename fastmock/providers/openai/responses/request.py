"""Parse requests for responses, and convert them to chat completions.

Rules and templates then see all dialects in the same form.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

from fastmock.content.tokenizers import TokenizerOf
from fastmock.core import errors
from fastmock.core.json import as_json
from fastmock.providers.openai import params
from fastmock.providers.openai.chat import request
from fastmock.providers.openai.chat.request import ConversationRequest
from fastmock.providers.openai.param_names import Parameters

Document = dict[str, Any]

PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "reasoning": "rs",
    "custom_tool_call": "ctc",
    "web_search_call": "ws",
    "file_search_call": "fs",
    "image_generation_call": "ig",
    "code_interpreter_call": "ci",
}
"""The prefixes of item ids by type."""

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_ROLES = "'assistant', 'system', 'developer', and 'user'"
_SUPPORTED = frozenset(("assistant", "system", "developer", "user"))
_CHOICE = params.one_of("none", "auto", "required")
_CALLABLE = ("function", "custom")  # not a set: the type in a request may be unhashable


def _string_or_items(value: Any, name: str) -> None:
    if type(value) is not str and type(value) is not list:
        raise errors.WrongType(name, "one of a string or array of input items", value)


def _string_or_object(value: Any, name: str) -> None:
    if type(value) is not str and type(value) is not dict:
        raise errors.WrongType(name, "one of a string or object", value)


def _array(value: Any, name: str) -> None:
    if type(value) is not list:
        raise errors.WrongType(name, "an array", value)


_CHECKS: Mapping[str, params.Check] = {
    "input": _string_or_items,
    "instructions": params.string,
    "stream": params.boolean,
    "stream_options": params.object_,
    "max_output_tokens": params.integer(1, 2**31 - 1),
    "max_tool_calls": params.integer(0, 2**31 - 1),
    "temperature": params.decimal(0, 2),
    "top_p": params.decimal(0, 1),
    "top_logprobs": params.integer(0, 20),
    "tools": params.array_of_objects,
    "tool_choice": _string_or_object,
    "parallel_tool_calls": params.boolean,
    "text": params.object_,
    "reasoning": params.object_,
    "store": params.boolean,
    "background": params.boolean,
    "metadata": params.metadata,
    "previous_response_id": params.string,
    "conversation": _string_or_object,
    "include": _array,
    "prompt": params.object_,
    "truncation": params.one_of("auto", "disabled"),
    "service_tier": params.one_of("auto", "default", "fast", "flex", "scale", "priority"),
    "user": params.string,
    "prompt_cache_key": params.string,
    "safety_identifier": params.string,
}
_PARAMETERS = Parameters(_CHECKS)
_SIMPLE = frozenset(("model", "input", "instructions", "previous_response_id", "store"))
_RENAMED = {
    "max_output_tokens": "max_completion_tokens",
    "stream": "stream",
    "temperature": "temperature",
    "top_p": "top_p",
    "parallel_tool_calls": "parallel_tool_calls",
    "metadata": "metadata",
    "user": "user",
    "ignore_eos": "ignore_eos",  # vLLM's, as the next one; sent by load generators
    "min_tokens": "min_tokens",
}
_ECHOED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


class ResponsesRequest(ConversationRequest):
    """A request for a response; its ``body`` is converted to a chat completion.

    Attributes:
        sent: the original body.
        conversation: the id of its conversation; None without one.
        shows: how the reasoning is shown: empty for not at all, ``item``, or ``summary`` for an item with a summary.
        encrypted: whether that item has encrypted content.
        background: whether the client does not wait for the answer.
        before: number of messages in ``body`` from the history.
        complete: whether the whole history is known.
    """

    endpoint = "responses"
    sent: Document
    conversation: str | None = None
    shows = ""
    encrypted = False
    background = False
    before = 0
    complete = True

    @property
    def echo(self) -> bytes:
        """The parameters that the response repeats: the members of a JSON object."""
        given = {name: value for name, value in self.sent.items() if name in _ECHOED and value is not None}
        if "tools" in given:
            given["tools"] = [_echoed_tool(tool) for tool in given["tools"]]
        if given.get("service_tier") == "auto":
            given["service_tier"] = "default"
        for name in ("text", "reasoning"):
            if name in given:
                given[name] = {**_ECHOED[name], **given[name]}
        if self.conversation is not None:
            given["conversation"] = {"id": self.conversation}
        defaults = _defaults(tuple(given))
        return b"%b,%b" % (as_json(given, "tools")[1:-1], defaults) if given else defaults


@lru_cache(256)
def _defaults(given: tuple[str, ...]) -> bytes:
    """Return the JSON members of the parameters that are not given; cached, which saves 3 µs of 57."""
    return orjson.dumps({name: value for name, value in _ECHOED.items() if name not in given})[1:-1]


def _echoed_tool(tool: Document) -> Document:
    if tool.get("type") == "function":
        return {"description": None, "parameters": None, "strict": True, **tool}
    return {"format": {"type": "text"}, **tool} if tool.get("type") == "custom" else tool


def parse(
    body: Document,
    unique: str,
    tokenizers: TokenizerOf,
    model: str,
    history: Callable[[Document], tuple[list[Document], bool]],
) -> ResponsesRequest:
    """Parse a request; raise the API's own error if it is invalid.

    Args:
        body: the request body.
        unique: the request id.
        tokenizers: the tokenizer of each model.
        model: the default model.
        history: returns the earlier messages for a checked request, and whether all are known.
    """
    _PARAMETERS.of(body)
    chat_body: Document = {"model": model if body.get("model") is None else body["model"], "messages": []}
    messages = chat_body["messages"]
    before, complete = 0, True
    if body.get("instructions"):
        messages.append({"role": "system", "content": body["instructions"]})
    if body.get("previous_response_id") or body.get("conversation"):
        earlier, complete = history(body)
        messages += earlier
        before = len(messages)
    messages += as_messages(body.get("input"))
    if not messages:
        messages.append({"role": "user", "content": ""})
    simple = True  # as most are; looking for each of the other parameters takes 4 µs of 57
    for name, value in body.items():
        if name in _RENAMED:
            if value is not None:
                chat_body[_RENAMED[name]] = value
        elif name not in _SIMPLE:
            simple = False
    if not simple:
        _put_options(chat_body, body)
    try:
        chat = request.parse(chat_body, unique, tokenizers, ResponsesRequest)
    except errors.ApiError as error:
        raise translate_error(error, body) from None
    chat.sent, chat.before, chat.complete = body, before, complete
    chat.store = body.get("store") is not False
    if not simple:
        _read_others(chat, body)
    return chat


def conversation(body: Document, history: Callable[[Document], tuple[list[Document], bool]]) -> list[Document]:
    """Return the conversation of a request as chat messages; empty if not all is known.

    ``history``: see ``parse``.
    """
    _PARAMETERS.of(body)
    earlier, is_complete = history(body)
    return [*earlier, *as_messages(body.get("input"))] if is_complete else []


def _put_options(chat_body: Document, body: Document) -> None:
    """Convert the options to those of chat completions."""
    if (tier := body.get("service_tier")) is not None:
        chat_body["service_tier"] = "priority" if tier == "fast" else tier
    if options := body.get("stream_options"):
        chat_body["stream_options"] = {"include_obfuscation": options.get("include_obfuscation")}
    if effort := (body.get("reasoning") or {}).get("effort"):
        params.one_of(*_EFFORTS)(effort, "reasoning.effort")
        chat_body["reasoning_effort"] = effort
    if "message.output_text.logprobs" in (body.get("include") or ()) or body.get("top_logprobs"):
        chat_body |= {"logprobs": True, "top_logprobs": body.get("top_logprobs")}
    if (form := (body.get("text") or {}).get("format")) is not None:
        params.object_(form, "text.format")
        chat_body["response_format"] = _format(form)
    _put_tools(chat_body, body)


def _put_tools(chat_body: Document, body: Document) -> None:
    """Convert tools and the tool choice; tools that run at the provider are left out."""
    given = body.get("tools") or ()
    for place, tool in enumerate(given):
        if tool.get("type") is not None:
            params.string(tool["type"], f"tools[{place}].type")
    choice = _choice(body.get("tool_choice"))
    if tools := [_tool(tool) for tool in given if tool.get("type") in (None, *_CALLABLE)]:
        chat_body["tools"] = tools
    elif given:  # any of them may be chosen, except one that would have to be called
        if type(choice) is dict and choice["type"] in _CALLABLE:
            name = choice[choice["type"]]["name"]
            raise (
                errors.ParameterMissing("tool_choice.name")
                if name is None
                else errors.ToolNotFound("tool_choice", name, "tools")
            )
        return
    if choice is not None:
        chat_body["tool_choice"] = choice


def _format(form: Document) -> Document:
    if form.get("type") != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": {name: form.get(name) for name in ("name", "schema", "strict")}}


def _tool(tool: Document) -> Document:
    kind = tool.get("type")
    return tool if kind is None else {"type": kind, kind: {name: tool[name] for name in tool if name != "type"}}


def _choice(choice: Any) -> Any:
    """Convert ``tool_choice``; tools that run at the provider are never called here."""
    if choice is None:
        return None
    if type(choice) is str:
        _CHOICE(choice, "tool_choice")
        return choice
    kind = choice.get("type")
    if kind is None:
        raise errors.ParameterMissing("tool_choice.type")
    params.string(kind, "tool_choice.type")
    if kind in _CALLABLE:
        return {"type": kind, kind: {"name": choice.get("name")}}
    if kind != "allowed_tools":
        return None
    allowed = choice.get("tools")
    params.array_of_objects(allowed, "tool_choice.tools")
    tools = [_choice(tool) for tool in allowed or () if tool.get("type") in _CALLABLE]
    inner = {"mode": choice.get("mode"), "tools": tools}
    return {"type": kind, kind: inner}


def _read_others(chat: ResponsesRequest, body: Document) -> None:
    """Read the options that chat completions do not have."""
    reasoning = body.get("reasoning")
    include = body.get("include") or ()
    if reasoning:
        summary = reasoning.get("summary") or reasoning.get("generate_summary")
        if summary is not None:
            params.one_of("auto", "concise", "detailed")(summary, "reasoning.summary")
        chat.shows = "summary" if summary else "item" if chat.reasoning_tokens else ""
    chat.encrypted = "reasoning.encrypted_content" in include
    chat.background = body.get("background") is True
    conversation = body.get("conversation")
    if conversation is not None:
        if body.get("previous_response_id"):
            message = "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Provide one of them."
            raise errors.ApiError(400, message, "conversation", "mutually_exclusive_parameters")
        chat.conversation = conversation_of(conversation)


def conversation_of(value: Any) -> str:
    """Return the id of a conversation, given as a string or in an object."""
    id_ = value.get("id") if isinstance(value, dict) else value
    params.string(id_, "conversation.id")
    assert isinstance(id_, str)  # noqa: S101 - checked above
    return id_


def as_messages(given: Any, name: str = "input") -> list[Document]:
    """Return an input, a text or a list of items, as chat messages; ``name`` is the parameter."""
    if given is None:
        return []
    if type(given) is str:
        return [{"role": "user", "content": given}]
    messages: list[Document] = []
    ids = set()
    for index, item in enumerate(given):
        if type(item) is not dict:
            raise errors.WrongType(f"{name}[{index}]", "an object", item)
        if (id_ := item.get("id")) is not None:
            params.string(id_, f"{name}[{index}].id")
            if id_ in ids:
                message = f"Duplicate item found with id {id_}. Remove duplicate items from your input and try again."
                raise errors.ApiError(400, message, name)
            ids.add(id_)
        kind = item.get("type")
        if kind is None or kind == "message":
            _add_message(messages, item, f"{name}[{index}]")
        elif type(kind) is not str:
            raise errors.WrongType(f"{name}[{index}].type", "a string", kind)
        elif kind.endswith("_call"):
            _add_call(messages, item, kind)
        elif kind.endswith("_call_output"):
            output = item.get("output")
            messages.append(
                {
                    "role": "tool",
                    "tool_call_id": item.get("call_id"),
                    "content": _parts(output, f"{name}[{index}].output"),
                }
            )
        elif kind == "compaction":
            messages += _decompacted(item.get("encrypted_content"))
        # Other kinds, such as reasoning, contain nothing for rules.
    return messages


def compacted(chat: ResponsesRequest) -> str:
    """Return the encoded roles of a conversation, so that turns are still counted after compaction."""
    roles = " ".join(message["role"] for message in chat.body["messages"])
    return b64encode(roles.encode()).decode()


def _decompacted(content: Any) -> list[Document]:
    try:
        roles = b64decode(content, validate=True).decode().split()
    except (TypeError, ValueError):  # not created by fastmock
        return []
    return [{"role": role, "content": ""} for role in roles if role in request.ROLES]


def _add_message(messages: list[Document], item: Document, param: str) -> None:
    role = item.get("role")
    if role is None:
        raise errors.ParameterMissing(f"{param}.role")
    if type(role) is not str:
        raise errors.WrongType(f"{param}.role", "a string", role)
    if role not in _SUPPORTED:
        raise errors.UnsupportedValue(f"{param}.role", role, _ROLES)
    if item.get("content") is None:
        raise errors.ParameterMissing(f"{param}.content")
    content = _parts(item["content"], f"{param}.content")
    last = messages[-1] if messages else None
    if role == "assistant" and last is not None and last["role"] == "assistant" and last["content"] is None:
        last["content"] = content  # one answer, whose call came first
    else:
        messages.append({"role": role, "content": content})


def _add_call(messages: list[Document], item: Document, kind: str) -> None:
    """Add a call to the assistant's last message, or as a new message."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    inner: Document = {"name": str(item.get("name") or kind.removesuffix("_call"))}
    call: Document = {"id": str(item.get("call_id") or item.get("id") or "")}
    if kind == "custom_tool_call":
        call |= {"type": "custom", "custom": inner | {"input": str(item.get("input") or "")}}
    else:
        call |= {"type": "function", "function": inner | {"arguments": str(item.get("arguments") or "")}}
    messages[-1].setdefault("tool_calls", []).append(call)


def _parts(content: Any, name: str) -> Any:
    """Return the content of a message, or the output of a tool, in the form of a chat."""
    if type(content) is str:
        return content
    if type(content) is not list:
        if name.endswith(".output"):  # output of a tool that runs elsewhere: an object of its own kind
            return as_json(content, name).decode()
        raise errors.WrongType(name, "one of a string or array of objects", content)
    parts: list[Document] = []
    for place, part in enumerate(content):
        param = f"{name}[{place}]"
        params.object_(part, param)
        kind = part.get("type")
        if kind is None:
            raise errors.ParameterMissing(f"{param}.type")
        if kind in ("input_text", "output_text", "text", "refusal"):
            text = part.get("refusal" if kind == "refusal" else "text")
            if type(text) is not str:
                where = f"{param}.text"
                raise errors.ParameterMissing(where) if text is None else errors.WrongType(where, "a string", text)
            parts.append({"type": "text", "text": text})
        elif kind == "input_image":
            parts.append({"type": "image_url", "image_url": {"detail": part.get("detail")}})
        elif kind == "input_file":
            parts.append({"type": "file", "file": part})
        else:
            parts.append({"type": str(kind), **{key: part[key] for key in part if key != "type"}})
    return parts


# Parameter names of chat completions, and the corresponding ones of responses.
_NAMES = (
    (re.compile(r"tools\[(\d+)\]\.function\b"), r"tools[\1]"),
    (re.compile(r"tools\[(\d+)\]\.custom\b"), r"tools[\1]"),
    (re.compile(r"tool_choice\.(?:function|custom|allowed_tools)\b"), "tool_choice"),
    (re.compile(r"^response_format(?:\.json_schema)?\b"), "text.format"),
    (re.compile(r"^messages\b"), "input"),
    (re.compile(r"\bmax_completion_tokens\b"), "max_output_tokens"),
)


def translate_error(error: errors.ApiError, body: Document) -> errors.ApiError:
    """Return an error about the chat completion with the response's parameter names."""
    tools = enumerate(body.get("tools") or ())
    places = dict(enumerate(place for place, tool in tools if tool.get("type") in (None, *_CALLABLE)))

    def rename(path: str) -> str:
        path = re.sub(r"(?<=tools\[)\d+(?=\])", lambda found: str(places.get(int(found[0]), found[0])), path)
        for pattern, name in _NAMES:
            path = pattern.sub(name, path)
        return path

    return error if error.verbatim else error.rename_param(rename)
