"""What the dialects owe in corners: of counts, ids, errors, streams. Without a socket."""

import orjson
import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Request, Stream
from fastmock.latency.pacer import UNCOUNTED, Pacer
from fastmock.responses import ApiError, ResponseManager
from tests.providers.openai.test_chat import PATH
from tests.providers.test_dialects import (
    KEYS,
    MESSAGES,
    RESPONSES,
    assembled_message,
    assembled_response,
    sent,
    typed,
    words_of_chat,
    words_of_message,
    words_of_response,
)
from tests.support import KEY

pytestmark = pytest.mark.unit


def ruled(*patterns, manager=None, **settings):
    """Compile an app of some patterns."""
    config = {"responses": {"chat_completions": {"patterns": [{"match": {}, **one} for one in patterns]}}, **settings}
    loaded, problems = load(config, {}, {})
    assert problems == []
    return build(loaded, manager)


def body_of(path, text, **more):
    said = {"messages": [{"role": "user", "content": text}]}
    least = {PATH: {"model": "m", **said}, RESPONSES: {"model": "m", "input": text}}
    return least.get(path, {"model": "m", "max_tokens": 2000, **said}) | more


def asked(app, path, body, method="POST", query=None):
    """Return the status and the parsed body of an answer."""
    given = () if query is None else (query,)
    reply = app.handle(Request(method, path, KEYS.get(path, KEY), orjson.dumps(body), *given))
    return reply.head.status, orjson.loads(reply.body)


def refused(app, path, body, **more):
    """Return the error of a request that is wrong."""
    status, told = asked(app, path, body, **more)
    assert status == 400, told
    return told["error"]


def streamed(app, path, body, method="POST", query=None):
    """Return the events of a stream, as they are sent when nothing is late."""
    given = () if query is None else (query,)
    answer = app.handle(Request(method, path, KEYS.get(path, KEY), orjson.dumps(body), *given))
    assert answer.head.status == 200
    assert ("content-type", "text/event-stream; charset=utf-8") in answer.head.headers
    if not isinstance(answer, Stream):
        return typed(answer.body)
    pacer, said = Pacer(answer.due_times, answer.cut, 0.0, UNCOUNTED, answer.failed), b""
    while pacer.due is not None:
        said += pacer.take(pacer.due)
    return typed(said)


def text_of(app, path, text, stream=False, **more):
    """Return the words of an answer, whole or of a stream."""
    body = sent(app, path, body_of(path, text, **more), stream)
    if path == PATH and stream:
        chunks = [orjson.loads(part[6:]) for part in body.decode().split("\n\n") if part.startswith("data: {")]
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    if path == PATH:
        return words_of_chat(body)[0]
    if path == RESPONSES:
        return words_of_response(assembled_response(typed(body)) if stream else orjson.loads(body)["output"])[0]
    return words_of_message(assembled_message(typed(body)) if stream else orjson.loads(body)["content"])[0]


EVERY = pytest.mark.parametrize("path", [PATH, RESPONSES, MESSAGES])
EITHER = pytest.mark.parametrize("stream", [False, True])


@EVERY
@EITHER
def test_template_token_variables_equal_the_usage(path, stream):
    app = ruled({"content": "$prompt_tokens $completion_tokens $total_tokens"})
    prompt, completion, total = map(int, text_of(app, path, "x", stream).split())
    assert 0 < completion == total - prompt
    usage = orjson.loads(sent(app, path, body_of(path, "x")))["usage"]
    assert completion == usage.get("completion_tokens", usage.get("output_tokens"))


