"""The control API: rules and settings change while the server runs, on all workers at once."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from types import SimpleNamespace

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.build import build
from fastmock.config.load import load
from fastmock.config.overlay import NotThereError, Overlay, merged
from fastmock.control.api import Control
from fastmock.control.clearing import clear
from fastmock.control.redact import settings_shown
from fastmock.core.http import Reply, Request
from fastmock.core.problems import ConfigError
from fastmock.shared.ring_buffer import RingBuffer
from fastmock.telemetry.journal import HEAD_SIZE, Journal
from tests.support import KEY, examples, wait_until

PATH = "/v1/chat/completions"
unit, integration = pytest.mark.unit, pytest.mark.integration
on_both = pytest.mark.parametrize("runtime", ["robyn", "granian"])


def chat(content, **more):
    return {"model": "m", "messages": [{"role": "user", "content": content}]} | more


def rule(content, said, **more):
    return {"match": {"content": content}, "content": said} | more


def said(answer):
    return orjson.loads(answer.body)["choices"][0]["message"]["content"]


# What is laid over the configuration.


def app_of(overlay, **config):
    loaded, problems = load(config, {}, {}, overlay=overlay)
    assert problems == []
    return build(loaded)


def problems_of(call, *arguments):
    with pytest.raises(ConfigError) as raised:
        call(*arguments)
    return [str(problem) for problem in raised.value.problems]


@unit
def test_rules_added_at_runtime_precede_the_file_and_the_newest_comes_first():
    patterns = [rule("x", "file"), rule("x", "important", priority=5)]
    config = {"responses": {"chat_completions": {"patterns": patterns}}}
    overlay = Overlay().adding([rule("x", "first"), rule("x", "second", id="mine")], "")
    names = [placed.name for placed in load(config, {}, {}, overlay=overlay)[0].rules("chat_completions")]
    assert names == ["chat_completions.patterns[1]", "mine", "rule-1", "chat_completions.patterns[0]"]
    overlay = overlay.adding([rule("x", "highest", priority=9)], "")
    app = app_of(overlay, **config)
    assert said(app.handle(Request("POST", PATH, KEY, orjson.dumps(chat("x"))))) == "highest"


@unit
def test_rule_id_when_generated_is_unique():
    overlay = Overlay().putting("rule-1", rule("x", "a"), "").adding([rule("x", "b"), rule("x", "c", id="rule-2")], "")
    assert [one.id for one in overlay.rules] == ["rule-1", "rule-3", "rule-2"]
    assert overlay.adding([rule("x", "d")], "").rules[-1].id == "rule-4"


@unit
def test_rules_for_every_endpoint_can_be_added():
    overlay = Overlay().adding(
        [
            rule("x", "a completion", endpoint="completions"),
            {"endpoint": "moderations", "match": {"content_contains": "bad"}, "flag": ["violence"]},
            rule("x", "a message", latency={"ttft": 5}),
        ],
        "",
    )
    app = app_of(overlay)
    assert app.takes_time
    body = orjson.loads(app.handle(Request("POST", "/v1/completions", KEY, b'{"model":"m","prompt":"x"}')).body)
    assert body["choices"][0]["text"] == "a completion"
    body = orjson.loads(app.handle(Request("POST", "/v1/moderations", KEY, b'{"input":"bad"}')).body)
    assert body["results"][0]["flagged"] is True


@unit
def test_rules_of_a_session_apply_only_to_its_requests():
    overlay = Overlay().adding([rule("x", "all")], "").adding([rule("x", "one", id="a")], "one")
    app = app_of(overlay)

    def answer(**headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return said(app.handle(Request("POST", PATH, KEY | named, orjson.dumps(chat("x")))))

    assert answer() == "all"
    assert answer(x_fastmock_session="one") == "one"
    assert answer(authorization="Bearer one:sk-test") == "one"
    assert answer(x_fastmock_session="two") == "all"
    assert [one.session for one in overlay.rules] == ["", "one"]
    assert [one.id for one in overlay.removing(None, "one").rules] == ["rule-1"]
    # Ids are each session's own.
    both = overlay.adding([rule("x", "two", id="a")], "two").putting("a", rule("x", "three"), "two")
    assert [(one.session, one.pattern.content) for one in both.rules if one.id == "a"] == [
        ("one", "one"),
        ("two", "three"),
    ]
    assert [one.session for one in both.removing("a", "two").rules] == ["", "one"]
    with pytest.raises(NotThereError):
        overlay.removing("a", "two")
    with pytest.raises(NotThereError):
        overlay.removing("rule-1", "one")  # which is for all
    assert [one.session for one in overlay.removing("a", "").rules] == [""]
    assert overlay.removing(None, "").rules == ()
    assert [one.id for one in overlay.replacing([rule("y", "z")], "one").rules] == ["rule-1", "rule-2"]


@unit
@pytest.mark.parametrize("mode", [{"mode": "sk"}, {"mode": "keys", "keys": ["sk-test"]}])
def test_auth_key_with_a_session_prefix_is_accepted(mode):
    app = app_of(Overlay(), auth=mode)
    for key, status in (("one:sk-test", 200), ("sk-test", 200), ("one:other", 401)):
        request = Request("POST", PATH, {"authorization": f"Bearer {key}"}, orjson.dumps(chat("x")))
        assert app.handle(request).head.status == status, key


@unit
def test_rules_with_several_errors_report_all_of_them():
    overlay = Overlay()
    given = [
        {"match": {"contnt": "x"}, "content": "y"},
        {"content": "y"},
        rule("x", "y", endpoint="chat_completion"),
        rule("x", "y", id=""),
        "nothing",
        rule("x", "y", priority="high"),
    ]
    told = problems_of(overlay.adding, given, "")
    assert told[0] == "rules[0].match.contnt: unknown name; did you mean 'content'?"
    assert told[1] == "rules[1].match: is required"
    assert told[2].startswith("rules[2].endpoint: has no rules: 'chat_completion'; did you mean 'chat_completions'?")
    assert told[3].startswith("rules[3].id: must be up to 128 letters")
    assert told[4] == "rules[4]: must be an object"
    assert told[5].startswith("rules[5].priority")
    assert len(told) == 6
    assert problems_of(overlay.adding, [rule("x", "y", id="a"), rule("x", "y", id="a")], "") == [
        "rules[1].id: is taken by another rule"
    ]
    with pytest.raises(NotThereError):
        overlay.removing("a", "")


@unit
def test_rule_that_fails_to_compile_is_named_in_the_error():
    overlay = Overlay().adding([rule("x", "ok"), {"match": {"content_regex": "("}, "content": "$nothing"}], "")
    loaded, _ = load({}, {}, {}, overlay=overlay)
    with pytest.raises(ConfigError) as raised:
        build(loaded)
    assert all(problem.path.startswith("rules[1].") for problem in raised.value.problems)


@unit
def test_settings_patched_at_runtime_are_merged_and_errors_name_their_source():
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}, "d": [1]}) == {
        "a": {"c": 2, "e": 4},
        "d": [1],
    }
    overlay = Overlay().patching({"latency": {"ttft": None}})
    assert load({"latency": {"ttft": 1}}, {}, {}, overlay=overlay)[0].settings.latency.ttft is None  # the default
    overlay = Overlay().patching({"latency": {"ttft": 5}}).patching({"latency": {"itl": 6}})
    loaded, problems = load({"latency": {"ttft": 1}}, {"FASTMOCK_LATENCY_TTFT": "2"}, {}, overlay=overlay)
    assert problems == []
    assert (loaded.settings.latency.ttft.mean, loaded.settings.latency.itl.mean) == (5, 6)
    _, problems = load({}, {}, {}, overlay=Overlay().patching({"latency": {"tfft": 5}}))
    assert [str(problem) for problem in problems] == [
        "PUT /fastmock/config: latency.tfft: unknown name; did you mean 'ttft'?"
    ]


# Who may.


class Changed:
    """Makes changes as the parent does, but puts none in force."""

    stopping = False
    api_port = None
    generated_token = None

    def __init__(self, app):
        self.app = app
        self.asked = []

    def current(self):
        return self.app

    def change(self, how, *arguments):
        self.asked.append((how, *arguments))
        try:
            overlay = getattr(Overlay(), how)(*arguments)
            _, problems = load({}, {}, {}, overlay=overlay)
            status = 400 if problems else 200
        except ConfigError:
            status = 400
        except NotThereError:
            status = 404
        return SimpleNamespace(result=lambda: (status, {"rules": []}))

    def flush(self):
        return None

    def clear(self, wanted, sessions):
        clear(self.app, self.journal, wanted, sessions)


def controlled(config):
    app = build(load(config, {}, {})[0])
    journal = Journal(RingBuffer(10, HEAD_SIZE))
    changed = Changed(app)
    changed.journal = journal
    return Control(changed, app, journal).served(app)


def status_of(app, client="127.0.0.1:1", path="/fastmock/rules", method="GET", **headers):
    request = Request(method, path, headers, b"")
    request.client = client
    return app.handle(request).head.status


@unit
@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:4000", 200),
        ("127.8.8.8:1", 200),
        ("[::1]:4000", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("[::ffff:127.0.0.1]:80", 200),
        ("10.0.0.1:4000", 403),
        ("192.168.1.5", 403),
        ("[fe80::1]:1", 403),
        ("::ffff:10.0.0.1", 403),
        ("", 403),
    ],
)
def test_control_api_without_a_token_accepts_only_loopback_clients(client, status):
    assert status_of(controlled({}), client) == status


@unit
def test_control_api_rejects_requests_from_other_origins():
    app = controlled({})
    assert status_of(app, host="localhost:8080") == 200
    assert status_of(app, host="127.0.0.1:8080", origin="http://127.0.0.1:8080") == 200
    assert status_of(app, host="127.0.0.1:8080", origin="http://evil.example") == 403
    assert status_of(app, host="evil.example:8080") == 403
    assert status_of(app, host="evil.example", origin="http://evil.example") == 403
    assert status_of(app, host="localhost", origin="http://[") == 403
    request = Request("GET", "/fastmock/rules", {"host": "localhost", "origin": "http://localhost"}, b"")
    request.client = "127.0.0.1"
    assert not any(name.startswith("access-control") for name, _ in app.handle(request).head.headers)


@unit
def test_control_api_with_a_token_requires_it_from_any_client():
    app = controlled({"admin": {"token": "tok-secret"}})
    assert status_of(app) == 401
    assert status_of(app, authorization="Bearer tok-wrong") == 401
    assert status_of(app, authorization="Bearer t\u00f6k") == 401
    assert status_of(app, client="10.0.0.1:1", authorization="Bearer tok-secret", host="anything.example") == 200
    assert status_of(app, path="/fastmock/nothing") == 401
    for config in ({"admin": {"token": "tok-secret\n"}}, {"admin": {"token": "tok-sécret"}}, {"admin": {"token": 5}}):
        _, problems = load(config, {}, {})
        assert "secret" not in str(problems[0])
        assert problems[0].path == "admin.token"


@unit
def test_control_api_token_with_a_colon_does_not_select_a_session():
    app = build(load({"admin": {"token": "a:b"}}, {}, {})[0])
    server = Changed(app)
    served = Control(server, app, Journal(RingBuffer(10, HEAD_SIZE))).served(app)
    for headers in ({}, {"x-fastmock-session": "s"}):
        served.handle(Request("DELETE", "/fastmock/rules", {"authorization": "Bearer a:b"} | headers, b""))
    assert [arguments[-1] for _, *arguments in server.asked] == ["", "s"]


@unit
def test_config_shown_by_the_control_api_redacts_secrets():
    config = {
        "admin": {"token": "tok-secret"},
        "auth": {"mode": "keys", "keys": ["sk-secret"]},
        "faults": [{"kind": "status", "status": 500, "api_key": "sk-secret*"}],
        "store": "redis://user:sk-secret@127.0.0.1:1",
        "limits": {"per": [{"api_key": "sk-secret"}]},
        "responses": {
            "chat_completions": {"patterns": [{"match": {"headers": {"Authorization": "*secret"}}, "content": "x"}]}
        },
    }
    app = controlled(config)
    request = Request("GET", "/fastmock/config", {"authorization": "Bearer tok-secret"}, b"")
    shown = app.handle(request).body
    assert b"secret" not in shown
    assert orjson.loads(shown)["auth"]["keys"] == ["[redacted]"]


@unit
def test_config_patch_containing_a_redacted_value_is_rejected():
    app = controlled({"admin": {"token": "t"}, "auth": {"mode": "keys", "keys": ["sk-a", "sk-b"]}})
    shown = orjson.loads(app.handle(Request("GET", "/fastmock/config", {"authorization": "Bearer t"}, b"")).body)
    told = problems_of(Overlay().patching, shown)
    assert [problem.partition(": ")[0] for problem in told] == ["admin.token", "auth.keys[0]", "auth.keys[1]"]
    match = {"headers": {"authorization": "[redacted]"}}
    assert "match.headers.authorization" in problems_of(Overlay().adding, [{"match": match, "content": "x"}], "")[0]


@unit
@pytest.mark.parametrize(
    "wrong",
    [
        {"faults": [{"kind": "status", "status": 500, "api_key": ["sk-SECRET"]}]},
        {"limits": {"per": [{"api_key": ["sk-SECRET"]}]}},
        {"admin": "SECRET"},
        {"auth": {"keys": "SECRET"}},
        {"store": "redis://u:SECRET/x@127.0.0.1:1/0"},
        {"store": {"url": ["redis://u:SECRET@127.0.0.1:1/0"]}},
        {"responses": {"chat_completions": {"patterns": [{"match": {"headers": {"Authorization": ["SECRET"]}}}]}}},
    ],
)
def test_config_errors_do_not_contain_secrets(wrong):
    loaded, problems = load({}, {}, {}, overlay=Overlay().patching(wrong))
    if not problems:
        problems = problems_of(build, loaded)
    assert problems
    assert "SECRET" not in str(problems)


@unit
def test_store_url_is_shown_without_its_password():
    for url in ("redis://127.0.0.1:1/0?password=SECRET", "redis://u:p@SECRET@127.0.0.1:1/0", "redis://:SECRET@h:1"):
        shown = settings_shown(load({"store": url}, {}, {})[0].settings)["store"]["url"]
        assert "SECRET" not in shown
        assert shown.startswith("redis://")


@unit
def test_control_api_errors_have_the_error_envelope():
    app = controlled({})
    for method, path, status in (
        ("GET", "nothing", 404),
        ("GET", "", 404),
        ("PATCH", "rules", 405),
        ("OPTIONS", "requests", 405),
        ("POST", "verify", 400),
        ("POST", "rules", 400),
        ("PUT", "config", 400),
        ("GET", "rules/none", 404),
        ("GET", "rules/a/b", 404),
        ("HEAD", "requests", 200),
        ("HEAD", "events", 200),
        ("GET", "requests/", 200),
    ):
        request = Request(method, f"/fastmock/{path}", {}, b"")
        request.client = "127.0.0.1"
        answer = app.handle(request)
        assert isinstance(answer, Reply)
        assert answer.head.status == status, (method, path)
        assert ("error" in orjson.loads(answer.body)) == (status != 200)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["match", "count", "content", "id", "endpoint", "session", "wait_ms", "rules", "min"])
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@unit
@examples(60)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    st.sampled_from(["requests", "verify", "rules", "rules/x", "config", "reset", "nothing", ""]),
    ANY.map(orjson.dumps) | st.binary(max_size=20),
    st.dictionaries(st.sampled_from(["limit", "since", "status", "model", "other"]), st.lists(st.text(), min_size=1)),
)
def test_control_api_answers_any_request_without_a_server_error(method, path, body, query):
    app = fuzzed()
    request = Request(method, f"/fastmock/{path}", {"x-fastmock-session": path}, body)
    request.query, request.client = query, "127.0.0.1"
    reply = app.handle(request)
    for _ in zip(range(3), reply.due_times or (), strict=False):
        pass
    assert reply.head.status in (200, 400, 404, 405, 406, 409)


@cache
def fuzzed():
    app = build(load({"journal": {"enabled": True}}, {}, {})[0])
    changed = Changed(app)
    changed.journal = Journal(RingBuffer(10, HEAD_SIZE))
    return Control(changed, app, changed.journal).served(app)


@unit
def test_reset_resets_counters_of_one_session_or_of_all():
    fault = {"kind": "status", "status": 503, "times": 1}
    app = controlled({"faults": [fault], "limits": {"requests_per_minute": 7}})

    def ask(session=""):
        headers = KEY | ({"x-fastmock-session": session} if session else {})
        return app.handle(Request("POST", PATH, headers, orjson.dumps(chat("x")))).head.status

    def reset(session="", **what):
        request = Request(
            "POST", "/fastmock/reset", {"x-fastmock-session": session} if session else {}, orjson.dumps(what)
        )
        request.client = "127.0.0.1"
        reply = app.handle(request)
        for _ in reply.due_times or ():
            pass
        return orjson.loads(reply.body)

    # Each session is counted by itself.
    assert [ask(), ask(), ask("one"), ask("one")] == [503, 200, 503, 200]
    assert reset("one", counters=True) == {"reset": ["counters"]}
    assert reset("one")["reset"] == ["rules", "config", "journal", "counters"]
    assert ask("one") == 503
    assert reset("one", counters=True) == {"reset": ["counters"]}
    assert [ask("one"), ask()] == [503, 200]
    assert ask() == 429
    assert reset(counters=True) == {"reset": ["counters"]}
    assert [ask(), ask(), ask("one")] == [503, 200, 503]
    assert reset()["reset"] == ["rules", "config", "journal", "counters"]
    assert reset(journal=True, rules=False)["reset"] == ["journal"]
    assert "known" not in reset(jurnal=True)
    assert "allowed are rules, config, journal, counters" in str(reset(jurnal=True))


@unit
def test_root_serves_the_dashboard_only_to_browsers():
    app = controlled({})
    page = app.handle(Request("GET", "/", {"accept": "text/html,*/*;q=0.8"}, b""))
    assert page.body.startswith(b"<!doctype html>")
    assert b"http://" not in page.body.replace(b"http://www.w3.org", b"")  # nothing from outside
    for accept in ({}, {"accept": "*/*"}, {"accept": "application/json"}):
        assert orjson.loads(app.handle(Request("GET", "/", accept, b"")).body)["name"] == "fastmock"
    assert app.handle(Request("POST", "/", {}, b"")).head.status == 404


# With a server.


def post(server, content, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = httpx.post(server.url + PATH, json=chat(content), headers=KEY | named, timeout=30)
    answer.raise_for_status()
    return answer.json()["choices"][0]["message"]["content"]


def everywhere(server, content="x", **headers):
    """Return what is said to it, on connections of their own, by whichever workers."""
    return {post(server, content, **headers) for _ in range(10)}


@integration
@on_both
def test_rules_can_be_added_changed_and_removed_on_all_workers(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "2")
    status, made = server.control("POST", "rules", [rule("x", "one"), rule("y", "two", id="why")])
    assert (status, [one["id"] for one in made["rules"]]) == (200, ["rule-1", "why"])
    assert everywhere(server) == {"one"}
    assert everywhere(server, "y") == {"two"}
    assert server.control("PUT", "rules/why", rule("y", "three"))[0] == 200
    assert everywhere(server, "y") == {"three"}
    status, one = server.control("GET", "rules/why")
    assert (status, one) == (200, {"id": "why", "endpoint": "chat_completions", **rule("y", "three")})
    assert server.control("PUT", "rules/new", rule("z", "four"))[0] == 200
    assert server.control("DELETE", "rules/rule-1")[0] == 200
    assert server.control("DELETE", "rules/rule-1")[0] == 404
    assert [one["id"] for one in server.control("GET", "rules")[1]["rules"]] == ["why", "new"]
    # A worker that comes later has them too.
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: "".join(server.errors).count("it is replaced") == 2, 10)
    time.sleep(0.3)
    assert everywhere(server, "y") == {"three"}
    # As has who reads the configuration again.
    server.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "reloaded: " in "".join(server.errors), 10)
    assert everywhere(server, "y") == {"three"}
    assert server.control("PUT", "rules", {"rules": [rule("x", "five")]})[0] == 200
    assert [one["content"] for one in server.control("GET", "rules")[1]["rules"]] == ["five"]
    assert server.control("POST", "reset", {"rules": True})[0] == 200
    assert server.control("GET", "rules")[1] == {"rules": []}
    assert "canned answer" in post(server, "x")


@integration
@on_both
def test_change_with_an_error_leaves_everything_unchanged(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "2")
    server.control("POST", "rules", rule("x", "one"))
    status, told = server.control("POST", "rules", [rule("x", "two"), {"match": {"content_regex": "("}, "content": ""}])
    assert status == 400
    assert [problem["path"] for problem in told["error"]["problems"]] == ["rules[1].match.content_regex"]
    status, told = server.control("PUT", "config", {"latency": {"ttft": 5}, "server": {"prt": 1}})
    assert status == 400
    assert "server.prt: unknown name; did you mean 'port'?" in told["error"]["message"]
    assert server.control("GET", "config")[1]["latency"]["ttft"] is None
    assert everywhere(server) == {"one"}


@integration
def test_settings_change_is_atomic(serve):
    server = serve({"models": ["a"]}, "--runtime", "granian", "--workers", "2")
    change = {"models": {"strict": True, "available": ["b"]}, "server": {"port": 1}, "latency": {"ttft": 100}}
    status, told = server.control("PUT", "config", change)
    assert (status, told["warnings"]) == (200, ["server.port has changed; restart the server to apply it"])
    assert httpx.post(server.url + PATH, json=chat("x"), headers=KEY).status_code == 404
    start = time.monotonic()
    assert httpx.post(server.url + PATH, json=chat("x", model="b"), headers=KEY).status_code == 200
    assert time.monotonic() - start > 0.1
    server.control("PUT", "config", {"models": {"strict": None}})
    assert httpx.post(server.url + PATH, json=chat("x"), headers=KEY).status_code == 200
    assert server.control("POST", "reset", {"config": True})[0] == 200
    shown = server.control("GET", "config")[1]
    assert (shown["models"]["available"][0]["id"], shown["latency"]["ttft"]) == ("a", None)


@integration
def test_change_the_runtime_cannot_serve_is_rejected_or_warned_about(serve):
    server = serve({}, "--runtime", "robyn")
    status, told = server.control("PUT", "config", {"faults": [{"kind": "reset"}]})
    assert status == 400
    assert "granian" in told["error"]["message"]
    status, told = server.control("POST", "rules", rule("x", "y", latency={"ttft": 150}))
    assert status == 200
    assert any("sent in chunks until a restart" in warning for warning in told["warnings"])
    start = time.monotonic()
    assert post(server, "x") == "y"
    assert time.monotonic() - start > 0.15
    assert server.control("PUT", "config", {"server": {"control_headers": True}})[0] == 200
    refused = httpx.post(server.url + PATH, json=chat("z"), headers=KEY | {"x-fastmock-fault": "hang"})
    assert refused.status_code == 400
    for stream in (True, False):
        start = time.monotonic()
        slow = KEY | {"x-fastmock-fault": "slow_first_token; for=200ms"}
        httpx.post(server.url + PATH, json=chat("z", stream=stream), headers=slow).raise_for_status()
        assert time.monotonic() - start > 0.2


@integration
@on_both
def test_sessions_used_in_parallel_are_isolated(serve, runtime):
    server = serve({"journal": {"enabled": True}}, "--runtime", runtime, "--workers", "2")

    def one(number):
        session = {"x_fastmock_session": f"test-{number}"}
        for turn in range(3):
            assert server.control("PUT", "rules", [rule("x", f"{number} {turn}")], **session)[0] == 200
            for _ in range(3):
                assert post(server, "x", **session) == f"{number} {turn}"
            asked = {"match": {"content": "x"}, "count": 3}
            assert server.control("POST", "verify", asked, **session)[0] == 200
            assert server.control("POST", "reset", **session)[0] == 200
            assert server.control("GET", "requests", **session)[1]["requests"] == []

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(one, range(6)))
    assert server.control("GET", "rules")[1] == {"rules": []}


class Client(threading.Thread):
    """Asks again and again on one connection, made anew where it breaks, and says whether an answer was stale."""

    def __init__(self, server, force):
        super().__init__()
        self.server, self.force = server, force
        self.answers = 0
        self.stale = []
        self.ended = False

    def run(self):
        connection = None
        while not self.ended:
            try:
                connection = connection or HTTPConnection("127.0.0.1", self.server.port, timeout=20)
                least = self.force[0]
                connection.request("POST", PATH, orjson.dumps(chat("x")), KEY)
                found = orjson.loads(connection.getresponse().read())["choices"][0]["message"]["content"]
                self.answers += 1
                if int(found) < least:
                    self.stale.append((least, found))
            except (OSError, HTTPException):  # its worker was killed
                if connection:
                    connection.close()
                connection = None
        if connection:
            connection.close()


@integration
@on_both
def test_answers_are_never_stale_while_workers_are_killed(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "2")
    server.control("PUT", "rules/x", rule("x", "0"))
    force = [0]
    clients = [Client(server, force) for _ in range(64)]
    for client in clients:
        client.start()
    number = 0
    while sum(client.answers for client in clients) < 10_000 and number < 400:
        number += 1
        if number % 5 == 0 and (workers := server.workers()):
            os.kill(workers[number % len(workers)], signal.SIGKILL)
        while True:
            try:
                if server.control("PUT", "rules/x", rule("x", str(number)))[0] == 200:
                    break
            except httpx.TransportError:  # the worker that was asked has been killed; whether it was done is not known
                continue
        force[0] = number
    for client in clients:
        client.ended = True
    for client in clients:
        client.join()
    assert sum(client.answers for client in clients) >= 10_000
    assert [client.stale for client in clients if client.stale] == []
    assert number >= 5


@integration
@on_both
def test_stop_during_a_flood_of_changes_is_obeyed(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "2")
    statuses = []
    ended = threading.Event()

    def change():
        while not ended.is_set():
            try:
                statuses.append(server.control("PUT", "rules/x", rule("x", "y"))[0])
            except httpx.TransportError:
                return

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(statuses) > 20, 10)
    start = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - start < 5
    ended.set()
    for thread in threads:
        thread.join(10)
    assert set(statuses) <= {200, 503}


@integration
def test_change_while_a_worker_dies_is_not_delayed(serve):
    server = serve({}, "--workers", "2")
    with httpx.Client(base_url=f"{server.url}/fastmock/", timeout=20) as client:
        client.get("rules").raise_for_status()  # from now on this connection is one worker's
        mine = worker_of(client, server)
        # So that the parent finds both signals at once.
        os.kill(server.process.pid, signal.SIGSTOP)
        [other] = [pid for pid in server.workers() if pid != mine]
        os.kill(other, signal.SIGKILL)
        threading.Timer(0.5, os.kill, (server.process.pid, signal.SIGCONT)).start()
        assert client.put("rules/x", json=rule("x", "one")).status_code == 200
    assert wait_until(lambda: len(server.workers()) == 2 and other not in server.workers(), 5)


def worker_of(client, server):
    """Return the process that has the other end of a client's only connection."""
    import psutil

    own = {c.laddr.port for c in psutil.Process().net_connections() if c.raddr and c.raddr.port == server.port}
    for pid in server.workers():
        if any(c.raddr and c.raddr.port in own for c in psutil.Process(pid).net_connections()):
            return pid
    raise AssertionError("nobody has it")


