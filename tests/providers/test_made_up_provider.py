"""A provider that is added by one name is served like the built-in ones; see ``made_up_provider``."""

import json
import socket
import time
from pathlib import Path

import httpx
import orjson
import pytest

from fastmock.core.errors import ApiError
from fastmock.core.http import Reply, Request
from fastmock.shared.cache_counts import cache_counts
from tests.support import command, make_app

unit, integration = pytest.mark.unit, pytest.mark.integration
PROVIDER = {"providers": ["tests.providers.made_up_provider:PROVIDER"]}
TALK = {"turns": [{"who": "stage", "says": "Be kind."}, {"who": "me", "says": "Say hello to Robyn"}]}
PATH = "/v9/models/robin:talk"
TOOL = {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}}
CONFIG = {
    "server": PROVIDER | {"control_headers": True},
    "auth": {"mode": "keys", "keys": ["secret-1"]},
    "journal": {"enabled": True},
    "metrics": {"enabled": True},
    "responses": {
        "chat_completions": {
            "patterns": [
                {
                    "name": "hello",
                    "match": {"endpoint": "talk", "content_contains": "hello"},
                    "content": "Hello, dear friend.",
                },
                {"name": "secret", "match": {"content_contains": "never"}, "content": "no"},
            ],
        }
    },
}


@pytest.fixture(scope="module", params=["robyn", "granian"])
def server(request, tmp_path_factory):
    from tests.support import serving

    with serving(tmp_path_factory.mktemp("talk"), CONFIG, "--runtime", request.param, "--workers", "2") as started:
        started.runtime = request.param
        yield started


def talk(server, body=None, path=PATH, key="secret-1", **headers):
    return httpx.post(f"{server.url}{path}", params={"key": key}, json=TALK | (body or {}), headers=headers, timeout=10)


def trouble(response):
    return response.json()["trouble"]


@integration
def test_provider_added_by_name_answers_by_rules_in_its_own_form(server):
    response = talk(server)
    assert response.status_code == 200
    assert response.headers["talk-version"] == "9"
    assert response.headers["talk-id"].startswith("req_")
    assert "x-request-id" not in response.headers
    body = response.json()
    assert body["says"] == {"text": "Hello, dear friend.", "uses": []}
    assert body["model"] == "robin"
    assert body["ended"] == "stop"
    assert body["count"]["spoken"] == 5
    assert talk(server, {"most": 2}).json()["ended"] == "length"


@unit
def test_provider_requests_seen_before_are_answered_by_path_and_body():
    app = make_app({"server": PROVIDER, "auth": {"mode": "off"}})
    body = orjson.dumps(TALK)
    for model in ("robin", "wren") * 4:
        answer = app.handle(Request("POST", f"/v9/models/{model}:talk", {}, body))
        assert orjson.loads(answer.body)["model"] == model
    assert cache_counts(app.share) == {"hits": 4, "misses": 4}


@integration
def test_provider_path_without_parameters_gets_the_query_of_a_post(server):
    assert talk(server, path="/v9/talk").status_code == 400  # it has no model
    assert talk(server, path="/v9/talk", key="wrong").status_code == 403


@integration
def test_provider_stream_has_its_own_framing(server):
    response = talk(server, {"flowing": True})
    assert response.headers["content-type"] == "application/json"
    events = response.json()
    assert events[0] == {"model": "robin"}
    assert "".join(event.get("piece", "") for event in events) == "Hello, dear friend."
    assert events[-1]["ended"] == "stop"
    assert len(events) > 4


@integration
def test_provider_tool_call_is_generated_by_schema(server):
    uses = talk(server, {"tools": [TOOL], "turns": [{"who": "me", "says": "look"}]}).json()["says"]["uses"]
    assert [use["tool"] for use in uses] == ["look"]
    assert set(json.loads(uses[0]["with"])) == {"at"}
    assert uses[0]["id"].startswith("use_")


