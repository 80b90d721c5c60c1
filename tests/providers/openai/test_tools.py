"""Tools, structured outputs, stop sequences, logprobs and usage in chat completions. Without a socket."""

import base64
import math

import orjson
import pytest

from fastmock.core.http import Stream
from tests.providers.openai.test_chat import HELLO, PATH, events, rules, said

pytestmark = pytest.mark.unit

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
SEARCH = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}
ASKED = HELLO | {"tools": [WEATHER, SEARCH]}
FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "event",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "day": {"type": "string", "format": "date"}},
            "required": ["name", "day"],
            "additionalProperties": False,
        },
    },
}


def message(reply):
    assert reply.head.status == 200, reply.body
    return orjson.loads(reply.body)["choices"][0]["message"]


def choice(reply):
    assert reply.head.status == 200, reply.body
    return orjson.loads(reply.body)["choices"][0]


def error(reply, status=400):
    assert reply.head.status == status, reply.body
    return orjson.loads(reply.body)["error"]


def results(*names, before=(), user="Hello"):
    """Return a conversation that ends with results of these tools."""
    calls = [{"id": f"call_{n}", "type": "function", "function": {"name": n, "arguments": "{}"}} for n in names]
    found = [{"role": "tool", "tool_call_id": f"call_{n}", "content": "22"} for n in names]
    return [
        {"role": "user", "content": user},
        *before,
        {"role": "assistant", "content": None, "tool_calls": calls},
        *found,
    ]


@pytest.mark.parametrize("name", ["get_weather", "search"])
@pytest.mark.parametrize("stream", [False, True])
def test_tool_choice_named_calls_the_tool_with_valid_arguments(call, name, stream):
    import jsonschema

    body = ASKED | {"tool_choice": {"type": "function", "function": {"name": name}}, "stream": stream}
    reply = call()(PATH, body)
    if stream:
        deltas = [one["choices"][0]["delta"] for one in events(reply.body)]
        parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
        assert deltas[0]["content"] is None
        assert parts[0]["function"] == {"name": name, "arguments": ""}
        assert parts[0]["id"].startswith("call_")
        assert all(set(part) == {"index", "function"} for part in parts[1:])
        arguments = "".join(part["function"]["arguments"] for part in parts)
    else:
        made = choice(reply)
        assert made["finish_reason"] == "stop"
        assert made["message"]["content"] is None
        (one,) = made["message"]["tool_calls"]
        assert (one["type"], one["function"]["name"]) == ("function", name)
        arguments = one["function"]["arguments"]
    tool = next(tool for tool in (WEATHER, SEARCH) if tool["function"]["name"] == name)
    jsonschema.validate(orjson.loads(arguments), tool["function"]["parameters"])


def test_tool_choice_required_auto_and_none_are_honoured(call):
    post = call()
    assert message(post(PATH, ASKED))["content"]
    assert message(post(PATH, ASKED | {"tool_choice": "auto"}))["content"]
    assert message(post(PATH, ASKED | {"tool_choice": "none"}))["content"]
    called = message(post(PATH, ASKED | {"tool_choice": "required"}))["tool_calls"]
    assert [one["function"]["name"] for one in called] == ["get_weather"]
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "search"}}]},
    }
    assert message(post(PATH, ASKED | {"tool_choice": allowed}))["tool_calls"][0]["function"]["name"] == "search"


def test_auto_call_calls_a_tool_unless_a_rule_has_text(call):
    post = call(rules({"match": {"content": "words"}, "content": "Just words."}, tools={"auto_call": True}))
    words = {"model": "m", "messages": [{"role": "user", "content": "words"}], "tools": [SEARCH]}
    assert message(post(PATH, words))["content"] == "Just words."
    assert message(post(PATH, ASKED))["tool_calls"][0]["function"]["name"] == "get_weather"
    assert message(post(PATH, ASKED | {"tool_choice": "none"}))["content"]
    assert message(post(PATH, ASKED | {"messages": results("get_weather")}))["content"]
    assert message(post(PATH, HELLO))["content"]