@integration
def test_stop_with_a_suspended_worker_finishes_at_the_deadline(serve):
    server = serve({}, "--runtime", "granian", "--workers", "2", "--shutdown-timeout", "1")
    rules = [rule(f"question {number}", "x" * 1000) for number in range(1500)]
    assert server.control("PUT", "rules", rules)[0] == 200
    stuck = server.workers()[0]
    os.kill(stuck, signal.SIGSTOP)
    changing = threading.Thread(target=lambda: change_quietly(server))
    changing.start()
    time.sleep(0.5)
    start = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - start < 6
    changing.join(10)


def change_quietly(server):
    with suppress(httpx.TransportError):
        server.control("PUT", "config", {"seed": 3})


@integration
def test_control_api_over_http2_checks_host_and_origin(serve):
    server = serve({"server": {"http2": True}}, "--runtime", "granian")
    with httpx.Client(http1=False, http2=True) as client:
        url = f"{server.url}/fastmock/rules"
        assert client.get(url, headers={"origin": server.url}).status_code == 200
        assert client.get(url, headers={"origin": "http://evil.example"}).status_code == 403


@integration
def test_change_succeeds_although_the_file_has_become_invalid(serve, tmp_path):
    file = tmp_path / "live.json"
    file.write_text('{"models": ["a"]}')
    server = serve(None, "--config", str(file))
    file.write_text('{"modls": ["b"]}')
    assert server.control("POST", "rules", rule("x", "one"))[0] == 200
    assert post(server, "x") == "one"
    assert server.control("GET", "config")[1]["models"]["available"][0]["id"] == "a"  # what was read is in force


