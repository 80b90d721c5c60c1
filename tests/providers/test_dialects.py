"""One conversation in three dialects: the same rules and texts, each in its own form. Without a socket."""

import re
from contextlib import suppress

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastmock.build import build
from fastmock.config.load import load
from fastmock.content.tokenizers import ESTIMATE
from fastmock.content.words import Chunker
from fastmock.core.completion import Answer
from fastmock.core.http import Request, Stream
from fastmock.latency.pacer import Pacer
from fastmock.providers.anthropic.messages.render import MessagesRenderer
from fastmock.providers.openai.responses.render import ResponsesRenderer
from fastmock.responses import ResponseManager
from tests.providers.openai.test_answers import TEXT, answers
from tests.providers.openai.test_chat import PATH
from tests.providers.openai.test_endpoints import GONE, OTHERS, _dumps, changed, paths
from tests.providers.openai.test_tools import WEATHER
from tests.support import KEY, examples, make_app

pytestmark = pytest.mark.unit

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
ANTHROPIC = {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"}
KEYS = {PATH: KEY, RESPONSES: KEY, MESSAGES: ANTHROPIC}


def sent(app, path, body, stream=False):
    reply = app.handle(Request("POST", path, KEYS[path], _dumps(body | {"stream": stream} if stream else body)))
    assert reply.head.status == 200, reply.body
    return reply.body


def typed(body):
    """Return the events of a stream, each of which says its type twice."""
    found = []
    for part in body.decode().removesuffix("\n\n").split("\n\n"):
        first, second = part.split("\n", 1)
        event = orjson.loads(second.removeprefix("data: "))
        assert first == f"event: {event['type']}"
        found.append(event)
    return found


def assembled_response(found):
    """Do what a client does with the events of a response; return its output."""
    output = []
    for event in found:
        kind = event["type"]
        if kind == "response.output_item.added":
            output.append(event["item"])
        elif kind == "response.content_part.added":
            output[event["output_index"]]["content"].append(event["part"])
        elif kind == "response.reasoning_summary_part.added":
            output[event["output_index"]]["summary"].append(event["part"])
        elif kind.endswith(".delta"):
            item = output[event["output_index"]]
            assert event["item_id"] == item["id"]
            if "content_index" in event:
                part = item["content"][event["content_index"]]
                part["refusal" if "refusal" in kind else "text"] += event["delta"]
                if "logprobs" in event:
                    part["logprobs"] += event["logprobs"]
            elif "summary_index" in event:
                item["summary"][event["summary_index"]]["text"] += event["delta"]
            else:
                item["input" if "custom" in kind else "arguments"] += event["delta"]
        elif kind == "response.output_item.done" and "status" in event["item"]:
            output[event["output_index"]]["status"] = event["item"]["status"]
    return output


def assembled_message(found):
    """Do what a client does with the events of a message; return its content."""
    content, pending = [], {}
    for event in found:
        if event["type"] == "content_block_start":
            assert event["index"] == len(content)
            content.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], content[event["index"]]
            if delta["type"] == "input_json_delta":
                pending[event["index"]] = pending.get(event["index"], "") + delta["partial_json"]
            else:
                name = delta["type"].removesuffix("_delta")
                block[name] += delta[name]
        elif event["type"] == "content_block_stop" and event["index"] in pending:
            content[event["index"]]["input"] = orjson.loads(pending[event["index"]])
    return content


SHOWN = st.sampled_from(["", "item", "summary"])


@examples(40)
@example(Answer("a " * 200 + "b" * 15), "", True, 1)  # event numbers of several digits, and little room for them
@given(answers(), SHOWN, st.booleans(), st.integers(1, 5))
def test_response_stream_assembles_to_the_whole_output(answer, shows, padded, per_chunk):
    output, events = ResponsesRenderer(0).render(answer, (shows, False, padded), Chunker(ESTIMATE, per_chunk))
    found = events()
    assert assembled_response(orjson.loads(orjson.dumps([event for _, event in found]))) == output
    assert [event["sequence_number"] for _, event in found] == list(range(2, 2 + len(found)))
    if padded:
        lengths = [len(event["delta"]) + len(event["obfuscation"]) for _, event in found if "delta" in event]
        assert all(length % 16 == 0 for length in lengths)


