"""All endpoints but chat, without a socket: completions, embeddings, models, health, routing, auth, CORS."""

import base64
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Request
from tests.providers.openai.test_chat import events
from tests.support import KEY, examples, make_app

pytestmark = pytest.mark.unit


def loads(reply):
    assert reply.head.status == 200, reply.body
    return orjson.loads(reply.body)


@pytest.mark.parametrize(
    ("prompt", "choices"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), (None, 1)]
)
@pytest.mark.parametrize("n", [1, 2])
def test_legacy_completion_prompts_have_choices_and_usage(call, prompt, choices, n):
    post = call()
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": prompt, "n": n}
    answer = loads(post("/v1/completions", body))
    assert answer["object"] == "text_completion"
    assert answer["id"].startswith("cmpl-")
    assert [choice["index"] for choice in answer["choices"]] == list(range(choices * n))
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    chunks = events(post("/v1/completions", body | {"stream": True, "stream_options": {"include_usage": True}}).body)
    for choice in answer["choices"]:
        mine = [c["choices"][0] for c in chunks if c["choices"] and c["choices"][0]["index"] == choice["index"]]
        assert "".join(part["text"] for part in mine) == choice["text"]
        assert mine[-1]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == usage


def test_legacy_completion_prompts_are_matched_separately(call):
    patterns = [{"match": {"content": "a"}, "content": "A"}, {"match": {"content": "b"}, "content": "B $user_message"}]
    post = call({"responses": {"completions": {"patterns": patterns}}})
    answer = loads(post("/completions", {"model": "m", "prompt": ["b", "a"], "echo": True}))
    assert [choice["text"] for choice in answer["choices"]] == ["bB b", "aA"]


@pytest.mark.parametrize("prompt", [5, [], [[]], ["a", 1], [["a"]], [True], {"a": 1}, ["x"] * 2049])
def test_legacy_completion_with_a_wrong_prompt_is_a_400(call, prompt):
    assert call()("/v1/completions", {"model": "m", "prompt": prompt}).head.status == 400