FORCED = {
    "model": "gpt-forced",
    "choices": [{"message": {"content": "Forced."}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
}


@EITHER
def test_scripted_response_model_and_usage_are_sent_in_every_dialect(stream):
    app = ruled({"response": FORCED})
    body = sent(app, RESPONSES, body_of(RESPONSES, "x"), stream)
    whole = typed(body)[-1]["response"] if stream else orjson.loads(body)
    usage = whole["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (100, 50, 150)
    assert whole["model"] == "gpt-forced"
    if stream:
        assert typed(body)[0]["response"]["model"] == "gpt-forced"
    body = sent(app, MESSAGES, body_of(MESSAGES, "x"), stream)
    message = typed(body)[0]["message"] if stream else orjson.loads(body)
    usage = message["usage"] | (typed(body)[-2]["usage"] if stream else {})
    assert (message["model"], usage["input_tokens"], usage["output_tokens"]) == ("gpt-forced", 100, 50)


def test_scripted_usage_may_leave_parts_to_be_counted():
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": "$completion_tokens",
        "prompt_tokens_details": {"cached_tokens": 64},
    }
    app = ruled({"response": FORCED | {"model": "${model}-2024", "usage": usage}})
    message = orjson.loads(sent(app, MESSAGES, body_of(MESSAGES, "x")))
    assert message["model"] == "m-2024"
    assert (message["usage"]["input_tokens"], message["usage"]["cache_read_input_tokens"]) == (36, 64)
    assert 0 < message["usage"]["output_tokens"] < 50
    begun = orjson.loads(sent(app, RESPONSES, body_of(RESPONSES, "x", background=True)))
    assert (begun["status"], begun["model"]) == ("queued", "m-2024")


class Echoes(ResponseManager):
    def generate_chat_response(self, request_data, response_file=None):
        return {"choices": [{"message": {"content": request_data["messages"][-1]["content"]}}]}


SIGNS = [
    "A\0fastmock\0B",
    "\0fastmock\0model",
    "\0~model\0",
    "\0=model\0",
    "\0~nobody\0",
    "$\0x",
    "$$model",
    "\0fastmock\0$",
]


@EVERY
@EITHER
@pytest.mark.parametrize("said", SIGNS)
def test_user_text_is_never_taken_for_a_template_placeholder(path, stream, said):
    app = ruled({"content": "You said: $user_message"})
    assert text_of(app, path, said, stream) == f"You said: {said}"
    assert text_of(ruled(manager=Echoes()), path, said, stream) == said
    schema = {"type": "object", "properties": {"a": {"const": said}}, "required": ["a"]}
    tool = {"name": "f", "parameters": schema}
    if path == PATH:
        more = {"tools": [{"type": "function", "function": tool}], "tool_choice": "required"}
        words = words_of_chat
    elif path == RESPONSES:
        more = {"tools": [{"type": "function", **tool}], "tool_choice": "required"}
        words = lambda body: words_of_response(orjson.loads(body)["output"])  # noqa: E731
    else:
        more = {"tools": [{"name": "f", "input_schema": schema}], "tool_choice": {"type": "any"}}
        words = lambda body: words_of_message(orjson.loads(body)["content"])  # noqa: E731
    assert words(sent(app, path, body_of(path, "x", **more)))[1] == [("f", {"a": said})]


@EITHER
def test_reasoning_left_empty_by_a_rule_is_not_generated(stream):
    app = ruled({"content": "Said.", "reasoning": ""})
    for thinking in ({}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}):
        body = sent(app, MESSAGES, body_of(MESSAGES, "x", **thinking), stream)
        content = assembled_message(typed(body)) if stream else orjson.loads(body)["content"]
        assert [block["type"] for block in content] == ["text"]
    for reasoning, kinds in ({}, ["message"]), ({"effort": "low", "summary": "auto"}, ["reasoning", "message"]):
        body = sent(app, RESPONSES, body_of(RESPONSES, "x", reasoning=reasoning), stream)
        output = assembled_response(typed(body)) if stream else orjson.loads(body)["output"]
        assert [item["type"] for item in output] == kinds
        assert all(item.get("summary", []) == [] for item in output)


CONVERSATIONS = "/v1/conversations"
SAID = {"role": "user", "content": "a"}


@pytest.mark.parametrize("wrong", [{}, [], 3, True])
def test_item_id_that_is_no_string_is_a_400(wrong):
    app = ruled()
    items = [SAID, SAID | {"id": wrong}]
    assert refused(app, RESPONSES, {"input": items})["param"] == "input[1].id"
    assert refused(app, CONVERSATIONS, {"items": items})["param"] == "items[1].id"
    assert refused(app, f"{CONVERSATIONS}/conv_x/items", {"items": items})["param"] == "items[1].id"
    assert refused(app, f"{RESPONSES}/input_tokens", {"input": items})["param"] == "input[1].id"


def test_item_ids_that_are_duplicates_are_a_400():
    app = ruled()
    items = [SAID | {"id": "msg_a"}, SAID | {"id": "msg_a"}]
    assert refused(app, RESPONSES, {"input": items})["message"].startswith("Duplicate item found with id msg_a.")
    assert refused(app, CONVERSATIONS, {"items": items})["param"] == "items"


def test_item_fields_that_are_null_are_filled_in():
    app = ruled()
    items = [SAID | {"id": None, "type": None, "status": None}, {"role": "user", "content": "b", "id": None}]
    _, made = asked(app, RESPONSES, {"input": items})
    _, listed = asked(app, f"{RESPONSES}/{made['id']}/input_items", None, "GET", {"order": ["asc"]})
    _, conversation = asked(app, CONVERSATIONS, {"items": items})
    below = f"{CONVERSATIONS}/{conversation['id']}/items"
    _, of_conversation = asked(app, below, None, "GET", {"order": ["asc"]})
    for found in (listed["data"], of_conversation["data"]):
        assert [item["content"][0]["text"] for item in found] == ["a", "b"]
        assert len({item["id"] for item in found}) == 2
        assert all(item["type"] == "message" and item["status"] == "completed" for item in found)
    _, page = asked(app, below, None, "GET", {"order": ["asc"], "limit": ["1"], "after": [of_conversation["first_id"]]})
    assert [item["content"][0]["text"] for item in page["data"]] == ["b"]


STRIKES = [{"after": 4}, {"after": "50%"}, {"after": 1}, {"after": "25ms"}]
PACED = pytest.mark.parametrize("latency", [{}, {"itl": 10}])


@PACED
@pytest.mark.parametrize("strike", STRIKES)
def test_error_event_in_a_response_stream_has_the_next_sequence_number(latency, strike):
    app = ruled(latency=latency, faults=[{"kind": "error_event", "status": 503, **strike}])
    found = streamed(app, RESPONSES, {"input": "x", "stream": True})
    if found[-1]["type"] == "error":
        assert found[-1]["param"] is None
        assert len(found) > 1
    else:  # where nothing takes time, no time is reached
        assert (strike, latency) == ({"after": "25ms"}, {})
    assert [event["sequence_number"] for event in found] == list(range(len(found)))


def test_response_stream_failing_midway_ends_with_the_next_sequence_number():
    app = ruled(latency={"itl": 10})
    answer = app.handle(Request("POST", RESPONSES, KEY, orjson.dumps({"input": "x", "stream": True})))
    numbering = answer.cut.__self__
    known = numbering._cut

    def breaking(begin, end):
        if end > 3:
            raise OSError
        return known(begin, end)

    numbering._cut = breaking
    pacer, said = Pacer(answer.due_times, answer.cut, 0.0, UNCOUNTED, answer.failed), b""
    while pacer.due is not None:
        said += pacer.take(pacer.due)
    found = typed(said)
    assert found[-1]["type"] == "error"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert len(found) > 4


def test_response_retrieved_as_a_stream_takes_error_events():
    app = ruled(faults=[{"kind": "error_event", "status": 503, "after": 4, "match": {"endpoint": "other"}}])
    _, made = asked(app, RESPONSES, {"input": "x"})
    found = streamed(app, f"{RESPONSES}/{made['id']}", None, "GET", {"stream": ["true"]})
    assert [event["sequence_number"] for event in found] == [0, 1, 2, 3, 4]
    assert found[-1]["type"] == "error"


def again(app, id_, **query):
    """Return the events of a response that is streamed again."""
    query = {name: [value] for name, value in ({"stream": "true"} | query).items()}
    return streamed(app, f"{RESPONSES}/{id_}", None, "GET", query)


CUT_OFF = {"choices": [{"message": {"content": "Once upon"}, "finish_reason": "length"}]}


def test_response_retrieved_as_a_stream_equals_the_first_stream():
    app = ruled({"match": {"content": "long"}, "response": CUT_OFF}, {"content": "Said."})
    for text in ("x", "long"):
        first = streamed(app, RESPONSES, {"input": text, "stream": True})
        assert again(app, first[-1]["response"]["id"]) == first
        assert first[0]["response"]["completed_at"] is None
        whole = first[-1]["response"]
        assert (whole["completed_at"] is None) == (whole["status"] == "incomplete") == (text == "long")


def test_response_cancelled_is_streamed_with_a_failed_event():
    app = ruled()
    _, begun = asked(app, RESPONSES, {"input": "x", "background": True})
    asked(app, f"{RESPONSES}/{begun['id']}/cancel", None)
    found = again(app, begun["id"])
    assert [event["type"] for event in found] == ["response.created", "response.in_progress", "response.failed"]
    assert found[-1]["response"]["status"] == "cancelled"


def test_response_stream_starting_after_continues_there():
    app = ruled()
    _, made = asked(app, RESPONSES, {"input": "x"})
    everything = again(app, made["id"])
    for after in ("-1", "-3", "-" + "9" * 30):
        assert again(app, made["id"], starting_after=after) == everything
    assert again(app, made["id"], starting_after="2") == everything[3:]
    for wrong in ("", "x", "1.5", "--1"):
        query = {"stream": ["true"], "starting_after": [wrong]}
        told = refused(app, f"{RESPONSES}/{made['id']}", None, method="GET", query=query)
        assert told["param"] == "starting_after"


def test_previous_response_of_a_conversation_includes_its_turns():
    app = ruled({"match": {"turn": 3}, "content": "The third."}, {"match": {"turn": 4}, "content": "The fourth."})
    asked(app, RESPONSES, {"input": "One", "conversation": "conv_x"})
    _, second = asked(app, RESPONSES, {"input": "Two", "conversation": {"id": "conv_x"}})
    asked(app, RESPONSES, {"input": "Not seen", "conversation": "conv_x"})
    _, third = asked(app, RESPONSES, {"input": "Three", "previous_response_id": second["id"]})
    assert words_of_response(third["output"])[0] == "The third."
    _, fourth = asked(app, RESPONSES, {"input": "Four", "previous_response_id": third["id"]})
    assert words_of_response(fourth["output"])[0] == "The fourth."
    app.handle(Request("DELETE", f"{CONVERSATIONS}/conv_x", KEY, b""))
    status, _ = asked(app, RESPONSES, {"input": "Three", "previous_response_id": second["id"]})
    assert status == 200


TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
HOSTED = {"type": "web_search"}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": {}}]}, "tools[0].type"),
        ({"tools": [TOOL, {"type": 5}]}, "tools[1].type"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": 5}, "tools"),
        ({"tool_choice": {"type": ["a"]}}, "tool_choice.type"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": ["a"]}}, "tool_choice.type"),
        ({"tools": [HOSTED], "tool_choice": {"type": ["a"]}}, "tool_choice.type"),
        ({"tool_choice": "junk"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": "junk"}, "tool_choice"),
        ({"tools": [HOSTED], "tool_choice": "junk"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"tools": [HOSTED], "tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"tools": [HOSTED], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [3]}},
            "tool_choice.tools[0]",
        ),
    ],
)
def test_response_tools_and_tool_choice_are_validated(more, param):
    assert refused(ruled(), RESPONSES, {"input": "x"} | more)["param"] == param


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"tool_choice": None, "tools": None},
        {"tools": [HOSTED], "tool_choice": "required"},
        {"tools": [HOSTED], "tool_choice": HOSTED},
        {"tools": [HOSTED, TOOL], "tool_choice": HOSTED},
        {"tools": [HOSTED], "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [HOSTED]}},
    ],
)
def test_response_tool_choice_accepts_hosted_tools(more):
    _, made = asked(ruled(), RESPONSES, {"input": "x"} | more)
    assert [item["type"] for item in made["output"]] == ["message"]


IMPOSSIBLE = {"type": "object", "properties": {"a": False}, "required": ["a"]}
NAMED = {"name": "f", "input_schema": {"type": "object"}}
BASH = {"type": "bash_20250124", "name": "bash"}


@pytest.mark.parametrize(
    ("more", "begin"),
    [
        ({"max_tokens": 10**12}, "max_tokens: 1000000000000 > "),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": IMPOSSIBLE}}},
            "output_config.format.schema: In ",
        ),
        ({"output_format": {"type": "json_schema", "schema": IMPOSSIBLE}}, "output_format.schema: In "),
        (
            {"tools": [BASH, {"name": "f", "input_schema": IMPOSSIBLE}], "tool_choice": {"type": "any"}},
            "tools.1.custom.input_schema: In ",
        ),
        ({"thinking": {"type": "x"}}, "thinking: Input tag 'x' found "),
        ({"thinking": {}}, "thinking.type: Field required"),
        ({"thinking": {"type": ["enabled"]}}, "thinking.type: Input should be a valid string"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: "),
        ({"tool_choice": {"type": "tool", "name": "f"}, "tools": []}, "tool_choice: "),
        ({"tool_choice": {"type": "x"}}, "tool_choice: "),
        ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [NAMED, BASH]}, "tool_choice: Tool 'g' not found"),
        ({"tools": {}}, "tools: "),
    ],
)
def test_message_request_with_an_error_gets_the_anthropic_message(more, begin):
    for app in (ruled(), ruled(manager=ResponseManager())):
        told = refused(app, MESSAGES, body_of(MESSAGES, "x") | more)
        assert told["message"].startswith(begin)
        assert "response_format" not in told["message"]
        assert told["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": {"type": "auto"}},
        {"tool_choice": {"type": "none"}, "tools": []},
        {"tool_choice": {"type": "any"}, "tools": [BASH]},
        {"tool_choice": {"type": "tool", "name": "bash"}, "tools": [BASH, NAMED]},
        {"thinking": {"type": "disabled"}},
        {"thinking": None, "tools": None, "tool_choice": None},
    ],
)
def test_message_request_that_is_valid_is_accepted(more):
    assert text_of(ruled(), MESSAGES, "x", **more)