@integration
def test_provider_key_is_read_from_the_query_or_its_header(server):
    refused = talk(server, key="wrong")
    assert (refused.status_code, trouble(refused)["sort"]) == (403, "LOCKED")
    url = f"{server.url}{PATH}"
    assert httpx.post(url, json=TALK).status_code == 403
    assert httpx.post(url, json=TALK, headers={"talk-key": "secret-1"}).status_code == 200
    assert httpx.post(url, json=TALK, headers={"authorization": "Bearer secret-1"}).status_code == 403


@integration
@pytest.mark.parametrize(
    ("request_", "status", "sort"),
    [
        ({"path": "/v9/nowhere"}, 404, "ABSENT"),
        ({"body": {"turns": []}}, 400, "WRONG"),
    ],
)
def test_provider_errors_have_its_own_message_and_envelope(server, request_, status, sort):
    response = talk(server, **request_)
    assert response.status_code == status
    assert trouble(response)["sort"] == sort
    assert trouble(response)["talk"] == response.headers["talk-id"]


@integration
def test_provider_error_before_a_stream_and_in_its_middle(server):
    before = talk(server, {"flowing": True}, **{"x-fastmock-fault": "status; status=503"})
    assert (before.status_code, trouble(before)["words"]) == (503, "Something broke.")
    for after in (0, 2):
        response = talk(server, {"flowing": True}, **{"x-fastmock-fault": f"error_event; after={after}; status=500"})
        assert response.status_code == 200
        *events, last = response.json()
        assert len(events) == after
        assert last["trouble"]["words"] == "Something broke."


def raw(server, fault, flowing=True):
    """Return the bytes of an answer as far as it comes, and whether the connection was reset."""
    body = orjson.dumps(TALK | {"flowing": flowing})
    head = f"POST {PATH}?key=secret-1 HTTP/1.1\r\nhost: x\r\nx-fastmock-fault: {fault}\r\ncontent-length: {len(body)}"
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=1.5) as connection:
        connection.sendall(head.encode() + b"\r\ncontent-type: application/json\r\n\r\n" + body)
        try:
            while data := connection.recv(65536):
                received += data
                if received.endswith(b"\r\n0\r\n\r\n"):
                    break
        except ConnectionResetError:
            return received, True
        except TimeoutError:
            pass
    return received, False


@integration
def test_provider_streams_take_the_faults_of_streams(server):
    def events(fault):
        return talk(server, {"flowing": True}, **{"x-fastmock-fault": fault})

    usual = talk(server, {"flowing": True}).json()
    twice = events("duplicated_chunk; after=0").json()
    assert twice[:2] == [usual[0], usual[0]]
    assert events("duplicated_chunk; after=2").json()[2:4] == [usual[2], usual[2]]
    with pytest.raises(json.JSONDecodeError):
        events("malformed_chunk; after=1").json()
    with pytest.raises(json.JSONDecodeError):
        events("cut; after=2").json()
    with pytest.raises(UnicodeDecodeError):
        events("invalid_utf8; after=1").content.decode()
    assert events("wrong_usage; factor=3").json()[-1]["count"]["spoken"] == 15
    assert events("slow_first_token; for=10ms").json() == usual
    assert events("latency_spike; factor=2").headers["x-fastmock-fault"].startswith("latency_spike")
    begin = time.monotonic()
    assert events("stall; after=2; for=0.3s").json() == usual
    assert time.monotonic() - begin >= 0.3
    assert events("wrong_content_type").headers["content-type"] == "text/html"


@integration
def test_provider_answers_take_the_faults_of_whole_answers(server):
    def answer(fault, body=None):
        return talk(server, body, **{"x-fastmock-fault": fault})

    assert answer("empty_body").content == b""
    assert len(answer("truncated_body").content) < len(talk(server).content)
    assert answer("wrong_usage; factor=2").json()["count"]["spoken"] == 10
    called = {"tools": [TOOL], "turns": [{"who": "me", "says": "look"}]}
    [use] = answer("broken_tool_arguments", called).json()["says"]["uses"]
    with pytest.raises(json.JSONDecodeError):
        json.loads(use["with"])
    flowing = answer("broken_tool_arguments", called | {"flowing": True}).json()
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(event.get("with", "") for event in flowing))


