"""A mockllm `responses.yml` used as a configuration, unchanged."""

import io

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.build import build
from fastmock.cli.main import main
from fastmock.config.load import load
from fastmock.core.http import Request
from tests.support import examples

pytestmark = pytest.mark.unit

FILE = """
responses:
  "what colour is the sky?": "The sky is purple, except on Tuesday when it costs $5."
  "what is 2+2?": '{"sum": 9}'
  tell me: $nothing

defaults:
  unknown_response: "I don't know the answer to that. This is a mock response."

settings:
  lag_enabled: true
  lag_factor: 20  # Higher values = faster responses (10 = fast, 1 = slow)
"""


def answered(app, content):
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": content}]})
    reply = app.handle(Request("POST", "/v1/chat/completions", {}, body))  # no key
    assert reply.head.status == 200
    due_times = list(reply.due_times or ())
    return orjson.loads(reply.body)["choices"][0]["message"]["content"], due_times[-1] if due_times else 0.0


def test_mockllm_file_is_served_unchanged(tmp_path):
    file = tmp_path / "responses.yml"
    file.write_text(FILE)
    config, problems = load(file, {}, {})
    assert problems == []
    assert config.form == "a mockllm file"
    app = build(config)
    sky, taken = answered(app, "what colour is the sky?")
    assert sky == "The sky is purple, except on Tuesday when it costs $5."
    assert taken == pytest.approx(len(sky) / (20 * 10), rel=0.01)
    assert answered(app, "tell me")[0] == "$nothing"
    assert answered(app, "What colour is the sky?")[0].startswith("I don't know the answer to that. This is")


def test_mockllm_file_without_lag_answers_at_once(tmp_path):
    file = tmp_path / "responses.yml"
    file.write_text("responses: {a: b}")
    app = build(load(file, {}, {})[0])
    assert answered(app, "a") == ("b", 0.0)
    assert answered(app, "c") == ("I don't know the answer to that.", 0.0)


@pytest.mark.parametrize("name", ["manager", "completions", "chat_completions", "embeddings"])
def test_mockllm_prompts_named_like_settings_are_prompts(name):
    others = {"hello": "Hi", name: "The manager is Bob"}, {name: "The manager is Bob"}
    for document in (
        {"responses": others[0], "defaults": {"unknown_response": "x"}},
        {"responses": others[1], "settings": {"lag_enabled": False}},
        {"responses": others[0]},
    ):
        config, problems = load(document, {}, {})
        assert (config.form, problems) == ("a mockllm file", [])
        assert answered(build(config), name)[0] == "The manager is Bob"


@pytest.mark.parametrize(
    "document",
    [
        {"responses": {"manager": "mine:Mine"}},
        {"responses": {"manager": "mine:Mine", "hello": "Hi"}},
        {"responses": {"completions": None}},
        {"responses": {}},
        {"responses": {"completions": {"default": {"content": "x"}}}, "defaults": {"unknown_response": "x"}},
    ],
)
def test_fastmock_config_is_not_taken_for_a_mockllm_file(document):
    assert load(document, {}, {})[0].form != "a mockllm file"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("responses: {42: yes, a: 3}", ["responses.42: must be a text", "responses.a: must be a text, not 3"]),
        ("responses: {a: b}\nsettings: {lag_factor: 0}", ["settings.lag_factor: must be a number above 0, not 0"]),
        ("responses: {a: b}\nsettings: {lag_enabled: 1}", ["settings.lag_enabled: must be true or false, not 1"]),
        ("responses: {a: b}\ndefaults: [x]", ["defaults: must be an object"]),
        # These are fastmock's own, with a mistake.
        ("responses: {chat_completion: {default: x.json}}", ["chat_completion: unknown name; did you mean"]),
        ("responses: {managr: 'a:B'}", ["managr: unknown name; did you mean 'manager'?"]),
    ],
)
def test_mockllm_file_errors_are_reported(tmp_path, text, expected):
    file = tmp_path / "responses.yml"
    file.write_text(text)
    said = io.StringIO()
    assert main(["check", str(file)], {}, io.StringIO(), said) == 2
    for one in expected:
        assert one in said.getvalue()


def test_mockllm_unknown_settings_are_warned_about(tmp_path):
    file = tmp_path / "responses.yml"
    file.write_text("responses: {a: b}\nsettings: {lag_enable: true}")
    said = io.StringIO()
    assert main(["check", str(file)], {}, said, io.StringIO()) == 0
    assert "settings.lag_enable: has no effect, as with mockllm; did you mean 'lag_enabled'?" in said.getvalue()


@examples(30)
@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.none() | st.text())
def test_mockllm_document_of_any_content_loads(responses, unknown):
    document = {"responses": responses, "defaults": {"unknown_response": unknown}}
    config, problems = load(document, {}, {})
    if config.form and not problems:
        build(config)
