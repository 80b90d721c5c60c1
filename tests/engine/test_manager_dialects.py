"""Response managers in every dialect."""

import orjson
import pytest

from fastmock.core.http import Request
from fastmock.responses import ApiError, ResponseManager
from tests.providers.openai.test_chat import PATH
from tests.providers.test_dialect_details import EVERY, HOSTED, IMPOSSIBLE, asked, body_of, refused, ruled, text_of
from tests.providers.test_dialects import (
    KEYS,
    MESSAGES,
    RESPONSES,
    sent,
)

pytestmark = pytest.mark.unit


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


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
def test_prompt_cache_counts_a_prompt_once_with_a_response_manager(path):
    app = ruled(manager=ResponseManager(), usage={"simulate_prompt_cache": True})
    found = []
    for _ in range(2):
        usage = orjson.loads(sent(app, path, body_of(path, "word " * 2500)))["usage"]
        found.append(usage.get("cache_read_input_tokens", usage.get("input_tokens_details", {}).get("cached_tokens")))
    assert found[0] == 0 < 1024 <= found[1]