def test_tool_loop_ends_with_text(call):
    """After results comes a text; where a call has to be made, one that was not made yet, and then a text."""
    post = call()
    body = ASKED | {"tool_choice": "required"}
    second = message(post(PATH, body | {"messages": results("get_weather")}))
    assert second["tool_calls"][0]["function"]["name"] == "search"
    assert message(post(PATH, body | {"messages": results("search", before=results("get_weather")[1:])}))["content"]
    named = ASKED | {"tool_choice": {"type": "function", "function": {"name": "search"}}}
    assert message(post(PATH, named | {"messages": results("search")}))["content"]
    assert message(post(PATH, ASKED | {"messages": results("search")}))["content"]
    # a new question begins anew
    again = [
        *results("get_weather", "search"),
        {"role": "assistant", "content": "22"},
        {"role": "user", "content": "And now?"},
    ]
    assert message(post(PATH, body | {"messages": again}))["tool_calls"][0]["function"]["name"] == "get_weather"


def test_tool_calls_in_streams_have_unique_ids(call):
    post = call(rules({"match": {"content": "two"}, "tool_calls": [{"name": "f"}, {"name": "g"}]}))
    for extra in ({}, {"messages": [{"role": "user", "content": "two"}]}):
        body = ASKED | {"tool_choice": "required", "stream": True} | extra
        ids = []
        for _ in range(2):
            deltas = [one["choices"][0]["delta"] for one in events(post(PATH, body).body)]
            ids += [part["id"] for delta in deltas for part in delta.get("tool_calls", ()) if "id" in part]
        assert len(ids) == len(set(ids)) == (4 if extra else 2)
        assert all(id_.startswith("call_") and "000000000" not in id_[5:13] for id_ in ids)


def test_scripted_tool_calls_fill_in_variables(call):
    scripted = [
        {"name": "get_weather", "arguments": {"city": "$user_message", "n": [1, {"$model": "100% ${model}"}]}},
        {"name": "search", "arguments": "{broken $x"},
        {"name": "third", "id": "mine"},
    ]
    post = call(rules({"match": {"content_contains": "weather"}, "content": "Let me see.", "tool_calls": scripted}))
    text = 'the "weather"\n\\ in 100% 世'
    body = {"model": 'a"b', "messages": [{"role": "user", "content": text}], "tools": [WEATHER]}
    made = message(post(PATH, body))
    assert made["content"] == "Let me see."
    first, second, third = made["tool_calls"]
    assert orjson.loads(first["function"]["arguments"]) == {"city": text, "n": [1, {"$model": '100% a"b'}]}
    assert second["function"]["arguments"] == "{broken $x"
    assert (third["id"], third["function"]["arguments"]) == ("mine", "{}")
    assert first["id"] != second["id"]
    assert choice(post(PATH, body))["finish_reason"] == "tool_calls"
    assert len(message(post(PATH, body | {"parallel_tool_calls": False}))["tool_calls"]) == 1
    # not offered: they stand as they are written; not to be called, or called already: the text alone
    assert len(message(post(PATH, body | {"tools": None}))["tool_calls"]) == 3
    assert "tool_calls" not in message(post(PATH, body | {"tool_choice": "none"}))
    after = message(post(PATH, body | {"messages": results("get_weather", user=text)}))
    assert (after.get("tool_calls"), after["content"]) == (None, "Let me see.")


def test_rule_matching_the_conversation_may_repeat_tool_calls(call):
    scripted = {"tool_calls": [{"name": "search"}]}
    post = call(rules({"match": {"last_role": "tool"}, **scripted}, {"match": {}, "responses": [scripted, "Done."]}))
    assert message(post(PATH, ASKED))["tool_calls"]
    assert message(post(PATH, ASKED | {"messages": results("search")}))["tool_calls"]
    post = call(rules({"match": {}, "responses": [scripted, {"refusal": "No $model."}, "Done."]}))
    assert message(post(PATH, ASKED))["tool_calls"]
    assert message(post(PATH, ASKED | {"messages": results("search")}))["refusal"] == "No gpt-4o."
    for longer in (
        results("a", before=results("b")[1:]),
        results("a", before=results("b", before=results("c")[1:])[1:]),
    ):
        assert message(post(PATH, ASKED | {"messages": longer}))["content"] == "Done."


