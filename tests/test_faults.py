"""What goes wrong on purpose."""

import re
from collections import Counter

import orjson
import pytest

from .conftest import KEY, make_app

pytestmark = pytest.mark.unit

PATH = "/v1/chat/completions"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
STATUS = {
    "rate_limit": (429, "rate_limit_exceeded"),
    "insufficient_quota": (429, "insufficient_quota"),
    "server_error": (500, None),
    "bad_gateway": (502, None),
    "service_unavailable": (503, None),
    "timeout": (408, "request_timeout"),
}


def failing(call, **server):
    return call({"server": {"simulate_errors": True, **server}})


@pytest.mark.parametrize("kind", STATUS)
def test_each_type_is_an_envelope(call, kind):
    reply = failing(call, error_rate=1, error_types={kind: 3})(PATH, HELLO)
    error = orjson.loads(reply.body)["error"]
    assert (reply.head.status, error["code"]) == STATUS[kind]
    assert error.keys() == {"message", "type", "param", "code"}
    wait = dict(reply.head.headers).get("retry-after")
    assert (wait is not None) == (kind == "rate_limit")
    if wait:
        assert "gpt-4o in organization org-fastmock" in error["message"]
        assert re.search(rf"try again in {wait}s", error["message"])


def test_rates_and_weights_hold(call):
    post = failing(call, error_rate=0.3, error_types={"timeout": 1, "server_error": 2, "rate_limit": 0})
    seen = Counter(post(PATH, HELLO).head.status for _ in range(6000))
    assert seen.keys() == {200, 408, 500}
    # Five standard deviations of the binomial distribution.
    assert abs(seen[408] - 600) < 5 * (6000 * 0.1 * 0.9) ** 0.5
    assert abs(seen[500] - 1200) < 5 * (6000 * 0.2 * 0.8) ** 0.5


def test_a_key_decides_and_a_retry_can_succeed(call):
    post, again = failing(call, error_rate=0.5), failing(call, error_rate=0.5)
    keys = [KEY | {"x-fastmock-key": f"request {number}"} for number in range(64)]
    fates = [post(PATH, HELLO, headers=key).head.status for key in keys]
    assert len(set(fates)) > 3
    assert fates == [again(PATH, HELLO | {"n": 2}, headers=key).head.status for key in reversed(keys)][::-1]
    other = call({"seed": 1, "server": {"simulate_errors": True, "error_rate": 0.5}})
    assert fates != [other(PATH, HELLO, headers=key).head.status for key in keys]
    without = {post(PATH, HELLO).head.status for _ in range(64)}
    assert 200 in without
    assert len(without) > 3


def test_who_may_not_call_learns_that_first_and_health_never_fails(call):
    post = failing(call, error_rate=1)
    assert post(PATH, HELLO, headers={}).head.status == 401
    assert post("/health", method="GET").head.status == 200
    assert post(PATH, b"\xff").head.status != 200


def test_off_there_is_no_guard_but_the_key():
    assert len(make_app()._guards) == 1
