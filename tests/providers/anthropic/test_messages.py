"""The Messages API: errors in Anthropic's form, tokens of streams."""

import pytest

from fastmock.responses import ResponseManager
from tests.providers.test_dialect_details import IMPOSSIBLE, body_of, refused, ruled, text_of
from tests.providers.test_dialects import (
    MESSAGES,
    sent,
    typed,
)

pytestmark = pytest.mark.unit


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
