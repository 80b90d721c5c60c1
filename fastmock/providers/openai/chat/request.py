"""Parse requests for chat completions: the prompt, and the constraints on the form of the answer."""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar

import orjson

from fastmock.content.json_schema.limits import strict_violation
from fastmock.content.tokenizers import TokenizerOf
from fastmock.core import errors
from fastmock.core.byte_cache import byte_cache, parsed_size
from fastmock.core.completion import ChatRequest, OutputConstraints, Tokenizer, Tool
from fastmock.core.json import as_json
from fastmock.providers.openai import params
from fastmock.providers.openai.chat import messages as chat_checks
from fastmock.providers.openai.chat.attachments import block_tokens, file_tokens
from fastmock.providers.openai.errors import null_content
from fastmock.providers.openai.param_names import Parameters

ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_ROLE_NAMES = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'"
# Tokens of an image of unknown size: OpenAI's price at low detail, and for 1,024 x 1,024 at high detail.
_IMAGE_TOKENS = {"low": 85, "auto": 765, "high": 765}
_AUDIO_TOKENS = 10  # per second, as OpenAI charges for input audio
_AUDIO_BYTES = {"wav": 48_000, "mp3": 16_000}  # per second: 24 kHz of 16 bits, and 128 kbit/s
_REASONING = {"none": 0, "minimal": 0, "low": 64, "medium": 256, "high": 1024, "xhigh": 4096}  # tokens by effort
_NAME = re.compile(r"[a-zA-Z0-9_-]+\Z")
_LONGEST_FORMAT_NAME = 64
_MOST_TOOLS = 128
_LONGEST_KEPT = 64 * 1024  # maximum bytes of cached tools or schemas
_CACHE_BYTES = 8 * 2**20  # size of each cache: parsed tools, their tokens, and schemas

_CHECKS: dict[str, params.Check] = {
    **params.COMMON_CHECKS,
    "max_tokens": params.integer(1, params.MOST_LENGTH),
    "logprobs": params.boolean,
    "top_logprobs": params.integer(0, 20),
    "tools": params.array_of_objects,
    "functions": params.array_of_objects,
    "parallel_tool_calls": params.boolean,
    "response_format": params.object_,
    "prediction": params.object_,
    "modalities": params.array_of(params.one_of("text", "audio"), "strings"),
    "audio": params.object_,
    "web_search_options": params.object_,
    "reasoning_effort": params.one_of(*_REASONING),
    "verbosity": params.one_of("low", "medium", "high"),
    "service_tier": params.one_of("auto", "default", "flex", "scale", "priority"),
    "store": params.boolean,
    "metadata": params.metadata,
    "prompt_cache_key": params.string,
    "safety_identifier": params.string,
}
_CONSTRAINING = frozenset(
    (
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "response_format",
        "stop",
        "logprobs",
        "top_logprobs",
        "prediction",
    )
)
_SPECIAL = _CONSTRAINING | {"reasoning_effort", "service_tier", "store"}
_PARAMETERS = Parameters(_CHECKS, _SPECIAL | {"stream", "stream_options", "n"}, _SPECIAL, _CONSTRAINING)
_PREDICTED = params.one_of("content")
_CHOICE = params.one_of("none", "auto", "required")


class ConversationRequest(ChatRequest):
    """A request with a conversation for rules to examine; its body is a request for a chat completion.

    Attributes:
        detailed: whether its messages contain more than roles and texts.
    """

    endpoint = "chat_completions"
    detailed = False
    longest_tool_name = 64

    @cached_property
    def turn(self) -> int:
        """The number of the answer in its conversation."""
        return 1 + sum(1 for message in self.body["messages"] if message["role"] == "assistant")

    @cached_property
    def messages(self) -> int:
        """The number of messages."""
        return len(self.body["messages"])

    @cached_property
    def last_role(self) -> str:
        """The role of the last message."""
        role: str = self.body["messages"][-1]["role"]
        return role

    @cached_property
    def tool_results(self) -> tuple[str, ...]:
        """The tools whose results follow the last message of any other role, in order."""
        messages = self.body["messages"]
        place = len(messages)
        while place and messages[place - 1]["role"] in ("tool", "function"):
            place -= 1
        if place == len(messages):
            return ()
        named = {str(call.get("id")): name for message in messages[:place] for call, name in _calls(message)}
        return tuple(str(named.get(str(one.get("tool_call_id"))) or one.get("name") or "") for one in messages[place:])


