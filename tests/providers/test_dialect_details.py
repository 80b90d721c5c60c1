"""Details of the dialects: token counts, ids, errors, streams. Without a socket."""

import orjson
import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Request
from fastmock.responses import ResponseManager
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
def test_user_text_is_never_taken_for_a_template_placeholder(path, stream):
    app, echoing = ruled({"content": "You said: $user_message"}), ruled(manager=Echoes())
    for said in SIGNS:
        assert text_of(app, path, said, stream) == f"You said: {said}"
        assert text_of(echoing, path, said, stream) == said
        assert arguments_of(app, path, said) == {"a": said}


def arguments_of(app, path, said):
    """Return the arguments of a generated tool call, whose schema allows one text only."""
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
    [(name, arguments)] = words(sent(app, path, body_of(path, "x", **more)))[1]
    assert name == "f"
    return arguments


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


HOSTED = {"type": "web_search"}


IMPOSSIBLE = {"type": "object", "properties": {"a": False}, "required": ["a"]}


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
    assert f"by-{kind}" in app.readings.explain(orjson.dumps(body), {}).winner


def test_explain_recognizes_a_legacy_completion_by_its_prompt():
    assert "completions.default" in ruled().readings.explain(orjson.dumps({"model": "m", "prompt": "x"}), {}).winner