@examples(40)
@given(answers(), st.sampled_from(["", "omitted", "summarized"]), st.integers(1, 5))
def test_message_stream_assembles_to_the_whole_content(answer, shows, per_chunk):
    content, events = MessagesRenderer("Let me think.").render(answer, shows, Chunker(ESTIMATE, per_chunk))
    assert assembled_message(orjson.loads(orjson.dumps([event for _, event in events()]))) == content


# A conversation in neutral form: texts of either side, and calls with their results.
SAID = st.sampled_from(["Hello", "the weather in Paris", "and then?"]) | TEXT
EXCHANGES = st.lists(
    st.tuples(SAID, SAID.map(lambda text: ("text", text)) | st.integers(1, 2).map(lambda n: ("calls", n))), max_size=3
)
CONVERSATIONS = st.fixed_dictionaries(
    {
        "system": st.none() | st.sampled_from(["Be kind.", "Be brief."]),
        "exchanges": EXCHANGES,
        "last": st.none() | SAID,  # None: it ends with the results of tools
        "tools": st.booleans(),
        "call": st.sampled_from([None, "required", "get_weather"]),
    }
)
FUNCTION = WEATHER["function"]


def as_chat(conversation):
    messages = [{"role": "system", "content": conversation["system"]}] if conversation["system"] else []
    for number, (asked, (kind, answered)) in enumerate(conversation["exchanges"]):
        messages.append({"role": "user", "content": asked})
        if kind == "text":
            messages.append({"role": "assistant", "content": answered})
            continue
        ids = [f"call_{number}{place}" for place in range(answered)]
        function = {"name": "get_weather", "arguments": "{}"}
        calls = [{"id": id_, "type": "function", "function": function} for id_ in ids]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": id_, "content": "22"} for id_ in ids]
    body = {"model": "m", "messages": messages}
    if conversation["last"] is not None or not messages or messages[-1]["role"] != "tool":
        messages.append({"role": "user", "content": conversation["last"] or ""})
    if conversation["tools"]:
        body["tools"] = [WEATHER]
        if conversation["call"]:
            named = {"type": "function", "function": {"name": "get_weather"}}
            body["tool_choice"] = "required" if conversation["call"] == "required" else named
    return body


def as_response(chat):
    body, items = {"model": "m"}, []
    for message in chat["messages"]:
        if message["role"] == "system":
            body["instructions"] = message["content"]
        elif message["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": "22"})
        elif message["content"] is not None:
            kind = "output_text" if message["role"] == "assistant" else "input_text"
            items.append({"role": message["role"], "content": [{"type": kind, "text": message["content"]}]})
        for call in message.get("tool_calls", ()):
            items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
    if "tools" in chat:
        body["tools"] = [{"type": "function", **FUNCTION}]
    if (choice := chat.get("tool_choice")) is not None:
        body["tool_choice"] = choice if isinstance(choice, str) else {"type": "function", "name": "get_weather"}
    return body | {"input": items}


def as_message(chat):
    body, messages = {"model": "m", "max_tokens": 2000}, []
    for message in chat["messages"]:
        if message["role"] == "system":
            body["system"] = [{"type": "text", "text": message["content"]}]
        elif message["role"] == "tool":
            block = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": "22"}
            if messages[-1]["role"] != "user":
                messages.append({"role": "user", "content": []})
            messages[-1]["content"].append(block)
        elif message["role"] == "user" and messages and messages[-1]["role"] == "user":  # with the results before it
            messages[-1]["content"].append({"type": "text", "text": message["content"]})
        elif message.get("tool_calls"):
            blocks = [
                {"type": "tool_use", "id": c["id"], "name": "get_weather", "input": {}} for c in message["tool_calls"]
            ]
            messages.append({"role": "assistant", "content": blocks})
        else:
            messages.append({"role": message["role"], "content": message["content"]})
    if "tools" in chat:
        body["tools"] = [{"name": "get_weather", "input_schema": FUNCTION["parameters"]}]
    if (choice := chat.get("tool_choice")) is not None:
        body["tool_choice"] = {"type": "any"} if choice == "required" else {"type": "tool", "name": "get_weather"}
    return body | {"messages": messages}