@pytest.mark.parametrize(
    ("model", "dimensions", "size"),
    [
        ("text-embedding-ada-002", None, 1536),
        ("text-embedding-3-small", None, 1536),
        ("text-embedding-3-large", None, 3072),
        ("text-embedding-3-large", 256, 256),
        ("other", 1, 1),
    ],
)
@pytest.mark.parametrize("content", ["hello world", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_embeddings_have_the_requested_size_and_encoding(call, model, dimensions, size, content):
    post = call()
    body = {"model": model, "input": content, "dimensions": dimensions}
    floats = loads(post("/v1/embeddings", body))
    packed = loads(post("/v1/embeddings", body | {"encoding_format": "base64"}))
    count = 1 if isinstance(content, str) or isinstance(content[0], int) else len(content)
    assert len(floats["data"]) == count
    for index, (a, b) in enumerate(zip(floats["data"], packed["data"], strict=True)):
        assert a["index"] == index
        vector = np.frombuffer(base64.b64decode(b["embedding"]), dtype="<f4")
        assert vector.shape == (size,)
        assert np.linalg.norm(vector.astype(float)) == pytest.approx(1, abs=1e-5)
        assert np.array_equal(np.array(a["embedding"], dtype=np.float32), vector)
    assert floats["usage"]["prompt_tokens"] == floats["usage"]["total_tokens"] > 0


def test_embeddings_depend_on_the_seed(call):
    body = {"model": "m", "input": "the same everywhere"}
    assert call()("/v1/embeddings", body).body == call()("/v1/embeddings", body).body
    assert call()("/v1/embeddings", body).body != call({"seed": 1})("/v1/embeddings", body).body


@pytest.mark.parametrize("content", ["", [], [""], ["a", 1], [1, "a"], [[]], [["a"]], 5, None, {}, [None]])
def test_embeddings_with_a_wrong_input_are_a_400(call, content):
    reply = call()("/v1/embeddings", {"model": "m", "input": content})
    assert reply.head.status == 400
    assert b"'$.input' is invalid" in reply.body


@pytest.mark.parametrize(
    "extra",
    [{"dimensions": 0}, {"dimensions": 1537}, {"dimensions": "x"}, {"encoding_format": "x"}, {"input": ["a"] * 2049}],
)
def test_embeddings_with_a_wrong_option_are_a_400(call, extra):
    reply = call()("/v1/embeddings", {"model": "m", "input": "a"} | extra)
    assert reply.head.status == 400
    assert orjson.loads(reply.body)["error"]["param"] in extra


def test_embeddings_from_a_response_keep_its_vector(call):
    post = call({"responses": {"embeddings": {"default": {"response": {"data": [{"embedding": [3, 4]}]}}}}})
    answer = loads(post("/v1/embeddings", {"model": "m", "input": ["a", "b"]}))
    assert answer["data"][1]["embedding"] == [3, 4]


def test_models_are_listed_and_retrieved(call):
    post = call({"models": {"available": ["a", {"id": "ft:x:y", "created": 5, "owned_by": "me"}]}})
    listed = loads(post("/v1/models", method="GET"))
    assert [card["id"] for card in listed["data"]] == ["a", "ft:x:y"]
    assert loads(post("/models/ft:x:y", method="GET")) == listed["data"][1]
    assert loads(post("/v1/models/other", method="HEAD"))["id"] == "other"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/embeddings", {"input": "x"}),
    ],
)
def test_strict_models_refuse_unknown_models(call, path, body):
    post = call({"models": {"available": ["a"], "strict": True}})
    assert post(path, body | {"model": "a"}).head.status == 200
    refused = post(path, body | {"model": "b"})
    assert (refused.head.status, orjson.loads(refused.body)["error"]["code"]) == (404, "model_not_found")
    assert post("/v1/models/b", method="GET").head.status == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, None),
        ("POST", "/", 404, "unknown_url"),
        ("GET", "/favicon.ico", 404, "unknown_url"),
        ("GET", "/v1/completions", 405, "method_not_supported"),
        ("PUT", "/v1/chat/completions/x", 405, "method_not_supported"),
        ("DELETE", "/v1/models", 405, "method_not_supported"),
        ("GET", "/v1/models/", 200, None),
        ("HEAD", "/health/", 200, None),
        ("OPTIONS", "/v1/embeddings/", 204, None),
    ],
)
def test_routes_answer_with_the_expected_status(call, method, path, status, code):
    reply = call()(path, method=method)
    assert reply.head.status == status
    if status >= 400:
        assert orjson.loads(reply.body)["error"]["code"] == code
    if status == 405:
        assert "allow" in dict(reply.more)


@pytest.mark.parametrize("mode", ["bearer", "sk"])
def test_auth_key_accepted_in_another_header_is_not_remembered(call, mode):
    post = call({"auth": {"mode": mode}})
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    basic = {"authorization": "Basic zzz"}
    assert post("/v1/messages", body, headers=basic | {"x-api-key": "sk-good"}).head.status == 200
    assert post("/v1/chat/completions", body, headers=basic).head.status == 401
    assert post("/v1/messages", body, headers=basic).head.status == 401


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer  ", "Basic abc", "sk-test"])
def test_auth_without_a_bearer_token_is_a_401(call, value):
    headers = {} if value is None else {"authorization": value}
    reply = call()("/v1/models", method="GET", headers=headers)
    assert reply.head.status == 401
    assert "didn't provide an API key" in orjson.loads(reply.body)["error"]["message"]
    assert call({"auth": {"mode": "off"}})("/v1/models", method="GET", headers=headers).head.status == 200
    assert call()("/health", method="GET", headers=headers).head.status == 200