def test_message_stream_output_tokens_never_decrease():
    app = ruled({"content": "one two"})
    for stop in ("one", "two"):
        found = typed(sent(app, MESSAGES, body_of(MESSAGES, "x", stop_sequences=[stop]), stream=True))
        begun, ended = found[0]["message"]["usage"]["output_tokens"], found[-2]["usage"]["output_tokens"]
        assert (begun, ended > 0) == ((0, False) if stop == "one" else (1, True))
        assert found[-2]["delta"]["stop_reason"] == "stop_sequence"


class Raises(ResponseManager):
    def __init__(self, error):
        self.error = error

    def generate_chat_response(self, request_data, response_file=None):
        super().generate_chat_response(request_data, response_file)
        if self.error is not None:
            raise self.error
        return []


def test_response_manager_default_matches_by_dialect():
    names = ("chat_completions", "responses", "messages")
    app = ruled(*({"match": {"endpoint": name}, "content": f"By {name}."} for name in names), manager=ResponseManager())
    assert [text_of(app, path, "x") for path in (PATH, RESPONSES, MESSAGES)] == [f"By {name}." for name in names]


def test_response_manager_default_keeps_message_parameters():
    rule = {"match": {"metadata": {"user_id": "u"}}, "content": "It is u."}
    patterns = [rule, {"content": "one two three"}]
    managed, alone = ruled(*patterns, manager=ResponseManager()), ruled(*patterns)
    stops = [f"x{number}" for number in range(9)]
    for more in (
        {"stop_sequences": [*stops, "three"]},
        {"stop_sequences": ["three"]},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "stop_sequences": ["three"]},
        {"metadata": {"user_id": None}},
        {"metadata": {"user_id": "u" * 600}},
        {"metadata": {"user_id": "u"}},
        {"tools": [{"name": "f" * 70, "input_schema": {"type": "object"}}]},
        {"tools": [{"name": "f" * 70, "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"}},
    ):
        found = [orjson.loads(sent(app, MESSAGES, body_of(MESSAGES, "x", **more))) for app in (managed, alone)]
        for one in found:
            del one["id"]
            for block in one["content"]:
                block.pop("id", None)
        assert found[0] == found[1]


