"""Errors in messages, tools and options of chat completions, and invalid input that is accepted. Without a socket."""

import json

import orjson
import pytest

from tests.providers.openai.test_chat import HELLO, PATH
from tests.providers.openai.test_tools import SEARCH, error, results

pytestmark = pytest.mark.unit

USER = {"role": "user", "content": "Hello"}
CALL = {"id": "call_f", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OTHER = CALL | {"id": "call_g"}
CUSTOM = {"id": "call_c", "type": "custom", "custom": {"name": "c", "input": "x"}}
RESULT = {"role": "tool", "tool_call_id": "call_f", "content": "22"}
STRING = "expected a string, but got"
OBJECT = "expected an object, but got"
FUNCTION = "messages[1].tool_calls[0].function"
CALLS_BEFORE = (
    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
)
NO_RESULTS = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
    "The following tool_call_ids did not have response messages: "
)


def calls(*made, **more):
    return {"role": "assistant", "tool_calls": list(made), **more}


def one_call(**function):
    return [USER, calls(CALL | {"function": {name: value for name, value in function.items() if value is not None}})]


def part(**more):
    return [{"role": "user", "content": [{"type": "text", "text": "a"}, more]}]


@pytest.mark.parametrize(
    ("messages", "text", "param"),
    [
        # calls
        ([USER, calls() | {"tool_calls": "f"}], "expected an array of objects, but got a string", "1].tool_calls"),
        ([USER, calls("f")], OBJECT, "1].tool_calls[0]"),
        ([USER, calls({})], "Missing required parameter: 'messages[1].tool_calls[0].id'.", "1].tool_calls[0].id"),
        ([USER, calls(CALL | {"id": 1})], STRING, "1].tool_calls[0].id"),
        ([USER, calls(CALL | {"type": None})], "Missing", "1].tool_calls[0].type"),
        (
            [USER, calls(CALL | {"type": "x"})],
            "Supported values are: 'function' and 'custom'.",
            "1].tool_calls[0].type",
        ),
        ([USER, calls(CALL | {"function": None})], "Missing", FUNCTION),
        ([USER, calls(CALL | {"function": "f"})], OBJECT, FUNCTION),
        (one_call(arguments="{}"), "Missing", f"{FUNCTION}.name"),
        (one_call(name=1, arguments="{}"), STRING, f"{FUNCTION}.name"),
        (one_call(name="f"), f"Missing required parameter: '{FUNCTION}.arguments'.", f"{FUNCTION}.arguments"),
        (
            one_call(name="f", arguments={"a": 1}),
            f"Invalid type for '{FUNCTION}.arguments': {STRING} an object instead.",
            f"{FUNCTION}.arguments",
        ),
        ([USER, calls(CALL, OTHER | {"type": 1})], STRING, "1].tool_calls[1].type"),
        ([USER, calls({"id": "c", "type": "custom"})], "Missing", "1].tool_calls[0].custom"),
        ([USER, calls(CUSTOM | {"custom": {"name": "c"}})], "Missing", "1].tool_calls[0].custom.input"),
        # and their results
        (
            [USER, calls(CALL), {"role": "tool", "content": "22"}],
            "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.",
            "messages.[2].tool_call_id",
        ),
        ([USER, calls(CALL), RESULT | {"tool_call_id": 1}], STRING, "2].tool_call_id"),
        ([RESULT], CALLS_BEFORE, "messages.[0].role"),
        ([USER, RESULT], CALLS_BEFORE, "messages.[1].role"),
        ([USER, calls(content="Hi"), RESULT], CALLS_BEFORE, "messages.[2].role"),
        ([*results("f"), USER, RESULT], CALLS_BEFORE, "messages.[4].role"),
        ([USER | {"tool_calls": [CALL]}, RESULT], CALLS_BEFORE, "messages.[1].role"),
        (
            [USER, calls(CALL), RESULT | {"tool_call_id": "x"}],
            "Invalid parameter: 'tool_call_id' of 'x' not found in 'tool_calls' of previous message.",
            "messages.[2].tool_call_id",
        ),
        ([USER, calls(CALL), USER], f"{NO_RESULTS}call_f", "messages.[2].role"),
        ([USER, calls(CALL), calls(OTHER)], f"{NO_RESULTS}call_f", "messages.[2].role"),
        ([USER, calls(CALL, OTHER, CUSTOM), RESULT, USER], f"{NO_RESULTS}call_g, call_c", "messages.[3].role"),
        ([USER, calls(CALL, OTHER), RESULT], f"{NO_RESULTS}call_g", "messages"),
        ([USER, calls(CALL, content="Let me see.")], f"{NO_RESULTS}call_f", "messages"),
        # names
        ([USER | {"name": 1}], STRING, "0].name"),
        ([*results("f"), USER | {"name": ["a"]}], STRING, "3].name"),
        # parts of a content
        (
            part(type="bogus"),
            "Invalid value: 'bogus'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', 'audio', and "
            "'file'.",
            "0].content[1].type",
        ),
        (part(type="image_url"), "Missing", "0].content[1].image_url"),
        (part(type="image_url", image_url="https://x"), OBJECT, "0].content[1].image_url"),
        (part(type="image_url", image_url={}), "Missing", "0].content[1].image_url.url"),
        (part(type="image_url", image_url={"url": 1}), STRING, "0].content[1].image_url.url"),
        (
            part(type="image_url", image_url={"url": "x", "detail": "huge"}),
            "Supported values are: 'auto', 'low', and 'high'.",
            "0].content[1].image_url.detail",
        ),
        (part(type="image_url", image_url={"url": "x", "detail": 1}), STRING, "0].content[1].image_url.detail"),
        (part(type="input_audio"), "Missing", "0].content[1].input_audio"),
        (part(type="input_audio", input_audio={"format": "wav"}), "Missing", "0].content[1].input_audio.data"),
        (part(type="input_audio", input_audio={"data": "AA"}), "Missing", "0].content[1].input_audio.format"),
        (
            part(type="input_audio", input_audio={"data": "AA", "format": "ogg"}),
            "Supported values are: 'wav' and 'mp3'.",
            "0].content[1].input_audio.format",
        ),
        (part(type="file", file="x"), OBJECT, "0].content[1].file"),
        (part(type="refusal"), "Missing", "0].content[1].refusal"),
    ],
)
def test_chat_messages_with_an_error_are_a_400(call, messages, text, param):
    refused = error(call()(PATH, {"model": "m", "messages": messages}))
    assert refused["param"] == (param if param.startswith("messages") else f"messages[{param}")
    assert text in refused["message"]