def words_of_chat(body):
    message = orjson.loads(body)["choices"][0]["message"]
    calls = [(c["function"]["name"], orjson.loads(c["function"]["arguments"])) for c in message.get("tool_calls", ())]
    return message["content"] or message["refusal"] or "", calls, message.get("reasoning_content")


def words_of_response(output):
    texts = [part.get("text") or part.get("refusal") for item in output for part in item.get("content", ())]
    calls = [(i["name"], orjson.loads(i["arguments"])) for i in output if i["type"] == "function_call"]
    thoughts = [part["text"] for item in output for part in item.get("summary", ())]
    return "".join(filter(None, texts)), calls, thoughts[0] if thoughts else None


def words_of_message(content):
    texts = [block["text"] for block in content if block["type"] == "text"]
    calls = [(block["name"], block["input"]) for block in content if block["type"] == "tool_use"]
    thoughts = [block["thinking"] for block in content if block["type"] == "thinking"]
    return "".join(texts), calls, thoughts[0] if thoughts else None


CALLED = [{"name": "get_weather", "arguments": {"city": "$user_message", "unit": "c"}}]
RULES = [
    {"match": {"content_regex": "Paris", "turn": 1}, "content": "Sunny.", "tool_calls": [*CALLED, *CALLED]},
    {"match": {"content": "Hello"}, "content": "Hello $user_message, $system_prompt!", "reasoning": "A $user_message?"},
    {"match": {"turn": {"min": 3}}, "responses": ["One.", "Two.", "Three."]},
    {"match": {"tool_result": "get_weather", "messages": {"min": 4}}, "content": "It is 22 degrees."},
    {"match": {"last_role": "tool"}, "refusal": "I will not say it."},
    {"match": {"system_prompt": "brief"}, "content": "Yes."},
    {"match": {"tool": "get_weather"}, "content": "There is a tool for that."},
]
_APP = make_app()
_SETTINGS = {"responses": {"chat_completions": {"patterns": RULES}}, "tools": {"auto_call": True}}
_RULED = build(load(_SETTINGS, {}, {})[0])
_LENIENT = build(load(_SETTINGS | {"validation": "lenient"}, {}, {})[0])


@examples(80)
@given(CONVERSATIONS)
def test_rule_gives_the_same_text_in_every_dialect(conversation):
    chat = as_chat(conversation)
    expected = words_of_chat(sent(_LENIENT, PATH, chat))
    response, message = as_response(chat), as_message(chat)
    assert words_of_response(orjson.loads(sent(_LENIENT, RESPONSES, response))["output"]) == expected
    assert words_of_message(orjson.loads(sent(_LENIENT, MESSAGES, message))["content"]) == expected
    found = typed(sent(_LENIENT, RESPONSES, response, stream=True))
    assert (
        words_of_response(assembled_response(found)) == words_of_response(found[-1]["response"]["output"]) == expected
    )
    assert words_of_message(assembled_message(typed(sent(_LENIENT, MESSAGES, message, stream=True)))) == expected


def test_match_endpoint_distinguishes_dialects():
    rules = [{"match": {"endpoint": name}, "content": name} for name in ("chat_completions", "responses", "messages")]
    app = build(load({"responses": {"chat_completions": {"patterns": rules}}}, {}, {})[0])
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert words_of_chat(sent(app, PATH, chat))[0] == "chat_completions"
    assert words_of_response(orjson.loads(sent(app, RESPONSES, as_response(chat)))["output"])[0] == "responses"
    assert words_of_message(orjson.loads(sent(app, MESSAGES, as_message(chat)))["content"])[0] == "messages"


