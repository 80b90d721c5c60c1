"""``GET /ready``: the start, the script, the setting, and the time before a stop."""

import signal
import time

import httpx
import pytest

from fastmock.core.http import Request
from fastmock.core.problems import ConfigError
from fastmock.shared import readiness
from fastmock.shared.readiness import STARTED, STOPPING, Readiness
from tests.support import KEY, joined_shares, make_app, wait_until

SCRIPT = [(10.0, False), (20.0, True)]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("elapsed", "delay", "ready", "script", "obstacle"),
    [
        (0, 0, None, [], ""),
        (4, 5, None, [], "starting"),
        (5, 5, None, [], ""),
        (9, 5, None, SCRIPT, ""),
        (10, 5, None, SCRIPT, "not ready by script"),
        (20, 5, None, SCRIPT, ""),
        (1, 5, True, [], ""),
        (9, 5, False, SCRIPT, "set to not ready"),
    ],
)
def test_obstacle_follows_the_settings(monkeypatch, elapsed, delay, ready, script, obstacle):
    [share, other] = joined_shares(2)
    share.numbers[STARTED] = 7_000_000_000
    monkeypatch.setattr(readiness.time, "monotonic_ns", lambda: 7_000_000_000 + int(elapsed * 1e9))
    assert Readiness(other, delay, ready, script).obstacle() == obstacle
    share.numbers[STOPPING] = 1
    assert Readiness(other, delay, ready, script).obstacle() == "stopping"


@pytest.mark.unit
def test_probes_need_no_key_and_have_no_other_method():
    app = make_app({"readiness": {"ready": False}})
    answer = app.handle(Request("GET", "/ready", {}, b""))
    assert (answer.head.status, answer.body) == (503, b'{"status":"not ready","reason":"set to not ready"}')
    assert app.handle(Request("GET", "/ready/", {}, b"")).head.status == 503
    assert app.handle(Request("POST", "/ready", KEY, b"{}")).head.status == 405
    assert app.handle(Request("GET", "/health", {}, b"")).head.status == 200


@pytest.mark.unit
def test_script_must_ascend():
    with pytest.raises((AssertionError, ConfigError)):
        make_app({"readiness": {"script": [{"at": 2, "ready": True}, {"at": 1, "ready": False}]}})


@pytest.mark.integration
@pytest.mark.parametrize("runtime", ["granian", "robyn"])
def test_server_is_not_ready_while_it_starts_and_before_it_stops(serve, runtime):
    config = {
        "startup": {"delay": 1.0},
        "readiness": {"drain_delay": 1.5},
        "server": {"runtime": runtime, "workers": 2},
    }
    began = time.monotonic()
    server = serve(config)

    def ready():
        return httpx.get(f"{server.url}/ready").json()

    if time.monotonic() - began < 0.9:
        assert ready() == {"status": "not ready", "reason": "starting"}
    assert wait_until(lambda: ready() == {"status": "ready"}, 10)
    assert server.control("PUT", "config", {"readiness": {"ready": False}})[0] == 200
    assert ready()["reason"] == "set to not ready"
    assert server.control("PUT", "config", {"readiness": {"ready": None}})[0] == 200
    server.process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: ready() == {"status": "not ready", "reason": "stopping"}, 5)
    assert httpx.get(f"{server.url}/v1/models", headers=KEY).status_code == 200  # requests are still accepted
    assert server.process.wait(20) == 0


@pytest.mark.integration
def test_second_signal_stops_at_once(serve):
    server = serve({"readiness": {"drain_delay": 60}})
    server.process.send_signal(signal.SIGTERM)
    assert wait_until(lambda: httpx.get(f"{server.url}/ready").status_code == 503, 5)
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 20


@pytest.mark.integration
@pytest.mark.parametrize("runtime", ["granian", "robyn"])
def test_every_response_names_the_replica_where_control_headers_are_on(serve, runtime):
    server = serve({"server": {"control_headers": True, "replica": "a-1"}}, "--runtime", runtime)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    for stream in (False, True, False):
        answered = httpx.post(f"{server.url}/v1/chat/completions", json={**body, "stream": stream}, headers=KEY)
        assert (answered.status_code, answered.headers["x-fastmock-replica"]) == (200, "a-1")
    for path in ("/health", "/ready", "/v1/unknown"):
        assert httpx.get(f"{server.url}{path}", headers=KEY).headers["x-fastmock-replica"] == "a-1"
    server = serve({}, "--runtime", runtime)
    assert "x-fastmock-replica" not in httpx.get(f"{server.url}/health").headers
