"""Parameters at their limits: integers out of range, lengths of lists, models that need no key."""

import orjson
import pytest

from tests.support import KEY, make_app

pytestmark = pytest.mark.unit

EMBEDDINGS, CHAT, LEGACY = "/v1/embeddings", "/v1/chat/completions", "/v1/completions"
USER = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}


def data(reply):
    assert reply.head.status == 200, reply.body
    return orjson.loads(reply.body)


def refused(reply):
    assert reply.head.status == 400, reply.body
    return orjson.loads(reply.body)["error"]


@pytest.mark.parametrize("number", ["123456789012345678901234567890", "-99999999999999999999", "9223372036854775808"])
def test_integer_out_of_range_is_named_exactly_in_the_error(call, number):
    body = orjson.dumps(USER)[:-1] + b',"seed":%b}' % number.encode()
    error = refused(call()(CHAT, body))
    bound = ">= -9223372036854775808" if number.startswith("-") else "<= 9223372036854775807"
    assert error["message"].endswith(f"Expected a value {bound}, but got {number} instead.")
    data(call()(CHAT, USER | {"seed": 2**63 - 1}))


@pytest.mark.parametrize("path", ["/v1/responses/resp_x/input_items", "/v1/chat/completions"])
def test_list_limit_of_0_is_a_400(path):
    from fastmock.core.http import Request

    request = Request("GET", path, KEY, b"", {"limit": ["0"]})
    assert refused(make_app().handle(request))["code"] == "integer_below_min_value"


def test_models_endpoint_can_be_open_without_a_key():
    from fastmock.core.http import Request

    for is_open, status in ((True, 200), (False, 401)):
        app = make_app({"auth": {"open_models": is_open}})
        for path in ("/v1/models", "/models", "/v1/models/gpt-4o"):
            assert app.handle(Request("GET", path, {}, b"")).head.status == status
        assert app.handle(Request("DELETE", "/v1/models/gpt-4o", {}, b"")).head.status == 401
        assert app.handle(Request("POST", CHAT, {}, orjson.dumps(USER))).head.status == 401
