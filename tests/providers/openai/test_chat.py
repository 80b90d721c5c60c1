"""Chat completions, without a socket."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.core.http import Reply, Request, Stream
from tests.support import KEY, examples, make_app

pytestmark = pytest.mark.unit
PATH = "/v1/chat/completions"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


def events(body: bytes) -> list[dict]:
    assert body.endswith(b"data: [DONE]\n\n")
    parts = body.decode().split("\n\n")[:-2]
    assert all(part.startswith("data: ") for part in parts)
    return [orjson.loads(part[6:]) for part in parts]


def said(chunks: list[dict], index: int = 0) -> str:
    deltas = [c["delta"] for chunk in chunks for c in chunk["choices"] if c["index"] == index]
    return "".join(delta.get("content") or "" for delta in deltas)


def rules(*patterns: dict, **more: dict) -> dict:
    return {"responses": {"chat_completions": {"patterns": list(patterns)}}, **more}


def test_chat_answer_has_every_field(call):
    reply = call()(PATH, HELLO)
    answer = orjson.loads(reply.body)
    assert reply.head.status == 200
    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "gpt-4o"
    assert answer["system_fingerprint"].startswith("fp_")
    choice = answer["choices"][0]
    assert choice["message"].keys() == {"role", "content", "refusal", "annotations"}
    assert (choice["logprobs"], choice["finish_reason"]) == (None, "stop")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def test_chat_ids_are_unique(call):
    post = call()
    replies = [post(PATH, HELLO) for _ in range(1000)]
    assert len({reply.request_id for reply in replies}) == 1000
    assert len({orjson.loads(reply.body)["id"] for reply in replies}) == 1000


@pytest.mark.parametrize("text", ["one two  three\nfour five six seven", "", " ", "x", "你好 世界", "a\n\nb\n"])
@pytest.mark.parametrize("usage", [False, True])
def test_chat_stream_assembles_to_the_whole_text(call, text, usage):
    post = call(rules({"match": {}, "content": text}, streaming={"tokens_per_chunk": 2}))
    whole = orjson.loads(post(PATH, HELLO).body)
    reply = post(PATH, HELLO | {"stream": True, "stream_options": {"include_usage": usage}})
    assert ("content-type", "text/event-stream; charset=utf-8") in reply.head.headers
    chunks = events(reply.body)
    assert said(chunks) == text == whole["choices"][0]["message"]["content"]
    assert len({(c["id"], c["created"], c["model"], c["object"]) for c in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    contents = [c["choices"][0] for c in chunks if c["choices"]]
    assert [c["finish_reason"] for c in contents] == [None] * (len(contents) - 1) + ["stop"]
    assert all(c["delta"]["content"] for c in contents[1:-1])
    if usage:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"] == whole["usage"]
        assert all(c["usage"] is None for c in chunks[:-1])
    else:
        assert all("usage" not in c for c in chunks)


def test_chat_stream_paced_has_one_delay_fewer_than_chunks(call):
    post = call(rules({"match": {}, "content": "a b c d"}, streaming={"tokens_per_chunk": 1, "chunk_delay_ms": 50}))
    stream = post(PATH, HELLO | {"stream": True})
    assert isinstance(stream, Stream)
    due_times = list(stream.due_times)
    frames = [stream.cut(number, number + 1) for number in range(len(due_times))]
    assert due_times == pytest.approx([0, 0.05, 0.1, 0.15, 0.15])
    chunks = events(b"".join(frames))
    assert said(chunks) == "a b c d"
    assert len(events(frames[0] + b"data: [DONE]\n\n")) == 2  # the role goes with the first piece
    assert frames[-1].endswith(b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n')


@pytest.mark.parametrize("stream", [False, True])
def test_chat_n_returns_that_many_choices(call, stream):
    reply = call()(PATH, HELLO | {"n": 3, "stream": stream})
    if stream:
        chunks = events(reply.body)
        assert all(len(chunk["choices"]) == 1 for chunk in chunks)
        assert len({said(chunks, index) for index in range(3)}) == 1
        assert sum(chunk["choices"][0]["finish_reason"] == "stop" for chunk in chunks) == 3
    else:
        assert [choice["index"] for choice in orjson.loads(reply.body)["choices"]] == [0, 1, 2]


def test_template_variables_are_escaped_for_json(call):
    post = call(rules({"match": {}, "content": "$model: ${user_message} for $$5"}, usage={"tokenizer": "estimate"}))
    message = 'say "hi"\n\\ $model 100%'
    answer = orjson.loads(post(PATH, {"model": 'a"b', "messages": [{"role": "user", "content": message}]}).body)
    assert answer["choices"][0]["message"]["content"] == f'a"b: {message} for $5'
    assert answer["usage"]["completion_tokens"] == (len(f'a"b: {message} for $5') + 3) // 4


@examples(50)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_template_with_any_message_is_valid_json(tmp_path_factory, text, stream):
    app = _echo(tmp_path_factory)
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]}
    reply = app.handle(Request("POST", PATH, KEY, orjson.dumps(body)))
    assert isinstance(reply, Reply)
    if stream:
        assert said(events(reply.body)) == text
    else:
        assert orjson.loads(reply.body)["choices"][0]["message"]["content"] == text


_APPS: list = []


def _echo(tmp_path_factory):
    if not _APPS:
        _APPS.append(make_app(rules({"match": {}, "content": "$user_message"}), tmp_path_factory.mktemp("echo")))
    return _APPS[0]


def test_response_file_is_kept_and_completed(tmp_path):
    (tmp_path / "r.json").write_text(
        '{"created": $timestamp, "model": "mine", "extra": "$user_message", "n": $prompt_tokens,'
        ' "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},'
        ' "choices": [{"message": {"content": "x"}, "finish_reason": "length"}]}'
    )
    (tmp_path / "r.yaml").write_text("created: $timestamp\nmodel: $model\nchoices: [{message: {content: y}}]\n")
    files = {"match": {"content": "Hello"}, "response_file": "r.json"}, {"match": {}, "response_file": "r.yaml"}
    app = make_app(rules(*files), tmp_path)
    answer = orjson.loads(app.handle(Request("POST", PATH, KEY, orjson.dumps(HELLO))).body)
    assert (answer["model"], answer["extra"], answer["usage"]["total_tokens"]) == ("mine", "Hello", 3)
    assert isinstance(answer["created"], int)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["role"] == "assistant"
    said = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "z"}]})
    other = orjson.loads(app.handle(Request("POST", PATH, KEY, said)).body)
    assert (other["model"], other["choices"][0]["message"]["content"]) == ("m", "y")
    assert isinstance(other["created"], int)


def test_response_file_tool_calls_are_streamed(call):
    calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    post = call(rules({"match": {}, "response": {"choices": [{"message": {"tool_calls": calls}}]}}))
    choices = [chunk["choices"][0] for chunk in events(post(PATH, HELLO | {"stream": True}).body)]
    first = choices[0]["delta"]
    assert (first["role"], first["content"]) == ("assistant", None)
    assert first["tool_calls"][0]["function"] == {"name": "f", "arguments": ""}
    assert choices[1]["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}
    assert choices[-1]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("body", "param", "code", "text"),
    [
        (b"{", None, None, "could not parse the JSON"),
        (b"[1]", None, None, "could not parse the JSON"),
        (b"\xff\xfe", None, None, "could not parse the JSON"),
        (b"[" * 100_000, None, None, "could not parse the JSON"),
        ({}, None, None, "you must provide a model parameter"),
        ({"model": 5}, "model", "invalid_type", "expected a string, but got an integer"),
        ({"model": "m"}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
        ({"model": "m", "messages": "x"}, "messages", "invalid_type", "expected an array of objects"),
        ({"model": "m", "messages": []}, "messages", "empty_array", "empty array"),
        ({"model": "m", "messages": [1]}, "messages[0]", "invalid_type", "expected an object"),
        ({"model": "m", "messages": [{}]}, "messages[0].role", "missing_required_parameter", "Missing"),
        ({"model": "m", "messages": [{"role": "x"}]}, "messages[0].role", "invalid_value", "'x'"),
        ({"model": "m", "messages": [{"role": []}]}, "messages[0].role", "invalid_type", "an array"),
        ({"model": "m", "messages": [{"role": "user", "content": 1}]}, "messages[0].content", "invalid_type", "got an"),
        ({"model": "m", "messages": [{"role": "user", "content": None}]}, "messages.[0].content", None, "got null"),
        (HELLO | {"stream": "yes"}, "stream", "invalid_type", "expected a boolean, but got a string"),
        (HELLO | {"stream_options": 1}, "stream_options", "invalid_type", "expected an object"),
        (HELLO | {"n": 0}, "n", "integer_below_min_value", ">= 1"),
        (HELLO | {"n": 129}, "n", "integer_above_max_value", "<= 128"),
    ],
)
def test_chat_request_with_an_error_is_a_400(call, body, param, code, text):
    reply = call()(PATH, body)
    error = orjson.loads(reply.body)["error"]
    assert reply.head.status == 400
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert text in error["message"]


@pytest.mark.parametrize(
    "extra",
    [
        {"max_tokens": 1, "stream_options": {}, "unknown": [1], "n": None, "stream": None},
        {"functions": [], "tools": [], "temperature": 1.5, "seed": 2**63 - 1},
    ],
)
def test_chat_request_lenient_accepts_unknown_and_null_fields(call, extra):
    assert call({"validation": "lenient"})(PATH, HELLO | extra).head.status == 200


def test_chat_content_parts_are_joined_and_developer_is_system(call):
    post = call(rules({"match": {"content": "ab", "system_prompt": "be nice"}, "content": "yes"}, validation="lenient"))
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "always be nice"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "x"}},
                {"type": "text", "text": "b"},
            ],
        },
    ]
    assert b'"yes"' in post(PATH, {"model": "m", "messages": messages}).body


def test_streaming_disabled_refuses_streams(call):
    post = call({"streaming": {"enabled": False}})
    assert post(PATH, HELLO).head.status == 200
    refused = post(PATH, HELLO | {"stream": True})
    assert refused.head.status == 400
    assert b"streaming.enabled" in refused.body


@pytest.mark.parametrize(
    ("parameters", "arguments"),
    [({}, {}), (None, {}), ({"properties": {"a": {"const": 1}}, "required": ["a"]}, {"a": 1})],
)
def test_tool_arguments_are_always_an_object(call, parameters, arguments):
    function = {"name": "f"} | ({} if parameters is None else {"parameters": parameters})
    body = HELLO | {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    message = orjson.loads(call({"validation": "lenient"})(PATH, body).body)["choices"][0]["message"]
    assert orjson.loads(message["tool_calls"][0]["function"]["arguments"]) == arguments


def test_tool_parameters_that_are_no_object_are_refused(call):
    function = {"name": "f", "parameters": {"type": "string"}}
    body = HELLO | {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    reply = call()(PATH, body)
    error = orjson.loads(reply.body)["error"]
    assert (reply.head.status, error["param"]) == (400, "tools[0].function.parameters")
    assert 'type: "object"' in error["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_stop_sequence_in_the_text_prevents_tool_calls(call, stream):
    said = {"content": "Let me see.", "tool_calls": [{"name": "f", "arguments": {}}]}
    post = call({"responses": {"chat_completions": {"patterns": [{"match": {}, **said}]}}})
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = post(PATH, HELLO | {"tools": tools, "stop": [" me"], "stream": stream}).body
    assert b"tool_calls" not in body
    assert b'"finish_reason":"stop"' in body
