"""Stored completions, responses and conversations."""

import orjson
import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Request
from fastmock.responses import ResponseManager
from tests.providers.openai.test_chat import HELLO, PATH
from tests.providers.openai.test_tools import ASKED
from tests.support import KEY, make_app

pytestmark = pytest.mark.unit


def test_response_manager_answer_is_stored():
    class Mine(ResponseManager):
        def generate_chat_response(self, request_data, response_file=None):
            return {"choices": [{"message": {"content": "mine"}}]}

    app = build(load({}, {}, {})[0], Mine())
    made = app.handle(Request("POST", PATH, KEY, orjson.dumps(HELLO | {"store": True})))
    path = f"{PATH}/{orjson.loads(made.body)['id']}"
    found = orjson.loads(app.handle(Request("GET", path, KEY, b"")).body)
    assert found["choices"][0]["message"]["content"] == "mine"


def test_stored_completion_keeps_its_request_parameters(call):
    post = call()
    made = orjson.loads(post(PATH, ASKED | {"store": True, "metadata": {"a": "b"}, "temperature": 0.5}).body)
    found = orjson.loads(post(f"/v1/chat/completions/{made['id']}", method="GET", headers=KEY).body)
    assert found["metadata"] == {"a": "b"}
    assert found["temperature"] == 0.5
    assert found["tools"] == ASKED["tools"]
    assert {key: found[key] for key in made} == made


@pytest.mark.parametrize("depth", [200, 245, 247, 249, 250, 251, 254, 300, 900])
@pytest.mark.parametrize(
    ("path", "listing"),
    [("/v1/conversations", "items"), ("/v1/responses", "input_items"), ("/v1/chat/completions", "messages")],
)
def test_deeply_nested_body_is_refused_or_stored_and_listed(path, listing, depth):
    app = make_app()
    deep = b"[" * depth + b"]" * depth
    item = b'{"type":"message","role":"user","content":[{"type":"input_text","text":"x","more":%b}]}' % deep
    message = b'{"role":"user","content":"x","more":%b}' % deep
    bodies = {
        "/v1/conversations": b'{"items":[%b]}' % item,
        "/v1/responses": b'{"model":"gpt-4o","input":[%b]}' % item,
        "/v1/chat/completions": b'{"model":"gpt-4o","store":true,"messages":[%b]}' % message,
    }
    reply = app.handle(Request("POST", path, KEY, bodies[path]))
    assert reply.head.status in (200, 400)
    if reply.head.status == 400:
        assert depth > 240
        return
    assert depth < 250
    name = orjson.loads(reply.body)["id"]
    assert app.handle(Request("GET", f"{path}/{name}/{listing}", KEY, b"")).head.status == 200
    assert app.handle(Request("GET", f"{path}/{name}", KEY, b"")).head.status == 200