@pytest.mark.parametrize(
    ("mode", "key", "said"),
    [
        ("sk", "sk-proj-abc_1", None),
        ("sk", "pk-proj-abcdMxYA", "pk-proj-****MxYA"),
        ("sk", "sk-", "sk-"),
        ("keys", "sk-first", None),
        ("keys", "clé", None),
        ("keys", "sk-first2", "sk-first2"),
        ("keys", "sk-proj-12345678MxYA", "sk-proj-********MxYA"),
    ],
)
def test_auth_keys_are_checked_by_mode(call, mode, key, said):
    post = call({"auth": {"mode": mode, "keys": ["sk-first", "clé"]}})
    reply = post("/v1/models", method="GET", headers={"authorization": f"Bearer {key}"})
    if said is None:
        assert reply.head.status == 200
    else:
        assert reply.head.status == 401
        assert orjson.loads(reply.body)["error"] == {
            "message": f"Incorrect API key provided: {said}. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    missing = post("/v1/models/gpt-4o", method="GET", headers={})
    assert missing.head.status == 401
    assert "didn't provide an API key" in orjson.loads(missing.body)["error"]["message"]


def test_cors_headers_follow_the_configured_origins(call):
    anyone = call()("/v1/models", method="GET", headers=KEY | {"origin": "https://a.example"})
    assert dict(anyone.head.headers)["access-control-allow-origin"] == "*"
    no_browser = call()("/v1/models", method="GET")
    assert "access-control-allow-origin" not in dict(no_browser.head.headers)
    nobody = call({"server": {"cors_origins": []}})("/v1/models", method="GET", headers=KEY | {"origin": "https://a"})
    assert "access-control-allow-origin" not in dict(nobody.head.headers)
    post = call({"server": {"cors_origins": ["https://a.example"]}})
    for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
        headers = dict(post("/v1/models", method="GET", headers=KEY | {"origin": origin}).head.headers)
        assert headers.get("access-control-allow-origin") == allowed
    wanted = {"origin": "https://a.example", "access-control-request-headers": "x-a, authorization"}
    preflight = post("/v1/chat/completions", method="OPTIONS", headers=wanted)
    assert preflight.head.status == 204
    assert dict(preflight.head.headers)["access-control-allow-headers"] == "x-a, authorization"


def test_body_too_large_is_a_413(call):
    post = call({"server": {"max_body_bytes": 100}})
    assert post("/v1/chat/completions", b" " * 101).head.status == 413
    assert post("/v1/chat/completions", b" " * 100).head.status == 400


def test_internal_error_has_the_error_envelope(call, monkeypatch):
    monkeypatch.setattr("fastmock.providers.openai.embeddings.parse", lambda body: 1 / 0)
    reply = call()("/v1/embeddings", {})
    assert reply.head.status == 500
    assert orjson.loads(reply.body)["error"]["type"] == "server_error"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["model", "messages", "prompt", "input", "stream", "n", "dimensions", "role", "content", "type", "text"]
NEAR = st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON)))
_APP = make_app()


