"""Strict mode: requests that no rule matches are refused."""

import orjson
import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.config.overlay import Overlay
from fastmock.core.http import Request
from fastmock.responses import ResponseManager
from tests.support import KEY, make_app

pytestmark = pytest.mark.unit
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RULE = {"name": "greeting", "match": {"content": "Hello"}, "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def body_of(content, **more):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]} | more


def responses(strict, **more):
    return {"responses": {"strict": strict, "chat_completions": {"rules": [RULE]}} | more}


def send(app, body, path=CHAT, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = app.handle(Request("POST", path, KEY | named, orjson.dumps(body)))
    return answer.head.status, orjson.loads(answer.body) if answer.body[:1] == b"{" else answer.body


def test_strict_mode_refuses_what_no_rule_matches_and_names_the_nearest():
    app = make_app(responses(True))
    assert send(app, body_of("Hello"))[0] == 200
    for _ in range(3):  # seen before or not
        status, error = send(app, body_of("Hallo"))
        assert (status, error["error"]["code"], error["error"]["type"]) == (
            404,
            "no_rule_matched",
            "invalid_request_error",
        )
        assert "The nearest rule is 'greeting': content is 'Hallo', not 'Hello'." in error["error"]["message"]
    assert send(app, body_of("Hallo", stream=True))[0] == 404
    assert send(app, body_of("Hello", stream=True))[0] == 200


def test_strict_mode_is_off_by_default():
    assert send(make_app({}), body_of("Hallo"))[0] == 200


def test_strict_mode_without_rules_says_so():
    status, error = send(make_app({"responses": {"strict": True}}), body_of("Hallo"))
    assert status == 404
    assert "nearest" not in error["error"]["message"]


def test_strict_mode_covers_all_endpoints_with_rules_in_the_words_of_their_providers():
    app = make_app(responses(True))
    assert send(app, {"model": "gpt-3.5-turbo-instruct", "prompt": "Hallo"}, COMPLETIONS)[0] == 404
    assert send(app, {"model": "gpt-4o", "input": "Hallo"}, "/v1/responses")[0] == 404
    assert send(app, {"model": "gpt-4o", "input": "Hello"}, "/v1/responses")[0] == 200
    status, error = send(app, body_of("Hallo", max_tokens=9), "/v1/messages", x_api_key="k")
    assert (status, error["type"], error["error"]["type"]) == (404, "error", "not_found_error")
    assert send(app, {"model": "text-embedding-3-small", "input": "Hallo"}, "/v1/embeddings")[0] == 200
    assert send(app, {"input": "Hallo"}, "/v1/moderations")[0] == 200


def test_endpoint_has_precedence_over_all():
    app = make_app(responses(True, responses={"strict": False}, completions={"strict": "allow_generated"}))
    assert send(app, {"model": "gpt-4o", "input": "Hallo"}, "/v1/responses")[0] == 200
    assert send(app, body_of("Hallo"))[0] == 404
    assert send(app, {"model": "gpt-3.5-turbo-instruct", "prompt": "Hallo"}, COMPLETIONS)[0] == 404


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        ({}, False),
        ({"tools": [TOOL]}, False),
        ({"tools": [TOOL], "tool_choice": "required"}, True),
        ({"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "JSON, now"}]}, True),
    ],
)
def test_generated_tool_calls_and_json_are_answers_only_where_allowed(more, allowed):
    assert send(make_app(responses(True)), body_of("Hallo") | more)[0] == 404
    assert send(make_app(responses("allow_generated")), body_of("Hallo") | more)[0] == (200 if allowed else 404)


def test_header_has_precedence_where_control_headers_are_on():
    app = make_app({"server": {"control_headers": True}} | responses(False))
    for _ in range(3):
        assert send(app, body_of("Hallo"))[0] == 200
        assert send(app, body_of("Hallo"), x_fastmock_strict="true")[0] == 404
    assert send(make_app(responses(False)), body_of("Hallo"), x_fastmock_strict="true")[0] == 200
    app = make_app({"server": {"control_headers": True}} | responses(True))
    assert send(app, body_of("Hallo"), x_fastmock_strict="False")[0] == 200
    status, error = send(app, body_of("Hallo"), x_fastmock_strict="maybe")
    assert (status, error["error"]["param"]) == (400, "x-fastmock-strict")


def test_session_has_precedence_over_the_configuration():
    overlay = Overlay().configuring_session("careful", {"strict": True}).configuring_session("easy", {"strict": False})
    app = build(
        load(responses(None) | {"responses": {"chat_completions": {"rules": [RULE]}}}, {}, {}, overlay=overlay)[0]
    )
    for _ in range(3):
        assert send(app, body_of("Hallo"))[0] == 200
        assert send(app, body_of("Hallo"), authorization="Bearer careful:sk-test")[0] == 404
        assert send(app, body_of("Hallo"), x_fastmock_session="easy")[0] == 200


def test_response_manager_gets_the_error_from_the_rules():
    class Mine(ResponseManager):
        def generate_chat_response(self, data, file=None):
            if data["messages"][0]["content"] == "mine":
                return {"choices": [{"message": {"content": "from Python"}}]}
            return super().generate_chat_response(data, file)

    app = build(load(responses(True), {}, {})[0], Mine())
    assert send(app, body_of("mine"))[0] == 200
    assert send(app, body_of("Hello"))[0] == 200
    assert send(app, body_of("Hallo"))[1]["error"]["code"] == "no_rule_matched"


def test_wrong_value_is_reported_with_its_path():
    _, problems = load({"responses": {"strict": "yes please"}}, {}, {})
    assert [problem.path for problem in problems] == ["responses.strict"]
    config, problems = load({}, {"FASTMOCK_RESPONSES_STRICT": "true"}, {})
    assert problems == []
    assert config.settings.responses.strict is True