def tool(**function):
    return {"tools": [SEARCH, {"type": "function", "function": {"name": "f"} | function}]}


def form(**schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}} | schema}}


LONG = "Expected a string with maximum length 64, but got a string with length 65 instead."


@pytest.mark.parametrize(
    ("extra", "text", "param"),
    [
        (tool(strict="yes"), "expected a boolean, but got a string", "tools[1].function.strict"),
        (tool(description=1), STRING, "tools[1].function.description"),
        (tool(name="f" * 65), LONG, "tools[1].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "f" * 65}}]}, LONG, "tools[0].custom.name"),
        ({"functions": [{"name": "f" * 65}]}, LONG, "functions[0].name"),
        ({"functions": [{"name": "f", "description": {}}]}, STRING, "functions[0].description"),
        (
            {"tools": [SEARCH] * 129},
            "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length "
            "129 instead.",
            "tools",
        ),
        ({"functions": [{"name": "f"}] * 129}, "maximum length 128", "functions"),
        (form(name="a b"), "matches the pattern '^[a-zA-Z0-9_-]+$'.", "response_format.json_schema.name"),
        (form(name="x" * 65), LONG, "response_format.json_schema.name"),
        (form(strict=1), "expected a boolean, but got an integer", "response_format.json_schema.strict"),
        ({"modalities": "text"}, "expected an array of strings, but got a string", "modalities"),
        ({"modalities": ["text", "smell"]}, "Supported values are: 'text' and 'audio'.", "modalities[1]"),
        ({"audio": "alloy"}, OBJECT, "audio"),
        ({"web_search_options": True}, OBJECT, "web_search_options"),
        ({"prediction": {"content": "x"}}, "Missing", "prediction.type"),
        ({"prediction": {"type": "x", "content": "x"}}, "Supported values are: 'content'.", "prediction.type"),
        ({"logit_bias": {"50256": "x"}}, "expected a decimal, but got a string", "logit_bias.50256"),
        ({"logit_bias": {"1": -100, "2": 100.5}}, "above maximum value. Expected a value <= 100", "logit_bias.2"),
        ({"seed": 2**70}, f"integer above maximum value. Expected a value <= {2**63 - 1}, but got {2**70}", "seed"),
        ({"seed": -(2**70)}, "integer below minimum value", "seed"),
        ({"seed": 2**63}, "integer above maximum value", "seed"),
        ({"seed": 1.5}, "expected an integer, but got a decimal number", "seed"),
        ({"max_tokens": 2**70}, "integer above maximum value", "max_tokens"),
    ],
)
def test_chat_options_with_an_error_are_a_400(call, extra, text, param):
    body = json.dumps(HELLO | extra).encode()  # orjson does not write large integers
    refused = error(call()(PATH, body))
    assert refused["param"] == param
    assert text in refused["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [USER, calls(CALL, OTHER), RESULT | {"tool_call_id": "call_g"}, RESULT]},
        {"messages": [USER, calls(CALL, content=""), RESULT, calls(CALL), RESULT, USER]},
        {"messages": [USER, calls(CUSTOM), RESULT | {"tool_call_id": "call_c", "name": "c"}]},
        {"messages": [calls(CALL, refusal=None, index=0), RESULT]},  # the beginning is cut off
        {"messages": [USER, calls(CALL | {"index": 0}), RESULT | {"content": [{"type": "text", "text": "22"}]}]},
        {"messages": [USER | {"name": None}, {"role": "assistant", "content": "Hi", "tool_calls": None}]},
        {"messages": [USER, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}]},
        {"messages": [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, USER]},
        {"messages": [USER, {"role": "function", "name": "f", "content": "22"}]},
        {"messages": part(type="image_url", image_url={"url": "x", "detail": None, "more": 1})},
        {"messages": part(type="file", file={"file_id": "file-1"})},
        tool(strict=None, description=None),
        tool(strict=True, description="", name="f" * 64, more=1),
        {"tools": [SEARCH] * 128},
        form(strict=None, name="x" * 64),
        {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}, "web_search_options": {}},
        {"modalities": None, "audio": None, "web_search_options": None, "prediction": None, "logit_bias": None},
        {"logit_bias": {"50256": -100, "1": 0.5}, "seed": -(2**63)},
    ],
)
def test_chat_request_that_is_valid_is_accepted(call, body):
    reply = call()(PATH, HELLO | body)
    assert reply.head.status == 200, reply.body


def test_tool_calls_with_and_without_content_count_alike(call):
    post = call()
    usages = [
        orjson.loads(post(PATH, HELLO | {"messages": [USER, calls(CALL, **content), RESULT]}).body)["usage"]
        for content in ({}, {"content": None})
    ]
    assert usages[0]["prompt_tokens"] == usages[1]["prompt_tokens"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"input": [{"type": "function_call_output", "call_id": "c", "output": "22"}]}),
        ("/v1/responses", {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1", "detail": "auto"}]}]},
        ),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}),
        ("/v1/responses", {"input": "x", "tools": [{"type": "function", "name": "f", "strict": None}] * 129}),
        (
            "/v1/messages",
            {
                "max_tokens": 9,
                "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}],
                "tools": [{"name": "f" * 128, "input_schema": {"type": "object"}}] * 129,
            },
        ),
        (
            "/v1/messages",
            {"max_tokens": 9, "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        ),
    ],
)
def test_chat_checks_do_not_apply_to_other_dialects(call, path, body):
    reply = call({"validation": "lenient"})(path, {"model": "m"} | body)
    assert reply.head.status == 200, reply.body