@integration
def test_provider_connections_take_the_faults_of_connections(server):
    if server.runtime == "robyn":
        refused = talk(server, **{"x-fastmock-fault": "reset"})
        assert refused.status_code == 400
        assert "reset" in trouble(refused)["words"]
        return
    assert raw(server, "reset") == (b"", True)
    assert raw(server, "reset; after=2")[1]
    assert raw(server, "hang") == (b"", False)
    assert b'{"model":"robin"}' in raw(server, "stall; after=1")[0]
    assert raw(server, "close_idle", flowing=False)[0].startswith(b"HTTP/1.1 200")
    assert b"]" not in raw(server, "cut; after=2; clean=false")[0].partition(b"\r\n\r\n")[2]


@integration
def test_provider_requests_are_in_the_journal_without_their_keys(server):
    marker = "Say hello to the journal"
    talk(server, {"turns": [{"who": "me", "says": marker}]}, key="wally:secret-1")
    found = httpx.get(f"{server.url}/fastmock/requests", params={"endpoint": "talk", "session": "wally"})
    assert "secret-1" not in found.text
    record = found.json()["requests"][0]
    assert record["path"] == PATH
    assert record["rule"] == "hello"
    assert record["model"] == "robin"
    assert record["session"] == "wally"
    assert record["body"]["turns"][0]["says"] == marker
    talk(server, {"turns": [{"who": "me", "says": "nothing of the kind"}]}, key="wally:secret-1")
    query = {"session": "wally", "rule": "*.default", "explain": "true"}
    missed = httpx.get(f"{server.url}/fastmock/requests", params=query).json()["requests"][0]
    assert missed["nearest"]
    assert missed["differences"]


@integration
def test_provider_requests_are_verified_by_match(server):
    marker = "Say hello to the verifier"
    talk(server, {"turns": [{"who": "me", "says": marker}]})
    wanted = {"match": {"endpoint": "talk", "model": "robin", "content": marker}, "count": 1, "wait_ms": 2000}
    assert httpx.post(f"{server.url}/fastmock/verify", json=wanted).status_code == 200


@integration
def test_provider_requests_are_counted_in_metrics(server):
    talk(server)
    text = httpx.get(f"{server.url}/metrics").text
    line = next(line for line in text.splitlines() if 'endpoint="talk"' in line and 'rule="hello"' in line)
    assert line.startswith("fastmock_requests_total")
    assert 'model="robin"' in line


@integration
def test_provider_requests_are_shown_on_the_dashboard(server):
    talk(server)
    with httpx.stream("GET", f"{server.url}/fastmock/events", timeout=10) as events:
        first = next(line for line in events.iter_lines() if line.startswith("data: "))
    requests = json.loads(first.removeprefix("data: "))["requests"]
    assert "robin" in [one["model"] for one in requests if one["path"] == PATH]  # others were refused
    assert "secret-1" not in first


@integration
def test_provider_is_known_to_browsers_by_its_exposed_headers(server):
    response = talk(server, origin="https://example.org")
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"talk-id", "talk-version", "talk-calls-remaining", "x-request-id", "request-id"} <= set(exposed)