@integration
def test_change_with_1500_rules_is_applied(serve):
    server = serve({"server": {"change_timeout": 60}}, "--workers", "2")
    rules = [rule(f"question {number}", f"answer {number} " + "x" * 1000) for number in range(1500)]
    status, made = server.control("PUT", "rules", rules)
    assert (status, len(made["rules"])) == (200, 1500)
    assert post(server, "question 1499").startswith("answer 1499 x")
    assert len(server.control("GET", "rules")[1]["rules"]) == 1500


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_control_api_on_a_separate_port_is_served_only_there(serve, runtime):
    config = {"journal": {"enabled": True}, "metrics": {"enabled": True}}
    server = serve(config, "--runtime", runtime, "--workers", "2", "--admin-port", "0")
    assert server.control("POST", "rules", rule("x", "one"))[0] == 200
    assert everywhere(server) == {"one"}
    assert server.control("POST", "verify", {"count": 10})[0] == 200
    assert httpx.get(server.url + "/fastmock/rules").status_code == 404
    assert httpx.get(server.url + "/", headers={"accept": "text/html"}).status_code == 404
    page = server.greeting.partition("in a browser")[2].split()[0]
    assert httpx.get(page, headers={"accept": "text/html"}).text.startswith("<!doctype html>")
    assert httpx.post(page + "v1/chat/completions", json=chat("x"), headers=KEY).status_code == 404
    assert "fastmock_workers 2.0" in httpx.get(page + "metrics").text
    # It is replaced when it dies, as all workers are.
    controller = next(pid for pid in server.workers() if pid in listeners(int(page.rstrip("/").rpartition(":")[2])))
    os.kill(controller, signal.SIGKILL)
    assert wait_until(lambda: "it is replaced" in "".join(server.errors), 5)
    time.sleep(0.5)
    assert [one["content"] for one in server.control("GET", "rules")[1]["rules"]] == ["one"]