def test_response_manager_answers_every_dialect():
    class Mine(ResponseManager):
        def generate_chat_response(self, request_data, response_file=None):
            asked = request_data["messages"][-1]["content"]
            return {"choices": [{"message": {"content": f"You said {asked} for $5"}}]}

    app = build(load({}, {}, {})[0], Mine())
    chat = {"model": "m", "messages": [{"role": "user", "content": "hey"}]}
    expected = ("You said hey for $5", [], None)
    assert words_of_response(orjson.loads(sent(app, RESPONSES, {"input": "hey"}))["output"]) == expected
    assert words_of_message(orjson.loads(sent(app, MESSAGES, as_message(chat)))["content"]) == expected
    assert words_of_message(assembled_message(typed(sent(app, MESSAGES, as_message(chat), stream=True)))) == expected


def test_structured_output_is_valid_in_every_dialect():
    import jsonschema

    schema = FUNCTION["parameters"]
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    formed = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    expected = words_of_chat(sent(_APP, PATH, chat | {"response_format": formed}))[0]
    jsonschema.validate(orjson.loads(expected), schema)
    form = {"type": "json_schema", "schema": schema}
    response = {"input": "x", "text": {"format": form | {"name": "n"}}}
    assert words_of_response(orjson.loads(sent(_APP, RESPONSES, response))["output"])[0] == expected
    message = as_message(chat) | {"output_config": {"format": form}}
    made = words_of_message(orjson.loads(sent(_APP, MESSAGES, message))["content"])[0]
    jsonschema.validate(orjson.loads(made), schema)


@pytest.mark.parametrize("path", [PATH, RESPONSES, MESSAGES])
def test_stream_failing_midway_ends_with_the_dialect_error(path):
    app = make_app({"latency": {"itl": 10}})
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    body = {PATH: chat, RESPONSES: {"input": "x", "stream": True}, MESSAGES: as_message(chat) | {"stream": True}}[path]
    stream = app.handle(Request("POST", path, KEYS[path], orjson.dumps(body)))
    assert isinstance(stream, Stream)

    def broken(begin, end):
        raise OSError

    pacer = Pacer(stream.due_times, broken, 0.0, app.lateness, stream.failed)
    told = pacer.take(1e9)
    assert pacer.due is None
    if path == PATH:
        assert orjson.loads(told.removeprefix(b"data: "))["error"]["type"] == "server_error"
        return
    (event,) = typed(told)
    assert event["type"] == "error"
    if path == MESSAGES:
        assert event["error"] == {"type": "api_error", "message": "Internal server error"}
        assert event["request_id"] == stream.request_id
    else:
        assert event["message"].startswith("The server had an error")


@pytest.mark.parametrize("path", [PATH, RESPONSES, MESSAGES])
def test_whole_and_streamed_answers_are_due_at_the_same_time(path):
    app = make_app({"latency": {"ttft": 100, "itl": 10}, "output": {"kind": "counter", "tokens": 7}})
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    body = {PATH: chat, RESPONSES: {"input": "x"}, MESSAGES: as_message(chat)}[path]
    due_times = []
    for stream in (False, True):
        answer = app.handle(Request("POST", path, KEYS[path], orjson.dumps(body | {"stream": stream})))
        due_times.append([round(due, 3) for due in answer.due_times])
    assert due_times[0][-1] == due_times[1][-1] == 0.16
    assert len(due_times[1]) == 8  # a step a token, and one for the end


