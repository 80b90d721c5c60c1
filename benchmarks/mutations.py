"""Turn well-formed request bodies into ones that a careless or hostile client might send."""

import gzip
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from random import Random
from typing import Any

_RAW: Mapping[str, bytes] = {
    "@raw:nan@": b"NaN",
    "@raw:infinity@": b"-Infinity",
    "@raw:overflow@": b"1e999",
    "@raw:digits@": b"9" * 5000,
    "@raw:minus_zero@": b"-0",
    "@raw:deep_list@": b"[" * 600 + b"]" * 600,
    "@raw:deep_object@": b'{"a":' * 300 + b"1" + b"}" * 300,
    "@raw:very_deep@": b"[" * 20_000 + b"]" * 20_000,
    "@raw:surrogate@": b'"\\ud800"',
    "@raw:surrogate_key@": b'{"\\udfff": 1}',
    "@raw:invalid_utf8@": b'"\xff\xfe\xc3("',
    "@raw:control@": b'"a\x00b\x1f"',
}
"""JSON texts that no serializer writes, by the placeholder for each until the body is serialized."""

_STRINGS: tuple[str, ...] = (
    "\x00",
    "\x7f\x1b[31m",
    "\u202e\ufeff",
    "a" * 300,
    "é" * 5000,
    "x" * 100_000,
    "../../etc/passwd",
    "%00",
    "${a}",
)
_STRINGS += ("$user_message", "$", "\r\nx-injected: 1", "data:image/png;base64,", "🙂" * 20, "\\", '"', "auto", "None")
_NUMBERS = (-1, 0, 2**31, 2**63, -(2**63), 2**64, 10**30, 1e308, -0.5, 1e-320, 0.1 + 0.2, 128, 200_001)
_OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"type": "unknown"},
    {"type": None},
    [{}],
    "",
)
_VALUES: tuple[Any, ...] = (*_STRINGS, *_NUMBERS, *_OTHERS, *_RAW, *_OTHERS, *_NUMBERS)
_KEYS = (
    "unknown",
    "",
    "stream",
    "n",
    "tools",
    "\x00",
    "type",
    "stream_options",
    "min_tokens",
    "logprobs",
    "response_format",
)
_BIG = ("@raw:very_deep@", "x" * 100_000)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths of all values inside a JSON value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += _paths(item, (*path, key))
    return found


def _value(random: Random) -> Any:
    """Draw a value that is probably invalid; large ones are rare."""
    value = random.choice(_VALUES)
    return deepcopy(random.choice(_OTHERS) if value in _BIG and random.random() < 0.9 else value)


def mutate_value(random: Random, body: dict[str, Any]) -> None:
    """Change one place of a body: replace a value, remove, add or rename a key, or repeat a value."""
    paths = _paths(body)
    if not paths:
        body["model"] = _value(random)
        return
    *parents, key = random.choice(paths)
    container: Any = body
    for parent in parents:
        container = container[parent]
    kind = random.random()
    if kind < 0.65:
        container[key] = _value(random)
    elif kind < 0.8:
        del container[key]
    elif isinstance(container, list):
        container.extend(deepcopy([container[key]] * random.choice((1, 3, 40))))
    elif kind < 0.9:
        container[random.choice(_KEYS)] = _value(random)
    else:
        container[random.choice([*container, *_KEYS])] = container.pop(key)


COSTLY: Mapping[str, tuple[Any, ...]] = {
    "n": (1, 128),
    "best_of": (128,),
    "min_tokens": (1000, 200_000),
    "max_tokens": (200_000,),
    "ignore_eos": (True,),
    "logprobs": (True, 5),
    "top_logprobs": (20,),
    "stream": (True, False),
    "stream_options": ({"include_usage": True, "continuous_usage_stats": True},),
    "dimensions": (3072,),
    "prompt": (["a"] * 2000, "a " * 200_000),
    "input": (["a"] * 2048, "a" * 1_000_000, ["a"] * 50_000),
    "prediction": ({"type": "content", "content": "word " * 200_000},),
    "stop": (["a", "b", "c", "d"],),
}
"""Fields that make a response large or slow to compute, with values that the API allows or might allow."""


def make_costly(random: Random, body: dict[str, Any]) -> None:
    """Set several of the fields whose costs multiply."""
    for name in random.sample(list(COSTLY), random.randint(2, 6)):
        if name not in ("prompt", "input", "dimensions") or name in body:
            body[name] = random.choice(COSTLY[name])
    body["model"] = random.choice(("gpt-4o", "echo-model", "paced-model", "text-embedding-3-large"))


def serialize(body: Any) -> bytes:
    """Serialize a body, and replace its placeholders by raw JSON texts."""
    text = json.dumps(body).encode()
    if b"@raw:" in text:
        for name, raw in _RAW.items():
            text = text.replace(b'"%b"' % name.encode(), raw)
    return text


def corrupt(random: Random, body: bytes) -> bytes:
    """Break a serialized body."""
    at = random.randrange(len(body) + 1)
    kinds: tuple[Callable[[], bytes], ...] = (
        lambda: body[:at],
        lambda: body[:at] + bytes([random.randrange(256)]) + body[at + 1 :],
        lambda: body[:at] + random.choice((b",", b"}", b"\x00", b'"', b"/**/", b"\\u12")) + body[at:],
        lambda: body + body,
        lambda: b"\xef\xbb\xbf" + body,
        lambda: body.decode(errors="replace").encode("utf-16"),
        lambda: gzip.compress(body),
        lambda: b'{"model": 1, "stream": null, ' + body[1:],
        lambda: body[:-1] + b', "stream": true, "stream": "yes", "model": []}',
        lambda: random.choice((b"", b"null", b"[]", b'"text"', b"0", b" ", b"{", b"\x00" * 100, b"true")),
    )
    return random.choice(kinds)()
