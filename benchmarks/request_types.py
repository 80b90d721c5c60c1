"""Generate request bodies from the request types of the installed ``openai`` and ``anthropic`` packages.

The SDKs describe request bodies as ``TypedDict`` classes. Each type hint is compiled once into a function that draws a
value, so that a new SDK release adds its new fields to the fuzz without any change here.
"""

import string
import types
from collections import abc
from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import (
    Annotated,
    Any,
    ForwardRef,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from anthropic.types import message_count_tokens_params, message_create_params
from openai.types import completion_create_params, embedding_create_params, moderation_create_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.chat import completion_update_params
from openai.types.conversations import conversation_create_params, conversation_update_params, item_create_params
from openai.types.responses import input_token_count_params, response_compact_params, response_create_params
from typing_extensions import is_typeddict

Draw = Callable[[Random, int], Any]
"""Draws a value; the second argument is the remaining nesting depth."""

MAX_DEPTH = 7
OPTIONAL_SHARE = 0.12  # of the optional keys of a type; a chat request has 30
_SHARES = {
    "input": 0.95,
    "model": 0.95,
    "tools": 0.3,
    "stream": 0.3,
    "store": 0.3,
    "previous_response_id": 0.2,
    "items": 0.8,
}
MODELS = ("gpt-4o", "gpt-4o-mini", "paced-model", "echo-model", "o3", "claude-sonnet-4-5", "text-embedding-3-small")
WORDS = (
    "hello",
    "test",
    "ping",
    "refund",
    "weather in Paris?",
    "Grüße 🙂",
    "",
    " ",
    "<b>",
    "a\nb",
    "$user_message",
    "0",
)
RESPONSE_ID, CONVERSATION_ID, COMPLETION_ID, ITEM_ID = "@response@", "@conversation@", "@completion@", "@item@"
"""Placeholders for an id issued by the server: the client replaces them before sending."""

BODIES: Mapping[str, tuple[Any, ...]] = {
    "/v1/chat/completions": (
        chat_params.CompletionCreateParamsNonStreaming,
        chat_params.CompletionCreateParamsStreaming,
    ),
    "/v1/chat/completions/" + COMPLETION_ID: (completion_update_params.CompletionUpdateParams,),
    "/v1/completions": (
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
    "/v1/embeddings": (embedding_create_params.EmbeddingCreateParams,),
    "/v1/moderations": (moderation_create_params.ModerationCreateParams,),
    "/v1/responses": (
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ),
    "/v1/responses/input_tokens": (input_token_count_params.InputTokenCountParams,),
    "/v1/responses/compact": (response_compact_params.ResponseCompactParams,),
    "/v1/conversations": (conversation_create_params.ConversationCreateParams,),
    "/v1/conversations/" + CONVERSATION_ID: (conversation_update_params.ConversationUpdateParams,),
    "/v1/conversations/" + CONVERSATION_ID + "/items": (item_create_params.ItemCreateParams,),
    "/v1/messages": (
        message_create_params.MessageCreateParamsNonStreaming,
        message_create_params.MessageCreateParamsStreaming,
    ),
    "/v1/messages/count_tokens": (message_count_tokens_params.MessageCountTokensParams,),
}
"""The body types by the path that accepts them; a path with a placeholder belongs to a stored object."""


def _json_schema(random: Random, depth: int) -> dict[str, Any]:
    """Draw a small JSON Schema."""
    kind = random.choice(("object", "object", "array", "string", "integer", "number", "boolean", "null"))
    schema: dict[str, Any] = {"type": kind}
    if kind == "object" and depth > 0:
        names = random.sample(("city", "unit", "count", "items", "note"), random.randint(0, 3))
        schema["properties"] = {name: _json_schema(random, depth - 1) for name in names}
        schema["required"] = names if random.random() < 0.7 else names[:1]
        schema["additionalProperties"] = random.random() < 0.2
    elif kind == "array":
        schema["items"] = _json_schema(random, depth - 1) if depth > 0 else {}
        schema["maxItems"] = random.randint(0, 4)
    elif kind == "string":
        schema |= random.choice(({}, {"enum": ["a", "b"]}, {"format": "date"}, {"maxLength": 5}, {"pattern": "^a+$"}))
    elif kind in ("integer", "number"):
        schema |= random.choice(({}, {"minimum": 3}, {"multipleOf": 5}, {"minimum": 9, "maximum": 1}))
    return schema


def _text(random: Random, _: int) -> str:
    if random.random() < 0.8:
        return random.choice(WORDS)
    return "".join(random.choices(string.ascii_letters + " ", k=random.randint(1, 80)))


def _name(random: Random, _: int) -> str:
    return random.choice(("get_weather", "lookup", "a-b_c", f"tool{random.randrange(5)}"))


def _constant(*values: Any) -> Draw:
    return lambda random, _: random.choice(values)


_BY_KEY: Mapping[str, Draw] = {
    "model": _constant(*MODELS),
    "previous_response_id": _constant(RESPONSE_ID, RESPONSE_ID, "resp_unknown"),
    "conversation": _constant(CONVERSATION_ID, CONVERSATION_ID, {"id": CONVERSATION_ID}, "conv_unknown"),
    "id": _constant(ITEM_ID, RESPONSE_ID, "msg_1", "call_1"),
    "tool_call_id": _constant("call_1", "call_2"),
    "call_id": _constant("call_1", "call_2"),
    "tool_use_id": _constant("toolu_1", "toolu_2"),
    "name": _name,
    "parameters": lambda random, depth: {"type": "object", "properties": {"a": _json_schema(random, min(depth, 3))}},
    "input_schema": lambda random, depth: {"type": "object", "properties": {"a": _json_schema(random, min(depth, 3))}},
    "schema": lambda random, depth: _json_schema(random, min(depth, 3)),
    "arguments": _constant("{}", '{"city": "Paris"}', "{", "null"),
    "n": _constant(1, 1, 2, 5),
    "best_of": _constant(1, 2, 5),
    "max_tokens": _constant(1, 5, 64, 300),
    "max_completion_tokens": _constant(1, 5, 64, 300),
    "max_output_tokens": _constant(16, 64, 300),
    "budget_tokens": _constant(1024, 2048),
    "temperature": _constant(0, 0.5, 1.0),
    "top_p": _constant(0.1, 1),
    "top_logprobs": _constant(0, 2, 20),
    "logprobs": _constant(True, False, 2),
    "dimensions": _constant(1, 8, 256),
    "url": _constant("https://example.com/a.png", "data:image/png;base64,iVBORw0KGgo="),
    "image_url": _constant("https://example.com/a.png", "data:image/png;base64,iVBORw0KGgo="),
    "data": _constant("iVBORw0KGgo=", "QUJD", ""),
    "format": _constant("wav", "mp3", "text"),
    "prompt_cache_key": _text,
}
"""Values of leaf types with a meaning for the server, by key."""
_WITH_TYPES = ("url", "image_url", "format", "schema", "conversation", "logprobs", "data", "id", "name", "parameters")
"""Keys of ``_BY_KEY`` that also name objects in some types: for these half of the values follow the type."""


class Generator:
    """Compiles type hints into functions that draw values."""

    def __init__(self) -> None:
        self._compiled: dict[Any, Draw] = {}

    def compile(self, hint: Any, key: str = "") -> Draw:
        """Compile a type hint; ``key`` is the name of its field."""
        while get_origin(hint) in (Required, NotRequired, Annotated):
            hint = get_args(hint)[0]
        draw = self._by_type(hint, key)
        known = _BY_KEY.get(key)
        if known is None or get_origin(hint) is Literal or is_typeddict(hint):
            return draw
        share = 0.5 if key in _WITH_TYPES else 1.0
        return lambda random, depth: known(random, depth) if random.random() < share else draw(random, depth)

    def _by_type(self, hint: Any, key: str) -> Draw:
        origin, arguments = get_origin(hint), get_args(hint)
        if is_typeddict(hint):
            return self._typed_dict(hint)
        if origin is Literal:
            return _constant(*arguments)
        if origin in (Union, types.UnionType):
            return self._union(arguments, key)
        if origin in (list, abc.Iterable, abc.Sequence, tuple):
            return self._sequence(arguments, key)
        if origin in (dict, abc.Mapping):
            value = self.compile(arguments[1])
            return lambda random, depth: {
                random.choice(("a", "run", "50256", "kind")): value(random, depth - 1)
                for _ in range(random.randint(0, 3))
            }
        return _scalar(hint)

    def _typed_dict(self, hint: Any) -> Draw:
        """Compile a TypedDict; a recursive one refers back to the function being compiled."""
        if hint in self._compiled:
            return self._compiled[hint]
        required: list[tuple[str, Draw]] = []
        optional: list[tuple[str, Draw, float]] = []

        def draw(random: Random, depth: int) -> dict[str, Any]:
            value = {name: field(random, depth - 1) for name, field in required}
            if depth > 0:
                for name, field, share in optional:
                    if random.random() < share:
                        value[name] = field(random, depth - 1)
            return value

        self._compiled[hint] = draw
        for name, field in get_type_hints(hint, include_extras=True).items():
            if _is_required(hint, name, field):
                required.append((name, self.compile(field, name)))
            else:
                optional.append((name, self.compile(field, name), _SHARES.get(name, OPTIONAL_SHARE)))
        return draw

    def _union(self, arguments: tuple[Any, ...], key: str) -> Draw:
        members = [(self.compile(one, key), _is_leaf(one)) for one in arguments if one is not type(None)]
        draws = [draw for draw, _ in members]
        leaves = [draw for draw, leaf in members if leaf] or draws[:1]
        nullable = len(members) < len(arguments)

        def draw(random: Random, depth: int) -> Any:
            if nullable and random.random() < 0.05:
                return None
            return random.choice(draws if depth > 0 else leaves)(random, depth)

        return draw

    def _sequence(self, arguments: tuple[Any, ...], key: str) -> Draw:
        item = self.compile(arguments[0] if arguments else object, key)

        def draw(random: Random, depth: int) -> list[Any]:
            most = 3 if depth > 2 else 1
            return [item(random, depth - 1) for _ in range(random.randint(1 if depth > 0 else 0, most))]

        return draw


def _is_required(hint: Any, name: str, field: Any) -> bool:
    """Return whether a key is required; ``__required_keys__`` misses ``Required`` if annotations are postponed."""
    origin = get_origin(field)
    return origin is Required or (name in hint.__required_keys__ and origin is not NotRequired)


def _is_leaf(hint: Any) -> bool:
    return get_origin(hint) in (None, Literal) and not is_typeddict(hint)


def _scalar(hint: Any) -> Draw:
    if hint is bool:
        return _constant(True, False)
    if hint is int:
        return lambda random, _: random.choice((0, 1, 2, 7, 100, random.randrange(5000)))
    if hint is float:
        return lambda random, _: random.choice((0, 0.0, 0.5, 1, random.random() * 2))
    if hint in (str, bytes) or isinstance(hint, ForwardRef):
        return _text
    return lambda random, depth: random.choice((_text(random, depth), 1, True, None, {}, [], {"a": [1]}))


def link_tool_results(body: dict[str, Any]) -> None:
    """Insert the tool call before each tool result of a chat: a result without one is refused, unlike in the types."""
    messages: list[Any] = []
    for message in body.get("messages", ()):
        if message["role"] == "tool":
            function = {"name": "lookup", "arguments": "{}"}
            call = {"id": message["tool_call_id"], "type": "function", "function": function}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif message["role"] == "assistant":
            message.pop("tool_calls", None)
        messages.append(message)
    if messages:
        body["messages"] = messages


@cache
def body_generators() -> dict[str, list[Draw]]:
    """Compile ``BODIES``: for each path the functions that draw a body."""
    generator = Generator()
    compiled: dict[str, list[Draw]] = {}
    for path, hints in BODIES.items():
        members = [member for hint in hints for member in (get_args(hint) or (hint,))]
        compiled[path] = [generator.compile(member) for member in members]
    return compiled