def _calls(message: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return the tool calls of a message, each with the tool's name."""
    found = []
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        inner = (call.get("function") or call.get("custom")) if isinstance(call, dict) else None
        if isinstance(inner, dict):
            found.append((call, str(inner.get("name", ""))))
    if isinstance(legacy := message.get("function_call"), dict):
        found.append(({}, str(legacy.get("name", ""))))
    return found


_AnyChat = TypeVar("_AnyChat", bound=ConversationRequest)


def parse(
    body: dict[str, Any],
    unique: str,
    tokenizers: TokenizerOf,
    chat_type: type[_AnyChat],
) -> _AnyChat:
    """Parse a request; raise the API's own error if it is invalid.

    Other dialects convert their requests to this form and pass an ``chat_type`` of their own. They check the parts of
    messages besides text themselves.
    """
    chat = chat_type(unique, body, params.model_of(body))
    chat.tokenizer = tokenizer = tokenizers(chat.model)
    messages = body.get("messages")
    if type(messages) is not list or not messages:
        raise _wrong_messages(messages)
    system = None
    more = False
    texts = []
    tokens = 3 + 4 * len(messages)  # OpenAI's cookbook: three per reply, three per message, and its role
    for index, message in enumerate(messages):
        if type(message) is not dict:
            raise errors.WrongType(f"messages[{index}]", "an object", message)
        role = message.get("role")
        if type(role) is not str or role not in ROLES:
            raise _wrong_role(role, index)
        content = message.get("content")
        if len(message) > 2 or content is None:
            tokens += _more_tokens(message, tokenizer)
            more = chat.detailed = True
        if type(content) is not str:
            content = _other_content(chat, message, content, role, index)
        texts.append(content)
        if role == "user":
            chat.user_message = content
        elif role != "assistant":
            if role == "system" or role == "developer":
                system = content if system is None else f"{system}\n{content}"
            else:
                more = chat.detailed = True
    if more and chat_type is ConversationRequest:
        chat_checks.check_messages(messages)
    chat.prompt_tokens += tokens + tokenizer.count_all(texts)
    chat.system_prompt = system or ""
    if len(body) > 2:
        _read_options(chat, body)
    return chat


def _read_options(chat: ConversationRequest, body: dict[str, Any]) -> None:
    """Read the options besides model and messages."""
    present = _PARAMETERS.of(body)
    if present.sets_length:
        chat.sets_length, chat.sets_least = True, present.sets_least
    if not present.options:
        return
    params.read_options(chat)
    if present.special:
        chat.add_details().constraints = _constraints(chat) if present.constraining else None
        _read_usage(chat)
        chat.store = body.get("store") is True


def _wrong_messages(messages: Any) -> errors.ApiError:
    if messages is None:
        return errors.ParameterMissing("messages")
    if type(messages) is list:
        return errors.EmptyArray("messages")
    return errors.WrongType("messages", "an array of objects", messages)


def _wrong_role(role: Any, index: int) -> errors.ApiError:
    param = f"messages[{index}].role"
    if role is None:
        return errors.ParameterMissing(param)
    return (
        errors.UnsupportedValue(param, role, _ROLE_NAMES)
        if type(role) is str
        else errors.WrongType(param, "a string", role)
    )


def _more_tokens(message: dict[str, Any], tokenizer: Tokenizer) -> int:
    """Count the tokens of a message besides its role and content."""
    tokens = 0
    if isinstance(name := message.get("name"), str):
        tokens += 1 + tokenizer.count(name)
    if calls := message.get("tool_calls") or message.get("function_call"):
        tokens += tokenizer.count(as_json(calls, "messages").decode())
    return tokens


def _other_content(chat: ConversationRequest, message: dict[str, Any], content: Any, role: str, index: int) -> str:
    """Return the text of content that is not a string; count its other parts."""
    if content is None:
        if role == "assistant" or role == "function":
            return ""
        if "content" not in message:
            raise errors.ParameterMissing(f"messages[{index}].content")
        raise null_content(index)
    if type(content) is not list:
        raise errors.WrongType(f"messages[{index}].content", "one of a string or array of objects", content)
    chat.detailed = True
    texts = []
    for place, part in enumerate(content):
        param = f"messages[{index}].content[{place}]"
        if type(part) is not dict:
            raise errors.WrongType(param, "an object", part)
        kind = params.string_in(part, "type", param)
        if kind == "text":
            texts.append(params.string_in(part, "text", param))
            continue
        if type(chat) is ConversationRequest:
            chat_checks.check_part(part, kind, param)
        _count_part(chat, part, kind)
    return "".join(texts)


def _count_part(chat: ConversationRequest, part: dict[str, Any], kind: str) -> None:
    """Count the tokens of a part other than text."""
    if kind == "image_url":
        image = part.get("image_url")
        detail = image.get("detail") if type(image) is dict else None
        chat.prompt_tokens += _IMAGE_TOKENS.get(detail if type(detail) is str else "auto", _IMAGE_TOKENS["auto"])
    elif kind == "input_audio":
        tokens = _audio_tokens(part.get("input_audio"))
        chat.add_details().audio_tokens += tokens
        chat.prompt_tokens += tokens
    elif kind == "file":
        chat.prompt_tokens += file_tokens(part.get("file"), chat.tokenizer)
    elif kind in ("document", "search_result") and type(chat) is not ConversationRequest:
        chat.prompt_tokens += block_tokens(part, chat.tokenizer)


def _audio_tokens(audio: Any) -> int:
    data = audio.get("data") if type(audio) is dict else None
    if type(data) is not str:
        return 0
    rate = _AUDIO_BYTES.get(str(audio.get("format")), _AUDIO_BYTES["mp3"])
    return -(-len(data) * 3 * _AUDIO_TOKENS // (4 * rate))


def _read_usage(chat: ChatRequest) -> None:
    """Read the options that only affect the usage and the service tier."""
    body = chat.body
    if effort := body.get("reasoning_effort"):
        details = chat.add_details()
        details.reasoning_tokens = details.hidden_tokens = _REASONING[effort]
    if (tier := body.get("service_tier")) and tier != "auto":
        chat.add_details().service_tier = tier.encode()


def _constraints(chat: ConversationRequest) -> OutputConstraints:
    """Read the constraints on the form of the answer; parameters in the table have been checked."""
    body = chat.body
    constraints = OutputConstraints(stop=params.read_stop(body))
    if body.get("tools") or body.get("functions"):
        _read_tools(chat, constraints)
    elif body.get("tool_choice") not in (None, "none", "auto"):
        raise errors.OnlyWith("tool_choice", "tools")
    elif body.get("function_call") not in (None, "none", "auto"):
        raise errors.OnlyWith("function_call", "functions")
    if (form := body.get("response_format")) is not None:
        _read_format(constraints, form)
    if body.get("logprobs"):
        constraints.top_logprobs = body.get("top_logprobs") or 0
    elif body.get("top_logprobs"):
        message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
        raise errors.ApiError(400, message, "top_logprobs")
    if (prediction := body.get("prediction")) is not None:
        _PREDICTED(params.string_in(prediction, "type", "prediction"), "prediction.type")
        content = prediction.get("content")
        if type(content) is list:
            content = "".join(
                params.string_in(part, "text", "prediction.content") for part in content if type(part) is dict
            )
        constraints.prediction = (
            content if type(content) is str else params.string_in(prediction, "content", "prediction")
        )
    return constraints


def _read_tools(chat: ConversationRequest, constraints: OutputConstraints) -> None:
    """Read the tools that may or must be called."""
    body = chat.body
    legacy = constraints.legacy = not body.get("tools")
    holder = "functions" if legacy else "tools"
    if type(chat) is ConversationRequest and len(body[holder]) > _MOST_TOOLS:
        raise errors.ArrayTooLong(holder, _MOST_TOOLS, len(body[holder]))
    offered = as_json(body[holder], "tools")
    if len(offered) <= _LONGEST_KEPT:
        constraints.tools_key = offered
        constraints.tools = _offered(offered, legacy, chat.longest_tool_name)
        chat.prompt_tokens += _tool_tokens(offered, chat.tokenizer)
    else:
        constraints.tools = _all_tools(body[holder], legacy, chat.longest_tool_name)
        chat.prompt_tokens += _tokens_of_tools(body[holder], chat.tokenizer)
    if not legacy:
        _choose(constraints, body.get("tool_choice"))
    elif type(choice := body.get("function_call")) is dict:
        constraints.call = "required"
        name = params.string_in(choice, "name", "function_call")
        constraints.allowed, constraints.named = [_named(constraints.tools, name, "function_call", "functions")], True
    elif choice is not None:
        params.one_of("none", "auto")(choice, "function_call")
        constraints.call = choice
    constraints.parallel = body.get("parallel_tool_calls") is not False
    called = []
    for message in reversed(body["messages"]):
        if message["role"] == "user":
            break
        called += [name for _, name in _calls(message)]
    constraints.called = frozenset(called)


@byte_cache(_CACHE_BYTES, parsed_size)
def _offered(tools: bytes, legacy: bool, longest: int) -> tuple[Tool, ...]:
    """Return the tools in a JSON text; errors are not cached."""
    return _all_tools(orjson.loads(tools), legacy, longest)


def _all_tools(tools: list[dict[str, Any]], legacy: bool, longest: int) -> tuple[Tool, ...]:
    read, holder = (_function, "functions") if legacy else (_tool, "tools")
    return tuple(read(tool, f"{holder}[{place}]", longest) for place, tool in enumerate(tools))


def _tool(tool: dict[str, Any], param: str, longest: int) -> Tool:
    kind = tool.get("type")
    if kind == "function":
        return _function(params.object_in(tool, "function", param), f"{param}.function", longest)
    if kind == "custom":
        custom = tool.get("custom")
        params.object_(custom, f"{param}.custom")
        return Tool(_name(custom, f"{param}.custom", longest), None)  # type: ignore[arg-type]  # it is an object
    raise (
        errors.ParameterMissing(f"{param}.type")
        if kind is None
        else errors.UnsupportedValue(f"{param}.type", kind, "'function' and 'custom'")
    )


def _function(function: dict[str, Any], param: str, longest: int) -> Tool:
    params.optional(function, "description", params.string, param)
    params.optional(function, "strict", params.boolean, param)
    schema = function.get("parameters")
    if schema is None:
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
    params.object_(schema, f"{param}.parameters")
    name = _name(function, param, longest)
    if function.get("strict") and (why := strict_violation(schema)):
        raise errors.InvalidSchema(
            f"function '{name}'", f"{param}.parameters", "invalid_function_parameters", None, why
        )
    return Tool(name, schema)


def _name(holder: dict[str, Any], param: str, longest: int) -> str:
    name = params.string_in(holder, "name", param)
    if len(name) > longest:
        raise errors.StringTooLong(f"{param}.name", longest, len(name))
    if not _NAME.match(name):
        raise errors.PatternMismatch(f"{param}.name", "^[a-zA-Z0-9_-]+$")
    return name


def _choose(constraints: OutputConstraints, choice: Any) -> None:
    """Read ``tool_choice``."""
    if choice is None:
        return
    if type(choice) is str:
        _CHOICE(choice, "tool_choice")
        constraints.call = choice
        return
    params.object_(choice, "tool_choice")
    kind = params.string_in(choice, "type", "tool_choice")
    params.one_of("function", "custom", "allowed_tools")(kind, "tool_choice.type")
    inner = params.object_in(choice, kind, "tool_choice")
    if kind != "allowed_tools":
        constraints.call, constraints.named = "required", True
        constraints.allowed = [
            _named(constraints.tools, params.string_in(inner, "name", f"tool_choice.{kind}"), "tool_choice", "tools")
        ]
        return
    constraints.call = params.string_in(inner, "mode", "tool_choice.allowed_tools")
    params.one_of("auto", "required")(constraints.call, "tool_choice.allowed_tools.mode")
    allowed: Any = inner.get("tools")
    params.array_of_objects(allowed, "tool_choice.allowed_tools.tools")
    constraints.allowed = [
        _named(constraints.tools, name, "tool_choice", "tools")
        for tool in allowed
        for _, name in _calls({"tool_calls": [tool]})
    ]


def _named(tools: Sequence[Tool], name: str, param: str, holder: str) -> Tool:
    for tool in tools:
        if tool.name == name:
            return tool
    raise errors.ToolNotFound(param, name, holder)


def _read_format(constraints: OutputConstraints, form: dict[str, Any]) -> None:
    """Read ``response_format``."""
    if form.get("type") == "text":
        return
    source = as_json(form, "response_format")
    if len(source) <= _LONGEST_KEPT:
        constraints.json_key = source
        constraints.schema, constraints.name = _format(source)
    else:
        constraints.schema, constraints.name = _format_of(form)
    constraints.json = True


@byte_cache(_CACHE_BYTES, parsed_size)
def _format(source: bytes) -> tuple[Any, str]:
    """Return the schema, None without one, and its name; errors are not cached."""
    return _format_of(orjson.loads(source))


def _format_of(form: dict[str, Any]) -> tuple[Any, str]:
    kind = params.string_in(form, "type", "response_format")
    params.one_of("text", "json_object", "json_schema")(kind, "response_format.type")
    if kind == "json_object":
        return None, ""
    inner = params.object_in(form, "json_schema", "response_format")
    name = _name(inner, "response_format.json_schema", _LONGEST_FORMAT_NAME)
    params.optional(inner, "strict", params.boolean, "response_format.json_schema")
    schema = {"type": "object"} if inner.get("schema") is None else inner["schema"]
    params.object_(schema, "response_format.json_schema.schema")
    if inner.get("strict") and (why := strict_violation(schema)):
        raise errors.InvalidSchema(f"response_format '{name}'", "response_format", None, None, why)
    return schema, name


@byte_cache(_CACHE_BYTES, parsed_size)
def _tool_tokens(tools: bytes, tokenizer: Any) -> int:
    return _tokens_of_tools(orjson.loads(tools), tokenizer)


def _tokens_of_tools(tools: list[dict[str, Any]], tokenizer: Any) -> int:
    """Count tools as OpenAI's cookbook does for gpt-4o; it does not cover nested schemas, which are not counted."""
    tokens = 12
    for tool in tools:
        function = tool.get("function") or tool.get("custom") or tool
        tokens += 7 + tokenizer.count(f"{function.get('name')}:{_sentence(function)}")
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, dict) else None
        if not properties or not isinstance(properties, dict):
            continue
        tokens += 3
        for name, about in properties.items():
            tokens += 3
            if not isinstance(about, dict):
                continue
            if isinstance(about.get("enum"), list):
                tokens += 3 * len(about["enum"]) - 3 + tokenizer.count_all([str(item) for item in about["enum"]])
            tokens += tokenizer.count(f"{name}:{about.get('type')}:{_sentence(about)}")
    return tokens


def _sentence(holder: dict[str, Any]) -> str:
    """Return a description without its full stop."""
    return str(holder.get("description") or "").removesuffix(".")