@integration
def test_provider_rules_change_at_runtime(server):
    rule = {"match": {"endpoint": "talk", "content_contains": "weather"}, "content": "It rains."}
    assert httpx.put(f"{server.url}/fastmock/rules/weather", json=rule).status_code == 200
    assert talk(server, {"turns": [{"who": "me", "says": "the weather?"}]}).json()["says"]["text"] == "It rains."
    wrong = httpx.put(f"{server.url}/fastmock/rules/w", json=rule | {"match": {"endpoint": "tolk"}})
    assert wrong.status_code == 400
    assert "did you mean 'talk'?" in wrong.text


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_provider_limits_use_its_own_headers_and_errors(serve, runtime):
    config = {"server": PROVIDER, "limits": {"requests_per_minute": 2}}
    server = serve(config, "--runtime", runtime)
    first = talk(server)
    assert (first.headers["talk-calls-limit"], first.headers["talk-calls-remaining"]) == ("2", "1")
    assert first.headers["talk-calls-reset"].endswith(" ms")
    talk(server)
    refused = talk(server)
    assert refused.status_code == 429
    assert trouble(refused)["words"] == "You have talked enough: requests per min (RPM)."
    assert "retry-after" in refused.headers
    assert talk(server, key="another").status_code == 200


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_provider_latency_and_heartbeats_go_by_its_framing(serve, runtime):
    latency = {"ttft": 600, "itl": 5}
    config = {"server": PROVIDER, "latency": latency, "streaming": {"heartbeat": {"interval": 0.2, "form": "ping"}}}
    server = serve(config, "--runtime", runtime)
    response = talk(server, {"flowing": True})
    assert response.content.startswith(b"  [")
    assert response.json()[-1]["ended"] == "stop"


MANAGER = """
from fastmock.responses import ResponseManager

class Shouting(ResponseManager):
    def generate_chat_response(self, data, file=None):
        answer = super().generate_chat_response(data, file)
        message = answer["choices"][0]["message"]
        message["content"] = message["content"].upper() + " " + data["messages"][-1]["content"]
        return answer
"""


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_provider_answers_come_from_the_response_manager(serve, runtime, tmp_path):
    (tmp_path / "shouting.py").write_text(MANAGER)
    server = serve({"server": PROVIDER, "responses": {"manager": "shouting:Shouting"}}, "--runtime", runtime)
    said = talk(server, {"turns": [{"who": "me", "says": "quietly"}]}).json()
    assert said["says"]["text"].endswith("quietly")
    assert said["says"]["text"].partition("quietly")[0].isupper()
    flowing = talk(server, {"turns": [{"who": "me", "says": "quietly"}], "flowing": True}).json()
    assert "".join(event.get("piece", "") for event in flowing) == said["says"]["text"]


@unit
def test_provider_request_is_explained_by_its_path(tmp_path):
    (tmp_path / "config.json").write_bytes(orjson.dumps(CONFIG))
    app = make_app(CONFIG)
    verdict = app.readings.explain(orjson.dumps(TALK), {}, PATH)
    assert verdict.winner == "hello"
    named = {"talk-client": "1"}
    with pytest.raises(ApiError, match="talk"):  # without its path it has no model
        app.readings.explain(orjson.dumps(TALK), named)


@integration
def test_provider_is_known_to_the_command(tmp_path):
    (tmp_path / "config.json").write_bytes(orjson.dumps(CONFIG))
    (tmp_path / "talk.json").write_bytes(orjson.dumps(TALK))
    explained = command("explain", "talk.json", "--path", PATH, cwd=tmp_path)
    assert "hello" in explained.stdout, explained.stderr
    checked = command("check", "config.json", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


@unit
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tests.providers.made_up_provider:PROVIDED", "did you mean 'PROVIDER'?"),
        ("tests.nowhere:X", "cannot import 'tests.nowhere'"),
        ("tests.providers.made_up_provider:api", "is not a fastmock.core.provider.Provider"),
    ],
)
def test_provider_that_cannot_be_loaded_is_an_error_of_the_configuration(tmp_path, name, said):
    from fastmock.build import build
    from fastmock.config.load import load
    from fastmock.core.problems import ConfigError

    file = Path(tmp_path / "config.json")
    file.write_bytes(orjson.dumps({"server": {"providers": [name]}}))
    loaded, problems = load(file, {}, {})
    assert problems == []
    with pytest.raises(ConfigError, match=r"server\.providers") as caught:
        build(loaded)
    assert said in str(caught.value.problems[0])


@unit
def test_provider_leaves_the_built_in_ones_as_they_are():
    app = make_app(CONFIG)
    from fastmock.core.http import Request

    body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]})
    reply = app.handle(Request("POST", "/v1/chat/completions", {"authorization": "Bearer secret-1"}, body))
    assert isinstance(reply, Reply)
    assert orjson.loads(reply.body)["object"] == "chat.completion"