def test_response_manager_default_errors_name_the_parameter_that_was_sent():
    bad = [HOSTED, {"type": "function", "name": "f", "parameters": IMPOSSIBLE}]
    form = {"format": {"type": "json_schema", "name": "n", "schema": IMPOSSIBLE}}
    window = [{"model": "m", "context_window": 60}]
    for manager in (None, ResponseManager()):
        app = ruled(manager=manager, per_model=window)
        for more, param in (
            ({"tools": bad, "tool_choice": "required"}, "tools[1].parameters"),
            ({"text": form}, "text.format"),
            ({"input": "word " * 200}, "input"),
        ):
            told = refused(app, RESPONSES, body_of(RESPONSES, "x") | more)
            assert told["param"] == param
        reply = app.handle(Request("POST", MESSAGES, KEYS[MESSAGES], b"{"))
        assert orjson.loads(reply.body)["error"]["message"] == "The request body is not valid JSON"
        told = refused(app, MESSAGES, body_of(MESSAGES, "word " * 200))
        assert told["message"].startswith("prompt is too long: ")


@EVERY
@pytest.mark.parametrize(
    ("error", "status", "words", "kinds"),
    [
        (ValueError("gone"), 500, "The response manager failed: ValueError: gone", ("server_error", "api_error")),
        (None, 500, "The response manager failed: it returned list, not a dict", ("server_error", "api_error")),
        (ApiError(429, "Slow down"), 429, "Slow down", ("invalid_request_error", "rate_limit_error")),
        (ApiError(503, "Busy", kind="mine"), 503, "Busy", ("mine", "mine")),
        (
            ApiError(400, "'messages' are wrong", "messages"),
            400,
            "'messages' are wrong",
            ("invalid_request_error",) * 2,
        ),
    ],
)
def test_response_manager_errors_are_sent_unchanged(path, error, status, words, kinds):
    found, told = asked(ruled(manager=Raises(error)), path, body_of(path, "x"))
    assert found == status
    assert told["error"]["message"].startswith(words)
    assert told["error"]["type"] == kinds[path == MESSAGES]
    if status == 400 and path != MESSAGES:
        assert told["error"]["param"] == "messages"


