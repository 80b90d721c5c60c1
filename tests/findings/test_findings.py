"""Findings: each one proved by a small client that misbehaves so, over a real socket to a server with two workers."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from fastmock.testing import Client, ControlError, Server

pytestmark = pytest.mark.integration

TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
ANTHROPIC_TOOLS = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]


@pytest.fixture
def mock(server):
    with Client(server.url) as client:
        client.configure(findings=True)
        yield client


@pytest.fixture
def http(mock):
    headers = {"authorization": f"Bearer {mock.api_key}"}
    with httpx.Client(base_url=mock.url, headers=headers, timeout=20) as http:
        yield http


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def post(http, *messages, path="/v1/chat/completions", headers=None, **more):
    body = {"model": "gpt-4o", "messages": list(messages) or [user("hello")], **more}
    return http.post(path, json=body, headers=headers)


def stream(http, *messages, **more):
    """Return the text of a stream, as far as it came."""
    body = {"model": "gpt-4o", "messages": list(messages), "stream": True, **more}
    text = ""
    with suppress(httpx.TransportError), http.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                text += choices[0]["delta"].get("content") or "" if choices else ""
    return text


def found(mock, *, infos=False):
    """Return the kinds and severities of the findings."""
    findings = mock.report(final=True)["findings"]
    return {one["kind"]: one["severity"] for one in findings if infos or one["severity"] != "info"}


def finding(mock, kind):
    return next(one for one in mock.report(final=True)["findings"] if one["kind"] == kind)


def test_polite_client_has_no_findings(mock, http):
    mock.on("busy").fails(503, times=1, retry_after_ms=200)
    assert post(http, user("busy")).status_code == 503
    time.sleep(0.25)
    assert post(http, user("busy")).status_code == 200
    for number in range(15):
        assert post(http, user(f"question {number}")).status_code == 200
    assert found(mock, infos=True) == {}


def test_retry_before_retry_after(mock, http):
    mock.on().fails(429, times=1, retry_after=2)
    post(http)
    time.sleep(0.1)
    post(http)
    assert found(mock) == {"retried_too_early": "error"}
    shown = finding(mock, "retried_too_early")
    assert "asked to wait 2 s" in shown["message"]
    assert len(shown["requests"]) == 2
    assert "retry-after" in shown["advice"]


def test_retry_within_the_jitter_of_sdks_is_an_info(mock, http):
    mock.on().fails(429, times=1, retry_after=1)
    post(http)
    time.sleep(0.85)
    post(http)
    assert found(mock, infos=True) == {"retried_too_early": "info"}


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_retry_of_a_fatal_error(mock, http, status):
    mock.on().fails(status)
    post(http)
    post(http)
    assert found(mock) == {"retried_fatal_error": "error"}


def test_response_may_ask_for_the_retry_of_any_status(mock, http):
    mock.on().fails(400, times=1, should_retry=True)
    post(http)
    post(http)
    assert found(mock) == {}


def test_too_many_attempts(mock, http):
    mock.on().fails(500)
    for pause in (0.01, 0.1, 0.3, 0.6, 1.0):
        post(http)
        time.sleep(pause)
    post(http)
    assert found(mock) == {"retry_storm": "error"}
    assert "6 attempts of one call; the limit is 5" in finding(mock, "retry_storm")["message"]


def test_pauses_that_do_not_grow(mock, http):
    mock.on().fails(500, times=3)
    for _ in range(4):
        post(http)
        time.sleep(0.3)
    assert found(mock) == {"retry_storm": "warning"}


def test_growing_pauses(mock, http):
    mock.on().fails(500, times=3)
    for pause in (0.2, 0.4, 0.8, 0):
        post(http)
        time.sleep(pause)
    assert found(mock) == {}


def test_first_retryable_error_ends_the_call(mock, http):
    mock.on().fails(503, retry_after=1)
    post(http)
    assert found(mock) == {"gave_up": "warning"}
    # While clients may still be busy, a retry may come.
    assert mock.report()["findings"] == []


@pytest.mark.parametrize("status", [400, 409, 429])
def test_errors_that_may_end_a_call(mock, http, status):
    """A 429 without a time to wait says that the quota is spent."""
    mock.on().fault("status", **({"error": "insufficient_quota"} if status == 429 else {"status": status}))
    post(http, headers={"x-stainless-retry-count": "0"})
    assert found(mock) == {}


def test_call_against_an_exhausted_limit(mock, http):
    mock.configure(findings=True, limits={"requests_per_minute": 2})
    for number in range(3):
        post(http, user(f"question {number}"))
    assert found(mock)["ignored_limit"] == "warning"
    post(http, user("another"))
    shown = finding(mock, "ignored_limit")
    assert shown["count"] == 2


def test_truncated_stream_taken_for_whole(mock, http):
    mock.on("tell").reply("Once upon a time there was a king who lived in a castle.")
    mock.on("tell").cuts("50%")
    text = stream(http, user("tell"))
    assert 0 < len(text) < 56
    assert found(mock) == {}  # it may have been thrown away
    post(http, user("tell"), assistant(text), user("go on"))
    assert found(mock) == {"used_truncated_stream": "error"}
    assert "cut" in finding(mock, "used_truncated_stream")["message"]


def test_truncated_stream_that_is_repeated_is_no_finding(mock, http):
    whole = "Once upon a time there was a king who lived in a castle."
    mock.on("tell").reply(whole)
    mock.on("tell").cuts("50%", times=1)
    assert stream(http, user("tell")) != whole
    assert stream(http, user("tell")) == whole
    post(http, user("tell"), assistant(whole), user("go on"))
    assert found(mock) == {}


def test_truncated_stream_in_messages_and_responses(mock, http):
    mock.on("tell").reply("Once upon a time there was a king who lived in a castle.")
    mock.on("tell").cuts("50%")
    for path, name in (("/v1/messages", "messages"), ("/v1/responses", "input")):
        ask = {"model": "claude-sonnet-4-5", "max_tokens": 90} if name == "messages" else {"model": "gpt-4o"}
        version = {"anthropic-version": "2023-06-01"}
        with suppress(httpx.TransportError):
            http.post(path, json={**ask, name: [user("tell")], "stream": True}, headers=version)
        later = [user("tell"), assistant("Once upon a"), user("go on")]
        assert http.post(path, json={**ask, name: later}, headers=version).status_code == 200
        assert finding(mock, "used_truncated_stream")["severity"] == "error", path
        mock.reset()
        mock.configure(findings=True)
        mock.on("tell").reply("Once upon a time there was a king who lived in a castle.")
        mock.on("tell").cuts("50%")


def test_answer_that_was_cut_at_the_maximum_of_tokens(mock, http):
    mock.on("tell").reply("Once upon a time there was a king who lived in a castle.")
    text = post(http, user("tell"), max_tokens=5).json()["choices"][0]["message"]["content"]
    post(http, user("tell"), assistant(text), user("translate it"))
    assert found(mock) == {"ignored_length": "warning"}


def test_client_that_has_a_cut_answer_continued(mock, http):
    mock.on("tell").reply("Once upon a time there was a king who lived in a castle.")
    text = post(http, user("tell"), max_tokens=5).json()["choices"][0]["message"]["content"]
    post(http, user("tell"), assistant(text), user("Continue."))
    assert found(mock) == {}


def test_result_of_an_unknown_tool_call(mock, http):
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    calls = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "call_2", "content": "x"}
    assert post(http, user("look"), calls, result).status_code == 400
    assert found(mock)["unknown_tool_call"] == "error"
    assert "call_2" in finding(mock, "unknown_tool_call")["message"]


def test_result_of_an_unknown_tool_call_in_messages_and_responses(mock, http):
    result = {"type": "tool_result", "tool_use_id": "toolu_2", "content": "x"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    messages = [user("look"), {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    body = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": messages, "tools": ANTHROPIC_TOOLS}
    assert http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"}).status_code == 400
    output = {"type": "function_call_output", "call_id": "call_7", "output": "x"}
    body = {"model": "gpt-4o", "input": [user("look"), output]}
    assert http.post("/v1/responses", json=body).status_code == 400
    assert finding(mock, "unknown_tool_call")["count"] == 2


def test_response_continued_by_its_id_has_known_calls(mock, http):
    mock.on("look", last_role="user").calls("look")
    tools = [{**TOOLS[0]["function"], "type": "function"}]
    first = http.post("/v1/responses", json={"model": "gpt-4o", "input": "look", "tools": tools}).json()
    output = {"type": "function_call_output", "call_id": first["output"][0]["call_id"], "output": "x"}
    body = {"model": "gpt-4o", "input": [output], "previous_response_id": first["id"]}
    assert http.post("/v1/responses", json=body).status_code == 200
    assert found(mock) == {}


def test_tool_call_without_a_result(mock, http):
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    calls = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert post(http, user("look"), calls, user("and now?")).status_code == 400
    assert found(mock)["unanswered_tool_call"] == "error"


def test_conversation_that_drops_the_tool_call(mock, http):
    mock.on("look", last_role="user").calls("look")
    post(http, user("look"), tools=TOOLS)
    post(http, user("look"), user("and now?"), tools=TOOLS)
    assert found(mock) == {"unanswered_tool_call": "warning"}


def test_tool_call_with_its_result(mock, http):
    mock.on("look", last_role="user").calls("look")
    message = post(http, user("look"), tools=TOOLS).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "x"}
    assert post(http, user("look"), message, result, tools=TOOLS).status_code == 200
    assert found(mock) == {}


def test_client_that_hangs_up(mock, http):
    mock.on("tell").streams("Once upon a time there was a king.", ttft=10, itl=2000)
    body = {"model": "gpt-4o", "messages": [user("tell")], "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_lines())
    until = time.monotonic() + 10
    while not found(mock) and time.monotonic() < until:
        time.sleep(0.05)
    assert found(mock) == {"hung_up": "warning"}


def test_new_connection_for_each_request(mock):
    headers = {"authorization": f"Bearer {mock.api_key}"}
    for number in range(20):
        with httpx.Client(base_url=mock.url, headers=headers) as http:
            post(http, user(f"question {number}"))
        time.sleep(0.1)
    assert found(mock) == {"no_connection_reuse": "warning"}


def test_many_requests_at_once_need_many_connections(mock):
    headers = {"authorization": f"Bearer {mock.api_key}"}
    with httpx.Client(base_url=mock.url, headers=headers) as http, ThreadPoolExecutor(30) as pool:
        for round_ in range(2):
            asked = pool.map(lambda number, round_=round_: post(http, user(f"question {round_} {number}")), range(30))
            assert {response.status_code for response in asked} == {200}
            time.sleep(0.6)
    assert found(mock) == {}


def test_equal_requests_at_once(mock):
    mock.on("slow").streams("Hi there", ttft=500)
    headers = {"authorization": f"Bearer {mock.api_key}"}
    barrier = threading.Barrier(4)

    def ask(_):
        with httpx.Client(base_url=mock.url, headers=headers) as http:
            barrier.wait()
            return post(http, user("slow"), stream=True).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [200] * 4
    assert found(mock) == {"concurrent_duplicates": "warning"}


def test_equal_requests_one_after_the_other_are_an_info(mock, http):
    post(http)
    post(http)
    assert found(mock, infos=True) == {"repeated_success": "info"}


def test_keys_tell_clients_apart(server):
    with Client(server.url) as control:
        control.configure(findings=True)
    for_all = Server("--findings", "--workers", "2", timeout=60)
    with for_all as server, httpx.Client(base_url=server.url) as http:
        for key in ("sk-one", "sk-two"):
            post(http, headers={"authorization": f"Bearer {key}"})
        assert http.get("/fastmock/report").json()["findings"] == []
        for _ in range(2):
            post(http, user("again"), headers={"authorization": "Bearer sk-one"})
        [only] = http.get("/fastmock/report").json()["findings"]
        assert only["kind"] == "repeated_success"
        assert "sk-one" not in http.get("/fastmock/requests").text
        text = http.get("/fastmock/report?format=text").text
        assert "info: repeated_success" in text


def test_sessions_that_are_not_watched_have_no_findings(server):
    with Client(server.url) as mock, Client(server.url) as watched:
        watched.configure(findings=True)
        with httpx.Client(base_url=mock.url, headers={"authorization": f"Bearer {mock.api_key}"}) as http:
            post(http)
            post(http)
        assert mock.report()["findings"] == []


def test_wrong_settings(mock):
    with pytest.raises(ControlError, match="findings"):
        mock.configure(findings="sometimes")


def test_findings_on_robyn(serve):
    fault = {"kind": "status", "status": 429, "times": 1, "retry_after": 5}
    server = serve({"faults": [fault]}, "--runtime", "robyn", "--workers", "2", "--findings")
    with httpx.Client(base_url=server.url, headers={"authorization": "Bearer sk-one"}) as http:
        post(http)
        post(http)
        found = http.get("/fastmock/report").json()["findings"]
    assert [(one["kind"], one["severity"]) for one in found] == [("retried_too_early", "error")]


def test_findings_need_the_journal(serve):
    server = serve({"findings": {"enabled": True}, "journal": {"size": 10}})
    assert httpx.get(f"{server.url}/fastmock/requests").json()["journal"]["enabled"] is True
    refused = httpx.put(f"{server.url}/fastmock/config", json={"journal": {"enabled": False}})
    assert refused.status_code == 400
    assert "findings: 'enabled' needs the journal" in refused.text