PART = {"type": "input_text", "text": "x"}
RICH_RESPONSE = {
    "model": "gpt-4o",
    "instructions": "i",
    "input": [
        {"role": "user", "content": [PART, {"type": "input_image", "detail": "low"}, {"type": "input_file"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "x"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c", "output": [PART]},
        {"type": "compaction", "encrypted_content": "dXNlcg=="},
        {"type": "computer_call_output", "call_id": "e", "output": {"type": "computer_screenshot"}},
    ],
    "tools": [{"type": "web_search"}, {"type": "function", **FUNCTION}, {"type": "custom", "name": "g"}],
    "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "g"}]},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": FUNCTION["parameters"]}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "top_logprobs": 2,
    "stream_options": {"include_obfuscation": True},
    "previous_response_id": "resp_x",
    "service_tier": "fast",
    "metadata": {"a": "b"},
    "background": True,
    "store": True,
    "max_output_tokens": 50,
    "temperature": 1,
    "user": "u",
}
TEXT_BLOCK = {"type": "text", "text": "x"}
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
RICH_MESSAGE = {
    "model": "claude",
    "max_tokens": 3000,
    "system": [TEXT_BLOCK],
    "messages": [
        {
            "role": "user",
            "content": [TEXT_BLOCK, {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}],
        },
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "c2ln"}, USE]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [TEXT_BLOCK]}]},
    ],
    "tools": [{"type": "bash_20250124", "name": "bash"}, {"name": "f", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"format": {"type": "json_schema", "schema": FUNCTION["parameters"]}},
    "stop_sequences": ["a", "b"],
    "metadata": {"user_id": "u"},
    "temperature": 1,
    "stream": False,
}


def changes_to(body):
    return st.lists(st.tuples(st.sampled_from([at for at in paths(body) if at]), OTHERS), max_size=2)


@examples(60)
@given(changes_to(RICH_RESPONSE), st.booleans())
def test_response_request_mutated_gets_an_answer_or_a_400(changes, stream):
    body = dict(RICH_RESPONSE, stream=stream)
    for at, to in changes:
        with suppress(KeyError, IndexError, TypeError):
            body = changed(body, at, to)
    reply = _RULED.handle(Request("POST", RESPONSES, KEY, _dumps(body)))
    assert reply.head.status in (200, 400), reply.body
    if reply.head.status == 400:
        assert orjson.loads(reply.body)["error"].keys() == {"message", "type", "param", "code"}
    assert changes or reply.head.status == 200


@examples(60)
@given(changes_to(RICH_MESSAGE), st.booleans(), st.sampled_from([MESSAGES, f"{MESSAGES}/count_tokens"]))
def test_message_request_mutated_gets_an_answer_or_a_400(changes, stream, path):
    body = dict(RICH_MESSAGE, stream=stream)
    for at, to in changes:
        with suppress(KeyError, IndexError, TypeError):
            body = changed(body, at, to)
    reply = _RULED.handle(Request("POST", path, ANTHROPIC, _dumps(body)))
    assert reply.head.status in (200, 400), reply.body
    if reply.head.status == 400:
        told = orjson.loads(reply.body)
        assert (told["type"], told["request_id"]) == ("error", reply.request_id)
        assert told["error"]["type"] == "invalid_request_error"
    assert changes or reply.head.status == 200


NAMES = st.sampled_from(["after", "limit", "order", "stream", "starting_after", "x"])
BELOW = st.sampled_from(["", "/cancel", "/input_items"]).map(lambda below: f"{RESPONSES}/resp_x{below}")
CONVERSATION = st.sampled_from(["", "/conv_x", "/conv_x/items", "/conv_x/items/msg_x"]).map("/v1/conversations".__add__)
ITEMS = OTHERS | st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": OTHERS}, optional={"type": OTHERS, "id": OTHERS})
)


def without(value):
    """Leave out what is gone."""
    if isinstance(value, dict):
        return {key: without(inner) for key, inner in value.items() if inner is not GONE}
    return [without(inner) for inner in value if inner is not GONE] if isinstance(value, list) else value


