"""Semantic faults: wrong answers in a right form, in all dialects."""

import jsonschema
import orjson
import pytest

from fastmock.core.http import Request, Stream
from tests.support import KEY, make_app

pytestmark = pytest.mark.unit
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
    },
    "required": ["city", "unit", "days"],
    "additionalProperties": False,
}
ARGUMENTS = {"city": "Paris", "unit": "celsius", "days": 3}
RULES = [
    {"match": {"content": "call"}, "tool_calls": [{"name": "look", "arguments": ARGUMENTS}]},
    {"match": {"content": "two"}, "tool_calls": [{"name": "look", "arguments": ARGUMENTS}] * 2},
    {"match": {"content": "json"}, "content": '{"a": 1}'},
]
FORMS = ["chat", "responses", "messages"]
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
PROSE = "The quick brown fox jumps over the lazy dog."


def app_of(*faults, **more):
    answers = {"rules": RULES, "default": {"content": PROSE}}
    return make_app({"faults": list(faults), "responses": {"chat_completions": answers}} | more)


def body_of(form, text, tools=False, json=False):
    if form == "responses":
        body = {"model": "gpt-4o", "input": text}
        body |= (
            {"tools": [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}]} if tools else {}
        )
        return body | ({"text": {"format": {"type": "json_object"}}} if json else {})
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    if form == "messages":
        return body | {"max_tokens": 900} | ({"tools": [{"name": "look", "input_schema": SCHEMA}]} if tools else {})
    body |= {"tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}]} if tools else {}
    return body | ({"response_format": {"type": "json_object"}} if json else {})


class Said:
    """An answer in neutral form: its text, its calls as (id, name, arguments), its refusal, and its reason to end."""

    def __init__(self, form, document):
        self.text, self.calls, self.refusal, self.reasoning = "", [], None, ""
        self.document = document
        getattr(self, f"_{form}")(document)

    def _chat(self, document):
        choice = document["choices"][0]
        message = choice["message"]
        self.text, self.refusal, self.reason = message["content"] or "", message["refusal"], choice["finish_reason"]
        self.reasoning = message.get("reasoning_content") or ""
        self.calls = [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        ]

    def _responses(self, document):
        self.reason = (document["incomplete_details"] or {}).get("reason") or document["status"]
        for item in document["output"]:
            if item["type"] == "function_call":
                self.calls.append((item["call_id"], item["name"], item["arguments"]))
            elif item["type"] == "message":
                for part in item["content"]:
                    self.text += part.get("text", "")
                    self.refusal = part.get("refusal")

    def _messages(self, document):
        self.reason = document["stop_reason"]
        for block in document["content"]:
            if block["type"] == "tool_use":
                self.calls.append((block["id"], block["name"], orjson.dumps(block["input"]).decode()))
            elif block["type"] == "text":
                self.text += block["text"]
        if self.reason == "refusal":
            self.refusal = self.text


def ask(app, form, text="Hello", **more):
    reply = app.handle(
        Request("POST", PATHS[form], KEY | {"x-api-key": "k"}, orjson.dumps(body_of(form, text, **more)))
    )
    assert reply.head.status == 200, reply.body
    return Said(form, orjson.loads(reply.body))


def events_of(app, form, text="Hello", **more):
    body = body_of(form, text, **more) | {"stream": True}
    answer = app.handle(Request("POST", PATHS[form], KEY | {"x-api-key": "k"}, orjson.dumps(body)))
    assert answer.head.status == 200
    data = answer.cut(0, answer.steps) if isinstance(answer, Stream) else answer.body
    return data.decode()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["call", "Hello"])
def test_unknown_tool_is_called(form, text):
    app = app_of({"kind": "unknown_tool", "name": "fly"})
    for _ in range(3):  # seen before or not
        assert [call[1] for call in ask(app, form, text, tools=True).calls] == ["fly"]
    assert ask(app, form, text).calls == ask(app_of(), form, text).calls or text == "call"  # none were offered
    assert "fly" in events_of(app, form, text, tools=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("violation", "keyword"),
    [
        ("missing", "required"),
        ("type", "type"),
        ("extra", "additionalProperties"),
        ("enum", "enum"),
        ("bounds", "maxLength"),
    ],
)
def test_arguments_break_their_schema_in_exactly_the_stated_way(form, violation, keyword):
    validator = jsonschema.Draft202012Validator(SCHEMA)
    app = app_of({"kind": "invalid_arguments", "violation": violation})
    [(_, _, arguments)] = ask(app, form, "call", tools=True).calls
    found = list(validator.iter_errors(orjson.loads(arguments)))
    assert [error.validator for error in found] == [keyword]
    assert list(validator.iter_errors(ARGUMENTS)) == []


@pytest.mark.parametrize("violation", ["missing", "type", "extra", "enum", "bounds"])
def test_arguments_are_left_alone_where_the_schema_leaves_no_such_way(violation):
    from fastmock.faults.kinds.invalid_arguments import _BREAKS

    for schema in ({}, {"type": "object"}, {"properties": {"a": {}}}, {"properties": {"a": True}, "required": ["b"]}):
        assert _BREAKS[violation]({"a": 1}, schema) is None
    for schema in ({"properties": ["a"], "required": 5}, {"properties": 5, "required": {"a": 1}}):
        assert _BREAKS[violation]({"a": 1}, schema) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "minItems": 3},  # the argument is none
        {"type": "string", "maxLength": 10**12},
        {"type": "integer", "maximum": 2**64 - 1},
        {"type": "integer", "maximum": 1.5},
    ],
)
def test_bounds_that_no_sensible_value_exceeds_are_left_alone(schema):
    from fastmock.faults.kinds.invalid_arguments import _BREAKS

    assert _BREAKS["bounds"]({"a": 1}, {"properties": {"a": schema}}) is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["call", "two"])