@pytest.mark.parametrize("stream", [False, True])
def test_legacy_function_call_has_valid_arguments(call, stream):
    import jsonschema

    body = HELLO | {"functions": [WEATHER["function"]], "function_call": {"name": "get_weather"}, "stream": stream}
    reply = call()(PATH, body)
    if stream:
        chunks = [one["choices"][0] for one in events(reply.body)]
        parts = [one["delta"]["function_call"] for one in chunks if "function_call" in one["delta"]]
        name, arguments, reason = (
            parts[0]["name"],
            "".join(one["arguments"] for one in parts),
            chunks[-1]["finish_reason"],
        )
    else:
        made = choice(reply)
        name, arguments = made["message"]["function_call"].values()
        reason = made["finish_reason"]
        assert "tool_calls" not in made["message"]
    assert (name, reason) == ("get_weather", "stop")  # as of any function that is named
    jsonschema.validate(orjson.loads(arguments), WEATHER["function"]["parameters"])
    done = [
        *HELLO["messages"],
        {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": "{}"}},
        {"role": "function", "name": "get_weather", "content": "22"},
    ]
    assert message(call()(PATH, body | {"messages": done, "stream": False}))["content"]


def test_scripted_tool_call_is_a_function_call_for_legacy_functions(call):
    post = call(rules({"match": {}, "tool_calls": [{"name": "f", "arguments": {"a": 1}}, {"name": "g"}]}))
    made = choice(post(PATH, HELLO | {"functions": [{"name": "f"}]}))
    assert made["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert made["finish_reason"] == "function_call"


def test_custom_tool_is_called_with_text_input(call):
    tool = {"type": "custom", "custom": {"name": "code"}}
    body = HELLO | {"tools": [tool], "tool_choice": {"type": "custom", "custom": {"name": "code"}}}
    (made,) = message(call()(PATH, body))["tool_calls"]
    assert made["type"] == "custom"
    assert made["custom"]["name"] == "code"
    assert made["custom"]["input"]


@pytest.mark.parametrize("stream", [False, True])
def test_response_format_yields_valid_json(call, stream):
    import jsonschema

    post = call(
        rules(
            {"match": {"content": "raw"}, "content": '{"anything": 1}'},
            {"match": {"content": "text"}, "content": "no JSON"},
            validation="lenient",
        )
    )

    def text(body):
        reply = post(PATH, body | {"stream": stream})
        return said(events(reply.body)) if stream else message(reply)["content"]

    for asked in (HELLO, {**HELLO, "messages": [{"role": "user", "content": "text"}]}):
        jsonschema.validate(orjson.loads(text(asked | {"response_format": FORMAT})), FORMAT["json_schema"]["schema"])
        assert isinstance(orjson.loads(text(asked | {"response_format": {"type": "json_object"}})), dict)
    assert text(HELLO | {"response_format": FORMAT}) == text(HELLO | {"response_format": FORMAT})
    raw = HELLO | {"messages": [{"role": "user", "content": "raw"}]}
    assert text(raw | {"response_format": FORMAT}) == '{"anything": 1}'
    assert not text(HELLO | {"response_format": {"type": "text"}}).startswith("{")


def test_response_format_choices_differ(call):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    body = HELLO | {"n": 8, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}
    made = orjson.loads(call()(PATH, body).body)["choices"]
    assert len({one["message"]["content"] for one in made}) > 1
    assert [one["index"] for one in made] == list(range(8))


def test_response_format_with_an_unsatisfiable_schema_is_a_400(call):
    bad = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 2, "maximum": 1}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": bad}}
    refused = error(call()(PATH, HELLO | {"response_format": form}))
    assert refused["param"] == "response_format"
    assert refused["message"].startswith(
        "Invalid schema for response_format 'x': In context=('properties', 'a', 'minimum'), "
    )
    tool = {"type": "function", "function": {"name": "f", "parameters": bad}}
    refused = error(
        call()(PATH, HELLO | {"tools": [SEARCH, tool], "tool_choice": {"type": "function", "function": {"name": "f"}}})
    )
    assert (refused["param"], refused["code"]) == ("tools[1].function.parameters", "invalid_function_parameters")
    deep = orjson.loads(b'{"not":' * 300 + b"{}" + b"}" * 300)
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": deep}}
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",'
    body += b'"json_schema":{"name":"x","schema":' + b'{"not":' * 300 + b"{}" + b"}" * 300 + b"}}}"
    assert "nested too deeply" in error(call()(PATH, body))["message"]


def test_refusal_of_a_rule_is_sent_whole_and_streamed(call):
    post = call(rules({"match": {}, "refusal": "I can't help with $user_message."}))
    made = choice(post(PATH, HELLO | {"response_format": FORMAT, "tools": [WEATHER], "tool_choice": "required"}))
    assert (made["message"]["refusal"], made["message"]["content"]) == ("I can't help with Hello.", None)
    assert made["finish_reason"] == "stop"
    deltas = [one["choices"][0]["delta"] for one in events(post(PATH, HELLO | {"stream": True}).body)]
    assert deltas[0] == {"role": "assistant", "content": None, "refusal": ""}
    assert "".join(delta.get("refusal", "") for delta in deltas) == "I can't help with Hello."


@pytest.mark.parametrize(
    ("stop", "expected"),
    [("three", "one two "), (["x", "two"], "one "), ("zz", "one two three"), ([], "one two three"), ("one", "")],
)
def test_stop_sequence_ends_the_text(call, stop, expected):
    post = call(rules({"match": {}, "content": "one two three"}))
    made = choice(post(PATH, HELLO | {"stop": stop}))
    assert (made["message"]["content"], made["finish_reason"]) == (expected, "stop")
    assert said(events(post(PATH, HELLO | {"stop": stop, "stream": True}).body)) == expected


@pytest.mark.parametrize("tokenizer", ["estimate", "exact"])
@pytest.mark.parametrize("top", [None, 0, 5, 20])
def test_logprobs_cover_the_text_in_order(call, tokenizer, top):
    post = call(rules({"match": {}, "content": "Grüße, 世界! Wie geht's 🙂?"}, usage={"tokenizer": tokenizer}))
    answer = orjson.loads(post(PATH, HELLO | {"logprobs": True, "top_logprobs": top}).body)
    entries = answer["choices"][0]["logprobs"]["content"]
    assert b"".join(bytes(one["bytes"]) for one in entries).decode() == "Grüße, 世界! Wie geht's 🙂?"
    assert len(entries) == answer["usage"]["completion_tokens"]
    for one in entries:
        assert -1 < one["logprob"] < 0
        assert len(one["top_logprobs"]) == (top or 0)
        logs = [other["logprob"] for other in one["top_logprobs"]]
        assert logs == sorted(logs, reverse=True)
        assert sum(map(math.exp, logs)) <= 1
        if logs:
            assert one["top_logprobs"][0]["bytes"] == one["bytes"]
            assert len({tuple(other["bytes"]) for other in one["top_logprobs"]}) == len(logs)
    streamed = events(post(PATH, HELLO | {"logprobs": True, "top_logprobs": top, "stream": True}).body)
    chunks = [one["choices"][0] for one in streamed]
    assert chunks[0]["logprobs"] == {"content": [], "refusal": None}
    assert chunks[-1]["logprobs"] is None
    assert [entry for one in chunks if one["logprobs"] for entry in one["logprobs"]["content"]] == entries


def test_legacy_logprobs_cover_prompt_and_text(call):
    post = call({"responses": {"completions": {"default": {"content": "one two 世界"}}}})
    body = {"model": "m", "prompt": "Say:", "logprobs": 2, "echo": True}
    made = orjson.loads(post("/v1/completions", body).body)["choices"][0]
    logs = made["logprobs"]
    assert made["text"] == "Say:one two 世界"
    assert "".join(logs["tokens"][:2]) == "Say:"
    assert logs["text_offset"][:3] == [0, 3, 4]
    assert len({len(values) for values in logs.values()}) == 1
    assert all(len(top) == 2 for top in logs["top_logprobs"][1:])
    plain = orjson.loads(post("/v1/completions", {"model": "m", "prompt": "x", "stop": " two"}).body)["choices"][0]
    assert (plain["text"], plain["logprobs"]) == ("one", None)


def test_reasoning_prediction_and_service_tier_appear_in_the_usage(call):
    post = call(rules({"match": {}, "content": "one two three four"}))
    plain = orjson.loads(post(PATH, HELLO).body)
    assert plain["service_tier"] == "default"
    answer = orjson.loads(post(PATH, HELLO | {"reasoning_effort": "high", "service_tier": "flex"}).body)
    details = answer["usage"]["completion_tokens_details"]
    assert details["reasoning_tokens"] > 0
    assert answer["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"] + details["reasoning_tokens"]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    assert answer["service_tier"] == "flex"
    less = orjson.loads(post(PATH, HELLO | {"reasoning_effort": "low"}).body)["usage"]["completion_tokens_details"]
    assert 0 < less["reasoning_tokens"] < details["reasoning_tokens"]
    predicted = {"prediction": {"type": "content", "content": "one two five"}}
    usage = orjson.loads(post(PATH, HELLO | predicted).body)["usage"]
    details = usage["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] > 0
    assert details["rejected_prediction_tokens"] > 0
    assert usage["completion_tokens"] == plain["usage"]["completion_tokens"] + details["rejected_prediction_tokens"]


def test_obfuscation_is_sent_when_enabled(call):
    asked = HELLO | {"stream": True, "stream_options": {"include_obfuscation": True, "include_usage": True}}
    assert all("obfuscation" in one for one in events(call()(PATH, asked).body)[:-1])
    assert not any("obfuscation" in one for one in events(call()(PATH, HELLO | {"stream": True}).body))
    post = call({"streaming": {"obfuscation": True}})
    assert all("obfuscation" in one for one in events(post(PATH, HELLO | {"stream": True}).body))
    asked = HELLO | {"stream": True, "stream_options": {"include_obfuscation": False}}
    assert not any("obfuscation" in one for one in events(post(PATH, asked).body))


def test_images_and_audio_count_tokens(call):
    post = call()

    def usage(*parts):
        content = [{"type": "text", "text": "Hello"}, *parts]
        return orjson.loads(post(PATH, {"model": "m", "messages": [{"role": "user", "content": content}]}).body)[
            "usage"
        ]

    plain = usage()["prompt_tokens"]
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    assert usage(image)["prompt_tokens"] == plain + 85
    large = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "high"}}
    assert usage(large, image)["prompt_tokens"] == plain + 850
    second = base64.b64encode(bytes(48_000)).decode()
    heard = usage({"type": "input_audio", "input_audio": {"data": second, "format": "wav"}})
    assert heard["prompt_tokens_details"]["audio_tokens"] == 10
    assert heard["prompt_tokens"] == plain + 10