@examples(60)
@given(
    st.sampled_from(["GET", "POST", "DELETE"]),
    BELOW | CONVERSATION,
    st.dictionaries(NAMES, st.lists(st.text(max_size=4), min_size=1)),
    st.fixed_dictionaries({}, optional={"items": ITEMS, "metadata": OTHERS}),
)
def test_stored_responses_and_conversations_handle_any_request(method, path, query, body):
    body = without(body)
    for _ in range(2):
        reply = _RULED.handle(Request(method, path, KEY, _dumps(body), query))
        assert reply.head.status in (200, 400, 404, 405), reply.body
    reply = _RULED.handle(Request("POST", RESPONSES, KEY, orjson.dumps({"input": "x", "conversation": "conv_x"})))
    assert reply.head.status == 200, reply.body


CATEGORY_RULES = {
    "patterns": [
        {"match": {"content_contains": "kill"}, "flag": ["violence"]},
        {"match": {"content_contains": "kill", "model": "strict"}, "priority": 1, "flag": {"violence": 1, "hate": 0.5}},
        {"match": {"content": "kill the process"}, "priority": 2, "flag": []},
    ]
}


def moderated(app, body):
    reply = app.handle(Request("POST", "/v1/moderations", KEY, orjson.dumps(body)))
    assert reply.head.status == 200, reply.body
    return orjson.loads(reply.body)


def test_moderations_flag_the_configured_categories():
    app = build(load({"responses": {"moderations": CATEGORY_RULES}}, {}, {})[0])
    many = moderated(app, {"input": ["Hello", "I kill you", "kill the process"]})
    assert many["model"] == "omni-moderation-latest"
    assert [result["flagged"] for result in many["results"]] == [False, True, False]
    for result in many["results"]:
        names = result["categories"].keys()
        assert len(names) == 13
        assert names == result["category_scores"].keys() == result["category_applied_input_types"].keys()
        assert all((score > 0.7) == result["categories"][name] for name, score in result["category_scores"].items())
        assert set(map(tuple, result["category_applied_input_types"].values())) == {("text",)}
    assert moderated(app, {"input": "I kill you"})["results"] == many["results"][1:2]
    (strict,) = moderated(app, {"model": "strict", "input": "kill"})["results"]
    assert [name for name, flagged in strict["categories"].items() if flagged] == ["hate", "violence"]
    assert strict["category_scores"]["hate"] == 0.5
    parts = [{"type": "text", "text": "kill"}, {"type": "image_url", "image_url": {"url": "x"}}]
    (both,) = moderated(app, {"input": parts})["results"]
    assert both["flagged"]
    of_images = {name for name, kinds in both["category_applied_input_types"].items() if kinds == ["text", "image"]}
    assert of_images == {
        "self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence", "violence/graphic",
    }  # fmt: skip


@pytest.mark.parametrize("given", [None, 3, [], [3], ["a", 3], [{"type": "sound"}], [{"type": "text"}]])
def test_moderations_with_a_wrong_input_are_a_400(given):
    reply = _APP.handle(Request("POST", "/v1/moderations", KEY, orjson.dumps({"input": given})))
    assert reply.head.status == 400
    assert orjson.loads(reply.body)["error"]["param"].startswith("input")


def test_models_can_be_deleted():
    for strict, status in ((False, 200), (True, 404)):
        app = make_app({"models": {"available": ["ft:gpt-4o:acme::1"], "strict": strict}})
        reply = app.handle(Request("DELETE", "/v1/models/ft:gpt-4o:acme::1", KEY, b""))
        assert orjson.loads(reply.body) == {"id": "ft:gpt-4o:acme::1", "object": "model", "deleted": True}
        assert app.handle(Request("DELETE", "/v1/models/other", KEY, b"")).head.status == status