@EVERY
def test_response_manager_default_errors_have_the_form_of_the_dialect(path):
    app = ruled(manager=ResponseManager(), models={"strict": True, "available": ["other"]})
    status, told = asked(app, path, body_of(path, "x"))
    assert status == 404
    if path == MESSAGES:
        assert told["error"]["message"] == "model: m"


def test_strict_models_apply_to_counting_and_moderations():
    app = ruled(models={"strict": True, "available": ["known"]})
    for path in (f"{RESPONSES}/input_tokens", f"{RESPONSES}/compact", f"{MESSAGES}/count_tokens"):
        least = body_of(path.removesuffix("/count_tokens"), "x") | {"input": "x"}
        assert asked(app, path, least | {"model": "known"})[0] == 200
        status, told = asked(app, path, least | {"model": "nobody"})
        assert status == 404
        assert "nobody" in told["error"]["message"]
    assert asked(app, f"{RESPONSES}/input_tokens", {"input": "x"})[0] == 200
    assert asked(app, "/v1/moderations", {"input": "x"})[1]["model"] == "omni-moderation-latest"
    assert asked(app, "/v1/moderations", {"input": "x", "model": "nobody"})[0] == 404
    assert asked(app, "/v1/moderations", {"input": "x", "model": "known"})[0] == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"prompt": {"id": "pmpt_x"}, "input": "x"}, "responses"),
        ({"prompt": {"id": "pmpt_x"}}, "responses"),
        ({"previous_response_id": "resp_x"}, "responses"),
        ({"conversation": "conv_x", "model": "m"}, "responses"),
        ({"instructions": "Be kind."}, "responses"),
        ({"input": "x"}, "responses"),
        (body_of(PATH, "x"), "chat_completions"),
        (body_of(PATH, "x", prompt="x", instructions="x"), "chat_completions"),
        (body_of(MESSAGES, "x", system="Be kind."), "messages"),
    ],
)
def test_explain_recognizes_the_endpoint_by_the_body(body, kind):
    names = ("chat_completions", "responses", "messages")
    app = ruled(*({"match": {"endpoint": name}, "name": f"by-{name}"} for name in names))
    assert f"by-{kind}" in app.explain(orjson.dumps(body), {}).winner


def test_explain_recognizes_a_legacy_completion_by_its_prompt():
    assert "completions.default" in ruled().explain(orjson.dumps({"model": "m", "prompt": "x"}), {}).winner


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
def test_prompt_cache_counts_a_prompt_once_with_a_response_manager(path):
    app = ruled(manager=ResponseManager(), usage={"simulate_prompt_cache": True})
    found = []
    for _ in range(2):
        usage = orjson.loads(sent(app, path, body_of(path, "word " * 2500)))["usage"]
        found.append(usage.get("cache_read_input_tokens", usage.get("input_tokens_details", {}).get("cached_tokens")))
    assert found[0] == 0 < 1024 <= found[1]