def test_tools_count_prompt_tokens(call):
    post = call()
    plain = orjson.loads(post(PATH, HELLO).body)["usage"]["prompt_tokens"]
    assert orjson.loads(post(PATH, ASKED).body)["usage"]["prompt_tokens"] > plain + 20


def test_tool_call_stream_is_paced(call):
    post = call({"latency": {"ttft": 10, "itl": 5}})
    body = ASKED | {"tool_choice": "required", "stream": True}
    stream = post(PATH, body)
    assert isinstance(stream, Stream)
    due_times = list(stream.due_times)
    assert due_times[0] == pytest.approx(0.01)
    assert due_times == sorted(due_times)
    assert len(due_times) > 5
    assert events(stream.cut(0, len(due_times)))[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("extra", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"top_p": -1}, "top_p", "decimal_below_min_value"),
        ({"presence_penalty": 2.5}, "presence_penalty", "decimal_above_max_value"),
        ({"seed": "x"}, "seed", "invalid_type"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"stop": [1]}, "stop[0]", "invalid_type"),
        ({"stop": 1}, "stop", "invalid_type"),
        ({"user": 1}, "user", "invalid_type"),
        ({"logprobs": 1}, "logprobs", "invalid_type"),
        ({"top_logprobs": 2}, "top_logprobs", None),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata", "object_above_max_properties"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "string_above_max_length"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
        ({"service_tier": 1}, "service_tier", "invalid_type"),
        ({"response_format": "json"}, "response_format", "invalid_type"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {}}},
            "response_format.json_schema.name",
            "missing_required_parameter",
        ),
        ({"tools": "x"}, "tools", "invalid_type"),
        ({"tools": [1]}, "tools[0]", "invalid_type"),
        ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "web"}]}, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "invalid_value"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": 1}}]},
            "tools[0].function.parameters",
            "invalid_type",
        ),
        ({"tools": [{"type": "custom"}]}, "tools[0].custom", "invalid_type"),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"tools": [SEARCH], "tool_choice": "x"}, "tool_choice", "invalid_value"),
        ({"tools": [SEARCH], "tool_choice": 1}, "tool_choice", "invalid_type"),
        ({"tools": [SEARCH], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice", None),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call", None),
        ({"functions": [{}]}, "functions[0].name", "missing_required_parameter"),
        ({"prediction": {"type": "content"}}, "prediction.content", "missing_required_parameter"),
        ({"stream_options": {"include_obfuscation": 1}}, "stream_options.include_obfuscation", "invalid_type"),
    ],
)
def test_chat_parameter_with_a_wrong_type_or_range_is_a_400(call, extra, param, code):
    refused = error(call()(PATH, HELLO | extra))
    assert (refused["param"], refused["code"]) == (param, code)