def test_strict_ids_and_models_are_404():
    app = make_app({"stored": {"strict_ids": True}, "models": {"strict": True}})
    for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        reply = app.handle(Request(method, f"{RESPONSES}/resp_{'0' * 32}{below}", KEY, b""))
        assert (reply.head.status, orjson.loads(reply.body)["error"]["param"]) == (404, "id")
    for method, below in (("GET", ""), ("DELETE", ""), ("GET", "/items"), ("GET", "/items/x"), ("DELETE", "/items/x")):
        assert app.handle(Request(method, f"/v1/conversations/conv_x{below}", KEY, b"")).head.status == 404
    asked = orjson.dumps({"input": "x", "conversation": "conv_x"})
    assert app.handle(Request("POST", RESPONSES, KEY, asked)).head.status == 404
    gone = app.handle(Request("POST", RESPONSES, KEY, orjson.dumps({"previous_response_id": "resp_x"})))
    assert orjson.loads(gone.body)["error"]["code"] == "previous_response_not_found"
    unknown = app.handle(Request("POST", RESPONSES, KEY, orjson.dumps({"model": "nobody", "input": "x"})))
    assert unknown.head.status == 404
    chat = {"model": "nobody", "messages": [{"role": "user", "content": "x"}]}
    unknown = app.handle(Request("POST", MESSAGES, ANTHROPIC, orjson.dumps(as_message(chat) | {"model": "nobody"})))
    assert orjson.loads(unknown.body)["error"] == {"type": "not_found_error", "message": "model: nobody"}


def test_auth_key_is_read_from_the_header_of_the_dialect():
    app = make_app({"auth": {"mode": "keys", "keys": ["right"]}})
    chat = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    for path, headers, status in (
        (MESSAGES, {"x-api-key": "right"}, 200),
        (MESSAGES, {"authorization": "Bearer right"}, 200),
        (MESSAGES, {"x-api-key": "wrong"}, 401),
        (MESSAGES, {}, 401),
        (PATH, {"x-api-key": "right"}, 401),
        (RESPONSES, {"x-api-key": "right"}, 401),
    ):
        body = as_message(chat) if path == MESSAGES else chat | {"input": "x"}
        reply = app.handle(Request("POST", path, headers, orjson.dumps(body)))
        assert reply.head.status == status
        assert ("request_id" in orjson.loads(reply.body)) == (status == 401 and path == MESSAGES)


def test_explain_recognizes_every_dialect():
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    for body, headers in (
        (chat, {}),
        (as_response(chat), {}),
        (as_message(chat), {"anthropic-version": "2023-06-01"}),
        (as_message(chat) | {"system": "s"}, {}),
    ):
        assert "patterns[1]" in _RULED.readings.explain(orjson.dumps(body), headers).winner


def test_prompt_cache_and_context_window_apply_in_every_dialect():
    window = {"per_model": [{"model": "m", "context_window": 3000}], "usage": {"simulate_prompt_cache": True}}
    app = make_app(window)
    for path, read in (
        (RESPONSES, ("input_tokens_details", "cached_tokens")),
        (MESSAGES, ("cache_read_input_tokens",)),
    ):
        long = as_chat({"system": path, "exchanges": [], "last": "word " * 2500, "tools": False, "call": None})
        body = as_response(long) if path == RESPONSES else as_message(long) | {"max_tokens": 9}
        found = []
        for _ in range(2):
            usage = orjson.loads(sent(app, path, body))["usage"]
            for name in read:
                usage = usage[name]
            found.append(usage)
        assert found[0] == 0 < 1024 <= found[1]
        longer = as_chat({"system": path, "exchanges": [], "last": "word " * 5000, "tools": False, "call": None})
        body = as_response(longer) if path == RESPONSES else as_message(longer)
        refused = app.handle(Request("POST", path, KEYS[path], orjson.dumps(body)))
        assert refused.head.status == 400
        told = orjson.loads(refused.body)["error"]
        if path == RESPONSES:
            assert (told["param"], told["code"]) == ("input", "context_length_exceeded")
        else:
            assert re.fullmatch(r"prompt is too long: \d+ tokens > 3000 maximum", told["message"])
            refused = app.handle(
                Request("POST", path, KEYS[path], orjson.dumps(as_message(long) | {"max_tokens": 2500}))
            )
            assert re.match(
                r"input length and `max_tokens` exceed context limit: \d+ \+ 2500 > 3000, ",
                orjson.loads(refused.body)["error"]["message"],
            )
