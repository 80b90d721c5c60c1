"""Settings of sessions: faults, latency, limits and strict mode for one session alone."""

import time

import httpx
import orjson
import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.config.overlay import Overlay
from fastmock.core.http import Request, Stream
from fastmock.core.problems import ConfigError
from fastmock.shared.block import SINCE

unit, integration = pytest.mark.unit, pytest.mark.integration
on_both = pytest.mark.parametrize("runtime", ["robyn", "granian"])
PATH = "/v1/chat/completions"
FAIL = {"kind": "status", "status": 503, "times": 1}


def app_of(config=None, **sessions):
    overlay = Overlay()
    for name, settings in sessions.items():
        overlay = overlay.configuring_session(name, settings)
    loaded, problems = load(config or {}, {}, {}, overlay=overlay)
    assert problems == []
    return build(loaded)


def ask(app, session="", content="Hello", header=False, **more):
    headers = {"authorization": f"Bearer {f'{session}:' if session and not header else ''}sk-test"}
    headers |= {"x-fastmock-session": session} if header else {}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]} | more
    return app.handle(Request("POST", PATH, headers, orjson.dumps(body)))


def statuses(app, *sessions, **more):
    return [ask(app, session, **more).head.status for session in sessions]


@unit
def test_faults_of_a_session_affect_it_alone():
    app = app_of(one={"faults": [FAIL]}, two={"faults": [{**FAIL, "status": 429, "times": 2}]})
    assert statuses(app, "", "one", "one", "two", "two", "two") == [200, 503, 200, 429, 429, 200]


@unit
def test_faults_of_a_session_come_before_those_of_all():
    app = app_of({"faults": [{"kind": "status", "status": 500}]}, one={"faults": [FAIL]})
    assert statuses(app, "one", "one", "two") == [503, 500, 500]


@unit
def test_added_faults_accumulate_and_those_without_a_session_affect_all():
    overlay = Overlay().adding_faults([FAIL], "one").adding_faults([{**FAIL, "status": 429}], "one")
    overlay = overlay.adding_faults([{**FAIL, "status": 500}], "")
    app = build(load({}, {}, {}, overlay=overlay)[0])
    assert statuses(app, "one", "one", "one", "one", "two", "two") == [503, 429, 500, 200, 500, 200]
    app = build(load({}, {}, {}, overlay=overlay.removing_faults("one"))[0])
    assert statuses(app, "one", "one") == [500, 200]
    app = build(load({}, {}, {}, overlay=overlay.removing_faults(""))[0])
    assert statuses(app, "one") == [200]


@unit
def test_counters_of_faults_of_a_session_survive_changes_of_others():
    overlay = Overlay().adding_faults([{**FAIL, "times": 2}], "one")
    before = build(load({}, {}, {}, overlay=overlay)[0])
    assert statuses(before, "one") == [503]
    after = build(load({}, {}, {}, overlay=overlay.adding_faults([FAIL], "two"))[0], previous=before)
    after.share.join(before.share.numbers, 0)
    assert statuses(after, "one", "one", "two", "two") == [503, 200, 503, 200]
    after.faults.forget("one")
    assert statuses(after, "one", "two") == [503, 200]


@unit
def test_window_of_a_fault_opens_when_it_is_added():
    window = {"kind": "status", "status": 503, "window": {"duration": 0.3}}
    app = app_of({"faults": []}, one={"faults": [window]})
    app.share.numbers[SINCE] = 0  # the configuration is older
    assert statuses(app, "one") == [503]
    time.sleep(0.35)
    assert statuses(app, "one") == [200]


@unit
def test_limits_of_a_session_replace_others_for_it():
    app = app_of({"limits": {"requests_per_minute": 3}}, one={"limits": {"requests_per_minute": 1}})
    assert statuses(app, "one", "one", "two", "two", "two", "two") == [200, 429, 200, 200, 200, 429]
    assert statuses(app, "one", "one", header=True) == [200, 429]  # for each API key
    app = app_of(one={"limits": {"requests_per_minute": 1}})
    assert statuses(app, "one", "one", "two", "two") == [200, 429, 200, 200]


@unit
def test_latency_of_a_session_delays_it_alone_and_leaves_chunks_of_others():
    plain = ask(app_of(), stream=True)
    app = app_of(one={"latency": {"ttft": 50, "itl": 10}})
    for _ in range(3):  # seen before or not
        assert isinstance(ask(app, "one", stream=True), Stream)
        other = ask(app, "two", stream=True)
        assert not isinstance(other, Stream)
        assert other.body.count(b"data: ") == plain.body.count(b"data: ")
        assert ask(app, "one").due_times is not None
        assert ask(app, "two").due_times is None


@unit
def test_latency_of_a_rule_has_precedence_over_that_of_its_session():
    rule = {"match": {"content": "fast"}, "content": "x", "latency": {"ttft": 0}}
    config = {"responses": {"chat_completions": {"rules": [rule]}}}
    app = app_of(config, one={"latency": {"ttft": 50}})
    assert ask(app, "one").due_times is not None
    assert ask(app, "one", "fast").due_times is None


@unit
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"faults": [{"kind": "stauts"}]}, "faults[0].kind: is not a fault: 'stauts'; did you mean 'status'?"),
        ({"faults": [{"kind": "status", "statsu": 1}]}, "faults[0].statsu: unknown name; did you mean 'status'?"),
        ({"latency": {"tftt": 1}}, "latency.tftt: unknown name; did you mean 'ttft'?"),
        (
            {"limits": {"requests_per_minute": 0}},
            "limits.requests_per_minute: must be greater than or equal to 1, not 0",
        ),
        ([], "must be an object"),
    ],
)
def test_invalid_settings_are_refused_with_their_path(given, problem):
    with pytest.raises(ConfigError) as raised:
        Overlay().configuring_session("one", given)
    assert [str(one) for one in raised.value.problems] == [problem]


@unit
@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 129])
def test_invalid_name_is_refused(name):
    with pytest.raises(ConfigError):
        Overlay().configuring_session(name, {})


@integration
@on_both
def test_sessions_are_independent_over_the_control_api(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "2")

    def send(session):
        headers = {"authorization": f"Bearer {session}:sk-test"}
        body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]})
        return httpx.post(f"{server.url}{PATH}", headers=headers, content=body).status_code

    def control(method, path, body=None, session="one"):
        return server.control(method, path, body, x_fastmock_session=session)

    assert control("POST", "faults", FAIL)[0] == 200
    assert control("POST", "faults", {"faults": [{**FAIL, "status": 429}]}, "two")[0] == 200
    shown = control("GET", "faults")[1]
    assert shown == {"faults": {"one": [FAIL]}}
    assert [send(session) for session in ("one", "two", "one", "two", "three")] == [503, 429, 200, 200, 200]
    assert control("POST", "reset", {"counters": True})[0] == 200
    assert [send(session) for session in ("one", "two")] == [503, 200]
    assert control("POST", "reset")[0] == 200
    assert control("GET", "faults")[1] == {"faults": {}}
    assert [send(session) for session in ("one", "two")] == [200, 200]
    assert control("PUT", "sessions/one", {"latency": {"ttft": 300}})[0] == 200
    begin = time.monotonic()
    assert send("one") == 200
    assert time.monotonic() - begin >= 0.3
    assert control("POST", "faults", {"kind": "sttus"})[0] == 400
    assert control("DELETE", "faults")[0] == 200