@pytest.mark.parametrize(
    "name",
    ["temperature", "n", "stop", "tools", "tool_choice", "response_format", "logprobs", "metadata", "store", "seed"],
)
def test_chat_parameter_null_is_ignored(call, name):
    assert call()(PATH, HELLO | {name: None}).head.status == 200


def test_legacy_completion_with_tool_calls_is_a_config_error(tmp_path):
    from fastmock.build import build
    from fastmock.config.load import load
    from fastmock.core.problems import ConfigError

    config, problems = load({"responses": {"completions": {"default": {"tool_calls": [{"name": "f"}]}}}}, {}, {})
    assert problems == []
    with pytest.raises(ConfigError) as caught:
        build(config)
    assert "responses.completions.default.tool_calls" in str(caught.value.problems[0])


def test_unknown_template_variables_are_reported_with_their_path(tmp_path):
    from fastmock.build import build
    from fastmock.config.load import load
    from fastmock.core.problems import ConfigError

    patterns = [
        {"match": {}, "tool_calls": [{"name": "f", "arguments": {"a": {"b": "$usr_message"}}}]},
        {"match": {}, "responses": ["fine", {"refusal": "$modl"}]},
    ]
    config, problems = load(rules(*patterns), {}, {})
    assert problems == []
    with pytest.raises(ConfigError) as caught:
        build(config)
    shown = "\n".join(map(str, caught.value.problems))
    assert "responses.chat_completions.patterns[0].tool_calls[0].arguments.a.b" in shown
    assert "responses.chat_completions.patterns[1].responses[1].refusal" in shown
    assert "user_message" in shown