def listeners(port):
    """Return the processes that have threads of a runtime for a port: those with connections to it."""
    import psutil

    with socket.create_connection(("127.0.0.1", port)) as connection:
        time.sleep(0.2)
        own = connection.getsockname()[1]
        found = set()
        for process in psutil.process_iter():
            try:
                if any(c.raddr and c.raddr.port == own and c.laddr.port == port for c in process.net_connections()):
                    found.add(process.pid)
            except psutil.Error:
                continue
        return found


@integration
def test_control_api_disabled_is_not_served(serve):
    server = serve({"admin": {"enabled": False}})
    assert "in a browser" not in server.greeting
    for path in ("/", "/fastmock/rules", "/fastmock/events"):
        assert httpx.get(server.url + path, headers={"accept": "text/html"}).status_code == 404


@integration
@on_both
def test_control_api_rejects_forwarded_headers_without_a_token(serve, runtime):
    server = serve({}, "--runtime", runtime)
    headers = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1", "x-real-ip": "127.0.0.1"}
    for name, value in headers.items():  # a proxy shows itself by them, whatever they say
        assert httpx.get(f"{server.url}/fastmock/rules", headers={name: value}).status_code == 403
    assert httpx.get(f"{server.url}/fastmock/rules").status_code == 200


@integration
@on_both
def test_dashboard_events_stream_until_the_server_stops(serve, runtime):
    server = serve({"journal": {"enabled": True}}, "--runtime", runtime)
    events = []
    with httpx.stream("GET", server.url + "/fastmock/events", timeout=10) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in stream.iter_lines() if line)
        events.append(orjson.loads(next(lines).removeprefix("data: ")))
        post(server, "x")
        httpx.get(server.url + "/nowhere")
        events.append(orjson.loads(next(lines).removeprefix("data: ")))
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        for _ in lines:
            pass
        assert server.process.wait(10) == 0
        assert time.monotonic() - start < 5
    assert events[0]["requests"] == []
    assert [request["status"] for request in events[1]["requests"]] == [200, 404]
    assert events[1]["status"] == {"200": 1, "404": 1}
    assert events[1]["requests_per_second"] > 0
    assert events[1]["lateness_ms"]["frames"] == 0  # it is itself not counted
    assert events[1]["rules"] == [["chat_completions.default", 1]]