@examples(30)  # test_fuzz.py does the same over sockets
@given(
    st.sampled_from(["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]),
    st.binary(max_size=50) | JSON.map(_dumps := lambda v: __import__("json").dumps(v).encode()) | NEAR.map(_dumps),
)
def test_any_body_gets_an_envelope_and_no_500(path, body):
    reply = _APP.handle(Request("POST", path, KEY, body))
    assert reply.head.status in (200, 400)
    if reply.head.status == 400:
        assert orjson.loads(reply.body)["error"].keys() == {"message", "type", "param", "code"}


SCHEMA = {
    "$defs": {"a": {"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}, "n": {"type": ["integer", "null"]}}}},
    "type": "object",
    "properties": {
        "a": {"$ref": "#/$defs/a"},
        "b": {"anyOf": [{"type": "string", "pattern": "^a+$", "minLength": 1}, {"enum": [1, "x"]}]},
        "c": {"type": "array", "items": {"type": "number", "minimum": 1, "multipleOf": 0.5}, "minItems": 1},
        "d": {"allOf": [{"type": "integer", "maximum": 9}, {"const": 3}]},
    },
    "required": ["a", "b", "c"],
    "additionalProperties": False,
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PARTS = [
    {"type": "text", "text": "Hello"},
    {"type": "image_url", "image_url": {"url": "x", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
]
RICH = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "s", "name": "n"},
        {"role": "user", "content": PARTS},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "22"},
        {"role": "user", "content": "and?"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
    "stream": False,
    "stream_options": {"include_usage": True, "include_obfuscation": True},
    "n": 2,
    "stop": ["x"],
    "logprobs": True,
    "top_logprobs": 2,
    "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]},
    "metadata": {"a": "b"},
    "store": True,
    "user": "u",
    "reasoning_effort": "low",
    "service_tier": "flex",
    "temperature": 1,
}
LOOKING = [
    {"match": {"any": [{"turn": 7}, {"tool": "x"}, {"tool_result": "x"}, {"metadata": {"a": "c"}}]}, "content": "1"},
    {"match": {"user": "v", "response_format": "text", "last_role": "tool", "messages": {"max": 2}}, "content": "2"},
]
CONFIG = {"server": {"control_headers": True}, "usage": {"simulate_prompt_cache": True}}
_LOOKING_APP = build(load(CONFIG | {"responses": {"chat_completions": {"patterns": LOOKING}}}, {}, {})[0])


def paths(value, at=()):
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from paths(one, (*at, key))


def changed(value, at, to):
    if not at:
        return to
    copied = dict(value) if isinstance(value, dict) else list(value)
    if len(at) == 1 and to is GONE:
        del copied[at[0]]
    else:
        copied[at[0]] = changed(value[at[0]], at[1:], to)
    return copied


GONE = object()
OTHERS = JSON | st.just(GONE) | st.sampled_from([0, 1, True, "", "auto", "text"])
PLACES = st.sampled_from([at for at in paths(RICH) if at])
CHANGES = st.lists(st.tuples(PLACES, OTHERS), min_size=1, max_size=2)
NAMES = st.sampled_from(["after", "limit", "order", "model", "metadata[a]", "x"])


@examples(80)
@given(CHANGES, st.booleans(), st.booleans())
def test_chat_request_mutated_gets_an_answer_or_a_400(changes, call, stream):
    body = dict(RICH, stream=stream)
    if not call:
        del body["tool_choice"], body["tools"]
    for at, to in changes:
        with suppress(KeyError, IndexError, TypeError):
            body = changed(body, at, to)
    reply = _LOOKING_APP.handle(Request("POST", "/v1/chat/completions", KEY, _dumps(body)))
    assert reply.head.status in (200, 400), reply.body
    if reply.head.status == 400:
        assert orjson.loads(reply.body)["error"].keys() == {"message", "type", "param", "code"}


@examples(30)
@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    st.sampled_from(["", "/messages"]),
    st.dictionaries(NAMES, st.lists(st.text(max_size=4), min_size=1)),
    JSON,
)
def test_stored_completions_handle_any_request(method, below, query, body):
    for path in ("/v1/chat/completions", f"/v1/chat/completions/chatcmpl-x{below}"):
        reply = _LOOKING_APP.handle(Request(method, path, KEY, _dumps(body), query))
        assert reply.head.status in (200, 400, 404, 405), reply.body


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ("-1", "integer_below_min_value"),
        ("x", "invalid_type"),
        ("9" * 5000, "invalid_type"),
        ("1" * 9, "integer_above_max_value"),
    ],
)
def test_list_limit_with_an_error_is_a_400(limit, code):
    app = make_app()
    reply = app.handle(Request("GET", "/v1/chat/completions", KEY, b"", {"limit": [limit]}))
    assert (reply.head.status, orjson.loads(reply.body)["error"]["code"]) == (400, code)
    theirs = app.handle(
        Request("GET", "/v1/models", KEY | {"anthropic-version": "2023-06-01"}, b"", {"limit": [limit]})
    )
    assert theirs.head.status == 400
