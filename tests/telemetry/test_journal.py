"""The journal and verification: recorded requests are found, counted exactly, and contain no secrets."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import httpx
import orjson
import pytest

from fastmock.control.api import Control
from fastmock.control.clearing import clear
from fastmock.core.http import Request, Stream
from fastmock.latency.pacer import UNCOUNTED, Pacer
from fastmock.shared.ring_buffer import RingBuffer
from fastmock.telemetry.journal import HEAD_SIZE, Journal
from fastmock.telemetry.observer import observe
from tests.support import KEY, make_app, wait_until

PATH = "/v1/chat/completions"
unit, integration = pytest.mark.unit, pytest.mark.integration
on_both = pytest.mark.parametrize("runtime", ["robyn", "granian"])


def chat(content, **more):
    return {"model": "m", "messages": [{"role": "user", "content": content}]} | more


# The ring.


# One worker without a server.


@pytest.fixture
def journaled():
    """Return a function that compiles a configuration, with a journal; it returns what posts and what controls."""

    def configured(config=None, size=100, most=2000):
        app = make_app({"journal": {"enabled": True}} | (config or {}))
        journal = Journal(RingBuffer(size, HEAD_SIZE + most), app.kind_of)
        app = observe(app, [journal])
        plain = app
        server = SimpleNamespace(
            stopping=False,
            api_port=None,
            generated_token=None,
            current=lambda: app,
            flush=lambda: None,
            clear=lambda wanted, sessions: clear(plain, journal, wanted, sessions),
        )
        app = Control(server, app, journal).served(app)

        def post(body, path=PATH, method="POST", headers=KEY):
            sent = body if isinstance(body, bytes) else orjson.dumps(body)
            return app.handle(Request(method, path, headers, sent))

        def control(method, path, body=None, headers=(), **query):
            given = {name: [str(value)] for name, value in query.items()}
            request = Request(method, f"/fastmock/{path}", dict(headers), b"" if body is None else orjson.dumps(body))
            request.query, request.client = given, "127.0.0.1:5"
            reply = app.handle(request)
            while reply.due_times is not None and next(reply.due_times, None) is not None:
                time.sleep(0.001)
            return reply.head.status, orjson.loads(reply.body)

        return post, control

    return configured


@unit
def test_journal_counts_are_per_session(journaled):
    post, control = journaled()
    for session in ("one", "one", "two", None):
        post(chat("x"), headers=KEY | ({"x-fastmock-session": session} if session else {}))
    for headers, written in (({"x-fastmock-session": "one"}, 2), ({"x-fastmock-session": "two"}, 1), ({}, 4)):
        assert control("GET", "requests", headers=headers)[1]["journal"]["written"] == written


@unit
def test_journal_entry_shows_the_request_and_its_outcome(journaled):
    pattern = {"name": "weather", "match": {"content_contains": "sun"}, "content": "It shines."}
    post, control = journaled({"responses": {"chat_completions": {"patterns": [pattern]}}})
    body = chat("sun?", stream=True)
    size = len(post(body, headers=KEY | {"x-custom": "yes"}).body)
    post(b"{broken")
    post(None, "/nowhere", "GET")
    status, found = control("GET", "requests")
    assert status == 200
    assert found["journal"] == {"enabled": True, "written": 3, "size": 100, "lost": 0}
    nowhere, broken, first = found["requests"]
    assert (nowhere["status"], nowhere["endpoint"], nowhere["method"]) == (404, "other", "GET")
    assert (broken["status"], broken["body"]) == (400, "{broken")
    assert first["body"] == body
    expected = {"method": "POST", "path": PATH, "endpoint": "chat_completions", "model": "m", "rule": "weather"}
    expected |= {"status": 200, "stream": True, "fault": "", "session": "", "state": "ended", "response_bytes": size}
    assert first.items() >= expected.items()
    assert first["headers"]["x-custom"] == "yes"
    assert abs(first["time"] - time.time()) < 10
    assert 0 < first["ttft_ms"] <= first["duration_ms"] < 1000


@unit
def test_journal_redacts_credentials(journaled):
    post, control = journaled()
    secret = "sk-verysecret"
    headers = {
        "authorization": f"Bearer {secret}",
        "x-api-key": secret,
        "cookie": secret,
        "proxy-authorization": secret,
    }
    post(chat("x"), headers=headers | {"api-key": secret, "x-auth-token": secret, "openai-api-key": secret})
    post(chat("x"), headers={"authorization": f"Bearer {secret}:"})
    _, found = control("GET", "requests", explain="true")
    assert secret not in str(found)
    assert {found["requests"][1]["headers"][name] for name in headers} == {"[redacted]"}


@unit
def test_journal_follows_the_state_of_paced_answers(journaled):
    post, control = journaled({"latency": {"ttft": 30, "itl": 5}, "output": {"kind": "counter", "tokens": 4}})

    def shown():
        return control("GET", "requests", limit=1)[1]["requests"][0]

    stream = post(chat("x", stream=True))
    assert isinstance(stream, Stream)
    assert shown().items() >= {"state": "open", "duration_ms": None, "ttft_ms": None}.items()
    pacer = Pacer(stream.due_times, stream.cut, time.monotonic(), UNCOUNTED)
    size, last = 0, None
    while pacer.due is not None:
        time.sleep(max(0, pacer.due - time.monotonic()))
        size += len(pacer.take(time.monotonic()))
        last = shown()
    assert last["state"] == "ended"  # as soon as the last part is made, before it is sent
    assert last["response_bytes"] == size
    assert 30 <= last["ttft_ms"] <= last["duration_ms"]
    left = post(chat("x", stream=True))
    del left
    assert shown()["state"] == "left"
    whole = post(chat("x"))
    assert shown()["state"] == "open"
    for _ in whole.due_times:
        pass
    assert shown().items() >= {"state": "ended", "response_bytes": len(whole.body)}.items()


@unit
def test_journal_truncates_long_bodies_and_headers(journaled):
    post, control = journaled(most=100)
    post(chat("x" * 500))
    post(chat("y"), headers=KEY | {f"x-{n}": "z" * 500 for n in range(100)})
    _, found = control("GET", "requests")
    short, long = found["requests"]
    assert long["body_cut"] is True
    assert (len(long["body"]), long["body_bytes"]) == (100, len(orjson.dumps(chat("x" * 500))))
    assert (short["body_cut"], short["headers"]) == (False, {})
    status, said = control("POST", "verify", {"match": {"content": "x" * 500}, "count": 1})
    assert (status, said["verified"], said["body_cut"]) == (406, False, 1)
    assert "journal.max_body_bytes" in said["message"]
    # What needs no body can be judged; what needs headers that were not kept cannot.
    assert control("POST", "verify", {"match": {"model": "m"}, "count": 2})[0] == 200
    status, said = control("POST", "verify", {"match": {"headers": {"x-1": "z*"}}, "count": 0})
    assert (status, said["body_cut"]) == (406, 1)


@unit
def test_journal_listing_can_be_filtered(journaled):
    fault = {"kind": "status", "status": 503, "match": {"content": "fail"}}
    post, control = journaled({"faults": [fault]})
    for text in ("a", "b", "fail"):
        post(chat(text))
    post({"model": "text-embedding-3-small", "input": "a"}, "/v1/embeddings")

    def count(**query):
        return len(control("GET", "requests", **query)[1]["requests"])

    assert count() == 4
    assert count(limit=2) == 2
    assert count(since=3) == 1
    assert count(status=503) == count(status="5xx") == count(fault="status") == 1
    assert count(status="2xx") == 3
    assert count(model="m") == 3
    assert count(model="text-*") == count(endpoint="embeddings") == count(endpoint="emb*") == 1
    status, said = control("GET", "requests", modle="m")
    assert (status, said["error"]["param"]) == (400, "modle")
    assert "did you mean 'model'?" in said["error"]["message"]
    assert control("GET", "requests", limit="-1")[0] == 400
    assert control("GET", "requests", status="abc")[0] == 400
    assert control("GET", "requests", explain="maybe")[0] == 400
    assert control("DELETE", "requests")[0] == 200
    assert count() == 0


@unit
def test_journal_explains_the_nearest_rule_of_a_miss(journaled):
    pattern = {"name": "weather", "match": {"content_contains": "sun", "model": "gpt-4*"}, "content": "It shines."}
    post, control = journaled({"responses": {"chat_completions": {"patterns": [pattern]}}})
    post(chat("is there sun?"))
    _, found = control("GET", "requests", explain="true")
    assert found["requests"][0]["nearest"] == "weather"
    assert found["requests"][0]["differences"] == ["model is 'm', not 'gpt-4*'"]


@unit
def test_verify_compares_matching_requests_with_the_expected_count(journaled):
    post, control = journaled()
    for text in ("order 1", "order 2", "hello"):
        post(chat(text))
    post(chat("order 3", stream=True), "/v1/chat/completions/")
    post({"model": "e", "input": ["order 4"]}, "/v1/embeddings")

    def verify(**asked):
        return control("POST", "verify", asked)

    orders = {"content_contains": "order"}
    assert verify(match=orders)[0] == 200
    assert verify(match=orders, count=4) == (200, {"verified": True, "count": 4, "lost": 0, "body_cut": 0})
    assert verify(match=orders | {"endpoint": "chat_completions"}, count=3)[0] == 200
    assert (
        verify(match={"any": [{"content": "hello"}, {"endpoint": "embeddings"}]}, count={"min": 2, "max": 2})[0] == 200
    )
    assert verify(count={"max": 5})[0] == 200
    assert verify(match={"content": "bye"}, count=0)[0] == 200
    assert verify(match={"headers": {"Authorization": "*"}})[0] == 400  # it is not kept
    assert verify(count=-1)[0] == verify(count=1.5)[0] == 400
    status, said = verify(match=orders, count={"max": 2})
    assert (status, said["message"]) == (406, "expected at most 2, found 4")
    status, said = verify(match={"content": "order 22", "model": "m"}, count=1)
    assert (status, said["count"], said["expected"]) == (406, 0, {"min": 1, "max": 1})
    assert said["nearest"]["request"]["body"] == chat("order 2")
    assert said["nearest"]["differences"] == ["content is 'order 2', not 'order 22'"]


@unit
def test_verify_with_a_wrong_expectation_is_a_400(journaled):
    _, control = journaled()
    for asked, words in (
        ({"match": {"contant": "x"}}, "match.contant: unknown name; did you mean 'content'?"),
        ({"mach": {}}, "mach: unknown name; known here: match, count, session, wait_ms"),
        ({"match": {"content_regex": "("}}, "match.content_regex"),
        ({"count": {"min": 3, "max": 1}}, "needs 'min' <= 'max'"),
        ({"wait_ms": -1}, "wait_ms"),
        ([], "must be an object"),
    ):
        status, said = control("POST", "verify", asked)
        assert (status, words in said["error"]["message"]) == (400, True), said


@unit
def test_verify_after_entries_were_overwritten_reports_them(journaled):
    post, control = journaled(size=5)
    for number in range(8):
        post(chat("first" if number < 4 else "second"))
    status, said = control("POST", "verify", {"match": {"content": "first"}, "count": 4})
    assert (status, said["count"], said["lost"]) == (406, 1, 3)
    assert "journal.size" in said["message"]
    # What is there is enough; and what is not known of could only be more.
    assert control("POST", "verify", {"match": {"content": "second"}, "count": {"min": 4}})[0] == 200
    assert control("POST", "verify", {"match": {"content": "second"}, "count": 4})[0] == 406
    control("DELETE", "requests")
    post(chat("second"))
    assert control("POST", "verify", {"match": {"content": "second"}, "count": 1})[0] == 200


@unit
def test_journal_of_a_session_has_only_its_requests(journaled):
    post, control = journaled()
    post(chat("x"), headers=KEY | {"x-fastmock-session": "one"})
    post(chat("x"), headers={"authorization": "Bearer two:sk-test"})
    post(chat("x"))
    one, two = {"x-fastmock-session": "one"}, {"authorization": "Bearer two:whatever"}
    for headers, count in ((one, 1), (two, 1), ({}, 3)):
        assert len(control("GET", "requests", headers=headers)[1]["requests"]) == count
        assert control("POST", "verify", {"count": count}, headers)[0] == 200
    assert control("POST", "verify", {"count": 1, "session": "two"})[0] == 200
    assert control("POST", "verify", {"match": {"session": "two"}, "count": 1})[0] == 200
    assert control("DELETE", "requests", headers=one)[0] == 200
    assert control("POST", "verify", {"count": 0}, one)[0] == 200
    assert control("POST", "verify", {"count": 2})[0] == 200


# What needs a server.


@integration
@on_both
def test_verify_on_any_worker_finds_an_answered_request(serve, runtime):
    latency = {"latency": {"ttft": 5, "itl": 1}} if runtime == "granian" else {}
    config = {"journal": {"enabled": True, "size": 5000}} | latency
    server = serve(config, "--runtime", runtime, "--workers", "2")
    failures = []

    def one(number):
        for turn in range(10):
            name = f"{number}-{turn}"
            with httpx.Client() as client:  # connections of their own, so that any worker gets them
                client.post(server.url + PATH, json=chat(name, stream=turn % 2 > 0), headers=KEY).raise_for_status()
            status, said = server.control("POST", "verify", {"match": {"content": name}, "count": 1})
            if status != 200:
                failures.append(said)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = server.control("GET", "requests?limit=1000")[1]["requests"]
    assert len(found) == 40
    assert {request["state"] for request in found} == {"ended"}
    assert all(request["ttft_ms"] and request["duration_ms"] for request in found if request["stream"])


@integration
@on_both
def test_verify_waits_for_requests_until_its_timeout(serve, runtime):
    server = serve({"journal": {"enabled": True}}, "--runtime", runtime)
    answers = []
    asked = {"match": {"content": "late"}, "count": 2, "wait_ms": 10_000}
    waiting = threading.Thread(target=lambda: answers.append(server.control("POST", "verify", asked)))
    waiting.start()
    for _ in range(2):
        time.sleep(0.2)
        assert answers == []
        # Requests are answered while another waits.
        httpx.post(server.url + PATH, json=chat("late"), headers=KEY).raise_for_status()
    waiting.join(5)
    assert answers[0][0] == 200
    start = time.monotonic()
    assert server.control("POST", "verify", asked | {"count": 3, "wait_ms": 300})[0] == 406
    assert 0.3 <= time.monotonic() - start < 3


@integration
@on_both
def test_journal_survives_a_killed_worker(serve, runtime):
    server = serve({"journal": {"enabled": True}}, "--runtime", runtime)
    for _ in range(3):
        httpx.post(server.url + PATH, json=chat("x"), headers=KEY).raise_for_status()
    [worker] = server.workers()
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: server.workers() not in ([worker], []), 5)

    def verified():
        try:
            return server.control("POST", "verify", {"count": 3})[0] == 200
        except httpx.TransportError:
            return False

    assert wait_until(verified, 5)


@integration
def test_journal_has_requests_with_a_body_too_large(serve):
    config = {"journal": {"enabled": True}, "metrics": {"enabled": True}, "server": {"max_body_bytes": 100}}
    server = serve(config, "--runtime", "granian")
    assert httpx.post(server.url + PATH, content=b"x" * 1000, headers=KEY).status_code == 413
    assert server.control("GET", "requests?status=413")[1]["requests"][0]["path"] == PATH
    assert 'status="413"} 1.0' in httpx.get(server.url + "/metrics").text