def test_two_calls_have_the_same_id(form, text):
    said = ask(app_of({"kind": "duplicate_call_id"}), form, text, tools=True)
    ids = [call[0] for call in said.calls]
    assert len(ids) == 2
    assert len(set(ids)) == 1


@pytest.mark.parametrize("form", FORMS)
def test_call_is_cut_in_its_arguments_by_the_length(form):
    app = app_of({"kind": "cut_arguments"})
    said = ask(app, form, "call", tools=True)
    assert said.reason in ("length", "max_output_tokens", "max_tokens")
    if form != "messages":  # whose arguments are an object in any case
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(said.calls[0][2])
    else:
        assert "partial_json" in events_of(app, form, "call", tools=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", ["call", "Hello"])
def test_answer_is_empty(form, text):
    said = ask(app_of({"kind": "empty_answer"}), form, text, tools=True)
    assert (said.text, said.calls) == ("", [])


@pytest.mark.parametrize("form", FORMS)
def test_answer_is_reasoning_alone(form):
    said = ask(app_of({"kind": "reasoning_only"}), form)
    assert said.text == ""
    assert said.reason in ("length", "max_output_tokens", "max_tokens")
    if form == "chat":
        assert said.reasoning == PROSE


@pytest.mark.parametrize("form", FORMS)
def test_model_refuses(form):
    app = app_of({"kind": "refusal", "message": "No way."})
    assert ask(app, form).refusal == "No way."
    assert "No" in events_of(app, form)


@pytest.mark.parametrize(
    ("form", "reason"), [("chat", "content_filter"), ("responses", "content_filter"), ("messages", "refusal")]
)
def test_content_filter_ends_the_answer(form, reason):
    app = app_of({"kind": "content_filter", "share": 0.25})
    said = ask(app, form)
    assert (said.reason, said.text) == (reason, PROSE[:11])
    assert f'"{reason}"' in events_of(app, form)


@pytest.mark.parametrize("form", ["chat", "responses"])
def test_prose_instead_of_demanded_json(form):
    app = app_of({"kind": "not_json"})
    assert ask(app, form, "Answer in JSON", json=True).text.startswith("Sure!")
    assert ask(app, form).text == PROSE


@pytest.mark.parametrize("form", FORMS)
def test_json_is_put_inside_of_a_fence(form):
    app = app_of({"kind": "fenced_json"})
    assert ask(app, form, "json").text == '```json\n{"a": 1}\n```'
    assert ask(app, form).text == PROSE


@pytest.mark.parametrize("form", FORMS)
def test_answer_repeats_itself_until_its_length(form):
    said = ask(app_of({"kind": "repetition_loop", "repetitions": 3}), form)
    assert said.text == " ".join([PROSE] * 3)
    assert said.reason in ("length", "max_output_tokens", "max_tokens")
    usage = said.document["usage"]
    plain = ask(app_of(), form).document["usage"]
    name = "completion_tokens" if form == "chat" else "output_tokens"
    assert usage[name] > 2 * plain[name]  # the usage is that of the changed answer


@pytest.mark.parametrize("form", FORMS)
def test_answer_is_in_another_language(form):
    assert ask(app_of({"kind": "wrong_language"}), form).text.startswith("Es tut mir leid")


def test_counts_limits_and_latency_apply_to_changed_answers():
    app = app_of({"kind": "refusal", "times": 1}, limits={"requests_per_minute": 9}, latency={"ttft": 20, "itl": 1})
    request = Request("POST", PATHS["chat"], KEY, orjson.dumps(body_of("chat", "Hello") | {"stream": True}))
    answer = app.handle(request)
    assert isinstance(answer, Stream)
    assert "x-ratelimit-limit-requests" in dict(answer.head.headers)
    assert answer.values
    assert "refusal" in answer.cut(0, answer.steps).decode()
    assert next(iter(answer.due_times)) >= 0.02
    assert ask(app, "chat").refusal is None
    [counted] = app.faults.counted()
    assert (counted["kind"], counted["chosen"]) == ("refusal", 1)


def test_requests_may_ask_for_them_and_plans_are_left_alone():
    app = app_of(server={"control_headers": True})
    body = orjson.dumps(body_of("chat", "Hello"))
    for _ in range(3):
        plain = app.handle(Request("POST", PATHS["chat"], KEY, body))
        changed = app.handle(Request("POST", PATHS["chat"], KEY | {"x-fastmock-fault": "refusal; message=No."}, body))
        assert Said("chat", orjson.loads(plain.body)).refusal is None
        assert Said("chat", orjson.loads(changed.body)).refusal == "No."
        assert dict(changed.more)["x-fastmock-fault"] == "refusal"


def test_other_endpoints_are_left_alone():
    app = app_of({"kind": "refusal"})
    body = orjson.dumps({"model": "text-embedding-3-small", "input": "x"})
    assert app.handle(Request("POST", "/v1/embeddings", KEY, body)).head.status == 200
    assert app.faults.counted()[0]["not_applicable"] == 1