# Files that are watched.


@integration
def test_watched_files_are_reloaded_when_they_change(serve, tmp_path):
    answer, file = tmp_path / "answer.json", tmp_path / "live.yaml"

    def write(path, text):
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)  # as editors do

    write(answer, '{"choices": [{"message": {"content": "one"}}]}')
    write(file, "responses: {chat_completions: {default: answer.json}}")
    server = serve(None, "--config", str(file), "--workers", "2", "--watch")
    assert everywhere(server) == {"one"}
    answer.write_text('{"choices": [{"message": {"content": "two"}}]}')
    assert wait_until(lambda: everywhere(server) == {"two"}, 10)
    write(file, "responses: {chat_completions: {defalt: answer.json}}")
    assert wait_until(lambda: "did you mean 'default'?" in "".join(server.errors), 10)
    assert everywhere(server) == {"two"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "answer.json").write_text('{"choices": [{"message": {"content": "three"}}]}')
    write(file, "responses: {chat_completions: {default: other/answer.json}}")
    assert wait_until(lambda: everywhere(server) == {"three"}, 10)
    time.sleep(0.5)
    write(other / "answer.json", '{"choices": [{"message": {"content": "four"}}]}')
    assert wait_until(lambda: everywhere(server) == {"four"}, 10)
    assert server.stop() == 0
