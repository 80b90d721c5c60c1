"""Recording: a proxy before an upstream, on a real socket."""

import gzip
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import jsonschema
import orjson
import pytest

from fastmock.build import Layers
from fastmock.cassettes.cassette import parse_line
from fastmock.cassettes.recorder import CassetteWriter
from fastmock.core.problems import ConfigError
from fastmock.server.runtimes.select import RUNTIMES
from tests.cassettes.support import JSON, PATH, RawUpstream, chat, chunk, head, line, posted, write
from tests.support import ROOT, Server, undisturbed, wait_until

SECRET = "CANARY-0123456789"
EVENTS = [b"data: %d\n\n" % number for number in range(5)]


@pytest.fixture
def upstream():
    """Start servers that answer as a test says."""
    started = []

    def start(answer):
        started.append(RawUpstream(answer))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def record(serve, tmp_path):
    """Start a recorder before an upstream."""

    def start(url, *arguments, config=None, **settings):
        given = {"upstream": url, "to": str(tmp_path / "cassettes"), "allow_in_ci": True, **settings}
        return serve({"record": given, **(config or {})}, *arguments)

    return start


def recordings(place):
    files = sorted(place.glob("*.jsonl")) if place.is_dir() else [place]
    return [parse_line(text) for file in files if file.exists() for text in file.read_bytes().splitlines()]


def wait_for(place, count=1):
    assert wait_until(lambda: place.exists() and len(recordings(place)) >= count, 10)
    return recordings(place)


def streaming(*chunks, pause=0.0, end=b"0\r\n\r\n"):
    def answer(connection, request):
        connection.sendall(head(content_type="text/event-stream", transfer_encoding="chunked"))
        for data in chunks:
            connection.sendall(chunk(data))
            time.sleep(pause)
        connection.sendall(end)

    return answer


pytestmark = pytest.mark.integration


def test_bytes_status_and_headers_are_relayed_and_recorded(upstream, record, tmp_path):
    body = b'{"id": "x"}\n'

    def answer(connection, request):
        headers = {"content_type": "application/json", "x_ratelimit_remaining_requests": "7", "x_new": "1"}
        connection.sendall(head("418 I'm a teapot", content_length=str(len(body)), set_cookie="a=b", **headers) + body)

    source = upstream(answer)
    server = record(source.url)
    answered = httpx.post(f"{server.url}/v9/any/path%20here?x=1&x=2", content=b"{}", headers=JSON)
    assert (answered.status_code, answered.content) == (418, body)
    assert answered.headers["x-new"] == "1"
    assert answered.headers["set-cookie"] == "a=b"
    assert b"POST /v9/any/path%20here?x=1&x=2 HTTP/1.1\r\n" in source.requests[0]
    [found] = wait_for(tmp_path / "cassettes")
    assert (found.answer.status, found.answer.content) == (418, body)
    assert found.answer.headers == {"content-type": "application/json", "x-ratelimit-remaining-requests": "7"}
    assert (found.request.path, found.request.query) == ("/v9/any/path here", {"x": ["1", "2"]})


@undisturbed
def test_parts_of_a_stream_arrive_as_they_come_with_their_times(upstream, record, tmp_path_factory):
    source, place = upstream(streaming(b": comment\n\n", *EVENTS, pause=0.1)), tmp_path_factory.mktemp("cassettes")
    server = record(source.url, to=str(place))
    times = []
    with httpx.stream("POST", f"{server.url}{PATH}", content=chat(stream=True), headers=JSON) as answered:
        for part in answered.iter_raw():
            times.append((time.monotonic(), part))
    assert [part for _, part in times] == [b": comment\n\n", *EVENTS]
    assert times[-1][0] - times[0][0] > 0.4
    [found] = wait_for(place)
    assert [frame.data for frame in found.answer.frames] == [b": comment\n\n", *EVENTS]
    gaps = [later.at - before.at for before, later in zip(found.answer.frames, found.answer.frames[1:], strict=False)]
    assert all(40 < gap < 1000 for gap in gaps), gaps
    assert found.answer.end > found.answer.frames[-1].at + 40


@pytest.mark.parametrize("kind", ["gzip", "binary", "multipart", "empty"])
def test_bodies_of_every_kind_are_relayed_and_replayed(upstream, record, serve, tmp_path, kind):
    content = {"gzip": gzip.compress(b'{"text": "hello"}'), "binary": bytes(range(256)), "empty": b""}.get(kind, b"{}")
    more = {"content_encoding": "gzip"} if kind == "gzip" else {}

    def answer(connection, request):
        connection.sendall(head(content_length=str(len(content)), content_type="audio/mpeg", **more) + content)

    server = record(upstream(answer).url)
    given = {"content": chat()} if kind != "multipart" else {"files": {"file": ("a.wav", b"\x00\xff")}}
    headers = {"authorization": "Bearer sk-test"}

    def raw(url):
        with httpx.stream("POST", f"{url}/v1/audio/x", headers=headers, **given) as answered:
            return answered.status_code, b"".join(answered.iter_raw()), answered.headers.get("content-encoding")

    relayed = raw(server.url)
    assert relayed == (200, content, "gzip" if kind == "gzip" else None)
    [found] = wait_for(tmp_path / "cassettes")
    entry = orjson.loads(found.line())
    assert entry["answer"].get("view") == ({"text": "hello"} if kind == "gzip" else None)
    for runtime in ("granian", "robyn"):
        assert raw(serve({"cassettes": str(tmp_path / "cassettes")}, "--runtime", runtime).url) == relayed


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ({"authorization": "Bearer sess-1:sk-real"}, {"authorization": "Bearer sk-real"}),
        ({"authorization": "Bearer sk-real"}, {"authorization": "Bearer sk-real"}),
        ({"x-api-key": "sess-1:key", "anthropic-version": "2023-06-01"}, {"x-api-key": "key"}),
    ],
)
def test_upstream_gets_the_key_of_the_request_without_its_session(upstream, record, sent, received):
    source = upstream(streaming(b"{}"))
    server = record(source.url)
    path = "/v1/messages" if "x-api-key" in sent else PATH
    httpx.post(
        f"{server.url}{path}", content=chat(), headers={**sent, "x-fastmock-session": "s", "connection": "close"}
    )
    lines = source.requests[0].lower().split(b"\r\n")
    for name, value in received.items():
        assert f"{name}: {value}".lower().encode() in lines
    assert not any(line.startswith((b"x-fastmock", b"connection: close")) for line in lines)


def test_upstream_gets_its_own_key(upstream, serve, tmp_path):
    source = upstream(streaming(b"{}"))
    own = {"url": source.url, "key_env": "OTHER_KEY"}
    record = {"upstream": source.url, "upstream_key_env": "THE_KEY", "upstreams": {"anthropic": own}}
    config = {"record": {**record, "to": str(tmp_path / "c"), "allow_in_ci": True}}
    server = serve(config, env={"THE_KEY": f"sk-{SECRET}", "OTHER_KEY": "other"})
    httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON)
    httpx.post(f"{server.url}/v1/messages", content=chat(), headers={"x-api-key": "sk-test"})
    assert f"authorization: bearer sk-{SECRET}".lower().encode() in source.requests[0].lower()
    assert b"x-api-key: other" in source.requests[1].lower()
    wait_for(tmp_path / "c", 2)
    assert SECRET not in "".join(file.read_text() for file in (tmp_path / "c").iterdir())


def test_no_secret_reaches_the_disk(upstream, record, tmp_path):
    echo = orjson.dumps(
        {"message": f"Incorrect API key provided: {SECRET}. Organization org-{SECRET.replace('-', '')}"}
    )

    def answer(connection, request):
        headers = {"set_cookie": SECRET, "openai_organization": SECRET, "x_unknown": SECRET}
        connection.sendall(head(content_length=str(len(echo)), content_type="application/json", **headers) + echo)

    server = record(upstream(answer).url)
    headers = {"authorization": f"Bearer s:{SECRET}", "x-api-key": SECRET, "cookie": f"a={SECRET}", "x-any": SECRET}
    headers |= {"openai-organization": SECRET, "openai-project": SECRET, "anthropic-organization-id": SECRET}
    body = {
        "api_key": SECRET,
        "messages": [{"role": "user", "content": f"key {SECRET}"}],
        "metadata": {"password": SECRET},
    }
    url = f"{server.url}{PATH}?api_key={SECRET}&key={SECRET}"
    assert httpx.post(url, json=body, headers=headers).content == echo
    httpx.post(url, data={"client_secret": SECRET, "x": SECRET}, headers=headers)
    httpx.post(url, files={"api_key": (None, SECRET), "x": (None, SECRET)}, headers=headers)
    httpx.get(url, headers=headers)
    found = wait_for(tmp_path / "cassettes", 4)
    text = "".join(file.read_text() for file in (tmp_path / "cassettes").iterdir())
    assert "CANARY" not in text
    assert all(len(one.answer.content) == len(echo) for one in found)


def test_unreachable_upstream_is_a_bad_gateway_at_once(record, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = record(f"http://127.0.0.1:{port}")
    began = time.monotonic()
    answered = httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON)
    assert time.monotonic() - began < 5
    assert answered.status_code == 502
    assert answered.json()["error"]["code"] == "upstream_failed"
    assert str(port) in answered.json()["error"]["message"]
    answered = httpx.post(f"{server.url}/v1/messages", content=chat(), headers={"x-api-key": "k"})
    assert (answered.status_code, answered.json()["type"]) == (502, "error")
    assert not (tmp_path / "cassettes").exists()


@pytest.mark.parametrize("ending", ["chunked", "length", "head", "nothing"])
def test_answer_that_the_upstream_breaks_off_is_broken_and_not_recorded(upstream, record, tmp_path, ending):
    def answer(connection, request):
        if ending == "chunked":
            streaming(*EVENTS, end=b"")(connection, request)
        elif ending == "length":
            connection.sendall(head(content_length="100") + b"half")
        elif ending == "head":
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-")

    server = record(upstream(answer).url)
    received = []
    if ending in ("chunked", "length"):
        with pytest.raises(httpx.RemoteProtocolError):  # noqa: SIM117
            with httpx.stream("POST", f"{server.url}{PATH}", content=chat(), headers=JSON) as answered:
                received.extend(answered.iter_raw())
        assert b"".join(received) == (b"".join(EVENTS) if ending == "chunked" else b"half")
    else:
        assert httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON).status_code == 502
    time.sleep(0.2)
    assert not (tmp_path / "cassettes").exists()


def test_a_client_that_hangs_up_at_any_byte_loses_nothing(upstream, record, tmp_path):
    source = upstream(streaming(*EVENTS, pause=0.02))
    server = record(source.url)
    body = chat(stream=True)
    request = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-test\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body

    def hang_up_after(size):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(request)
            while size > 0 and (part := connection.recv(size)):
                size -= len(part)

    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request)
        whole = b""
        while not whole.endswith(b"0\r\n\r\n"):
            whole += connection.recv(65_536)
    with ThreadPoolExecutor(8) as threads:
        [*threads.map(hang_up_after, range(len(whole)))]
    # A request whose client is gone before the server has seen it does not reach the upstream.
    assert len(source.requests) > len(whole) * 0.9
    assert wait_until(lambda: len(recordings(tmp_path / "cassettes")) == len(source.requests), 20)
    found = recordings(tmp_path / "cassettes")
    assert {one.answer.content for one in found} == {b"".join(EVENTS)}


def test_several_workers_write_files_that_are_read_as_one(upstream, record, serve, tmp_path):
    source = upstream(lambda connection, request: streaming(request[-40:])(connection, request))
    server = record(source.url, "--workers", "3")

    def post(number):
        with httpx.Client() as client:
            return client.post(f"{server.url}{PATH}", content=chat(f"number {number:04}"), headers=JSON).content

    with ThreadPoolExecutor(12) as threads:
        bodies = [*threads.map(post, range(120))]
    wait_for(tmp_path / "cassettes", 120)
    assert server.stop() == 0
    assert len(recordings(tmp_path / "cassettes")) == 120
    for runtime in ("granian", "robyn"):
        replaying = serve({"cassettes": str(tmp_path / "cassettes"), "server": {"runtime": runtime, "workers": 3}})
        server = replaying
        with ThreadPoolExecutor(12) as threads:
            assert [*threads.map(post, range(120))] == bodies


def test_recorder_continues_a_torn_cassette(upstream, record, tmp_path):
    (tmp_path / "cassettes").mkdir()
    file = tmp_path / "cassettes" / "recorded-0.jsonl"
    file.write_bytes(b'{"version":1,"at":"2026')
    server = record(upstream(streaming(b"{}")).url)
    httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON)
    [found] = wait_for(tmp_path / "cassettes")
    assert found.answer.content == b"{}"


def test_two_recorders_write_to_files_of_their_own(upstream, record, tmp_path):
    source = upstream(streaming(b"{}"))
    servers = [record(source.url, to=str(tmp_path / "a.jsonl")) for _ in range(2)]
    for server in servers:
        httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON)
    for name in ("a.jsonl", "a.1.jsonl"):
        [_] = wait_for(tmp_path / name)


def test_full_disk_stops_recording_with_one_message_and_relays_on(upstream, record, tmp_path):
    (tmp_path / "c.jsonl").symlink_to("/dev/full")
    server = record(upstream(streaming(b"x" * 2000)).url, to=str(tmp_path / "c.jsonl"))
    for _ in range(6):
        assert len(httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON).content) == 2000
    server.stop()
    assert "".join(server.errors).count("recording stops, requests are still forwarded") == 1


@pytest.mark.unit
def test_line_that_was_written_in_part_is_removed(tmp_path, caplog):
    writer = CassetteWriter(tmp_path / "a.jsonl", 0)
    assert writer.write(b"whole\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        assert not writer.write(b"x" * 100 + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not writer.write(b"later\n")
    assert (tmp_path / "a.jsonl").read_bytes() == b"whole\n"
    assert caplog.text.count("recording stops") == 1


def test_unmatched_requests_alone_are_forwarded(upstream, record, serve, tmp_path):
    source = upstream(streaming(b'{"from": "upstream"}'))
    rules = {"responses": {"chat_completions": {"rules": [{"match": {"content_contains": "rule"}, "content": "hi"}]}}}
    server = record(source.url, config=rules, requests="unmatched")
    assert b"hi" in httpx.post(f"{server.url}{PATH}", content=chat("by rule"), headers=JSON).content
    assert source.requests == []
    assert b"upstream" in httpx.post(f"{server.url}{PATH}", content=chat("other"), headers=JSON).content
    wait_for(tmp_path / "cassettes")
    again = {**rules, "cassettes": str(tmp_path / "cassettes")}
    server = record(source.url, config=again, requests="unmatched", to=str(tmp_path / "new"))
    assert b"upstream" in httpx.post(f"{server.url}{PATH}", content=chat("other"), headers=JSON).content
    assert len(source.requests) == 1
    httpx.post(f"{server.url}{PATH}", content=chat("new"), headers=JSON)
    assert len(source.requests) == 2
    [found] = wait_for(tmp_path / "new")
    assert b"new" in found.line()


def test_redirects_are_relayed_and_not_followed(upstream, record):
    elsewhere = upstream(streaming(b"{}"))
    source = upstream(
        lambda connection, request: connection.sendall(
            head("307 Temporary Redirect", location=f"{elsewhere.url}/x", content_length="0")
        )
    )
    answered = httpx.post(f"{record(source.url).url}{PATH}", content=chat(), headers=JSON)
    assert (answered.status_code, elsewhere.requests) == (307, [])


def test_forwarded_requests_are_in_journal_and_metrics(upstream, record):
    config = {"journal": {"enabled": True}, "metrics": {"enabled": True}}

    def answer(connection, request):
        time.sleep(0.2)
        streaming(*EVENTS, pause=0.05)(connection, request)

    server = record(upstream(answer).url, config=config)
    httpx.post(f"{server.url}{PATH}", content=chat(stream=True), headers=JSON)
    status, found = server.control("GET", "requests")
    assert status == 200
    [request] = found["requests"]
    assert (request["status"], request["path"]) == (200, PATH)

    def counted():
        text = httpx.get(f"{server.url}/metrics").text
        assert re.search(r'fastmock_requests_total\{.*status="200".*\} 1', text)
        return re.findall(r"fastmock_request_duration_seconds_sum\{.*\} (\S+)", text)

    assert wait_until(counted, 10)
    assert float(counted()[0]) > 0.4  # the time until the upstream answered is part of it


@pytest.mark.parametrize("how", ["whole", "broken", "hung up", "refused"])
def test_forwarded_requests_end_for_metrics_however_they_end(upstream, record, how):
    source = upstream(streaming(*EVENTS, pause=0.05, end=b"" if how == "broken" else b"0\r\n\r\n"))
    if how == "refused":
        source.close()
    server = record(source.url, config={"metrics": {"enabled": True}})
    with suppress(httpx.HTTPError):
        timeout = 0.12 if how == "hung up" else 20
        httpx.post(f"{server.url}{PATH}", content=chat(stream=True), headers=JSON, timeout=timeout)

    def gauges():
        text = httpx.get(f"{server.url}/metrics").text
        counted = re.search(r"fastmock_request_duration_seconds_count\{.*\} 1", text)
        return bool(counted) and "fastmock_open_streams 0" in text

    assert wait_until(gauges, 10)


def test_stop_waits_for_answers_whose_clients_are_gone(upstream, record, tmp_path):
    begun = threading.Event()

    def answer(connection, request):
        begun.set()
        streaming(*EVENTS, pause=0.3)(connection, request)

    server = record(upstream(answer).url)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}{PATH}", content=chat(stream=True), headers=JSON, timeout=0.2)
    assert begun.wait(5)
    assert server.stop() == 0
    [found] = recordings(tmp_path / "cassettes")
    assert found.answer.content == b"".join(EVENTS)


def test_command_records_and_replays(upstream, tmp_path):
    source = upstream(streaming(b'{"recorded": true}'))
    arguments = ("record", "--upstream", source.url, "--to", "cassettes", "--allow-record")
    server = Server(*arguments, cwd=tmp_path)
    assert f"to cassettes: all requests, answered by {source.url}" in server.greeting
    assert httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON).json() == {"recorded": True}
    assert server.stop() == 0
    server = Server("--cassettes", "cassettes", "--replay-speed", "1", cwd=tmp_path)
    assert "recordings 1, from cassettes" in server.greeting
    assert httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON).json() == {"recorded": True}
    assert httpx.post(f"{server.url}{PATH}", content=chat("new"), headers=JSON).status_code == 404
    assert server.stop() == 0


def test_run_records_with_the_urls_and_keys_of_its_caller(upstream, tmp_path):
    source = upstream(streaming(b"{}"))
    environ = {"OPENAI_BASE_URL": f"{source.url}/v1", "OPENAI_API_KEY": f"sk-{SECRET}", "CI": ""}
    code = f"""
import os, httpx
headers = {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}}
httpx.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", content={chat()!r}, headers=headers).raise_for_status()
assert "{SECRET}" not in os.environ["OPENAI_API_KEY"]
"""
    command = [sys.executable, "-m", "fastmock", "run", "--record-to", "c", "--", sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **environ}, check=True, timeout=60)
    assert f"authorization: bearer sk-{SECRET}".lower().encode() in source.requests[0].lower()
    [_] = recordings(tmp_path / "c")


def test_lines_fulfil_the_schema(upstream, record, tmp_path):
    schema = json.loads((ROOT / "docs/cassette.schema.json").read_text())
    server = record(upstream(streaming(*EVENTS, b"\xff")).url)
    httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON)
    httpx.post(f"{server.url}{PATH}", files={"a": b"1", "b": (None, "text")}, headers={"authorization": "Bearer x"})
    httpx.post(f"{server.url}{PATH}", data={"a": "1"}, headers={"authorization": "Bearer x"})
    httpx.post(f"{server.url}{PATH}", content=b"\xff", headers={"authorization": "Bearer x"})
    httpx.get(f"{server.url}{PATH}?a=b", headers={"authorization": "Bearer x"})
    for one in wait_for(tmp_path / "cassettes", 5):
        jsonschema.validate(json.loads(one.line()), schema)


@pytest.mark.parametrize("how", ["signal", "watch"])
def test_reload_reads_the_cassettes_again(serve, tmp_path, how):
    place = write(tmp_path, line(posted(chat("one")), b"1"))
    server = serve({"cassettes": str(place)}, "--workers", "2", *(["--watch"] if how == "watch" else []))

    def status(text):
        return httpx.post(f"{server.url}{PATH}", content=chat(text), headers=JSON).status_code

    assert (status("one"), status("two")) == (200, 404)
    with (place / "a.jsonl").open("ab") as file:
        file.write(line(posted(chat("two")), b"2"))
    write(tmp_path, line(posted(chat("three")), b"3"), name="b.jsonl")
    if how == "signal":
        server.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: {status(text) for text in ("one", "two", "three")} == {200}, 20)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("settings", "config", "message"),
    [
        ({"upstream": "ftp://x"}, {}, "must be a URL"),
        ({"upstream": "https://u:p@x"}, {}, "without user, password"),
        ({"upstreams": {"antropic": {"url": "https://x"}}}, {}, "did you mean 'anthropic'"),
        ({"upstream_key_env": "K"}, {"server": {"host": "0.0.0.0"}}, "would lend its API key"),
        ({"to": "/proc/version"}, {}, "is a file without the suffix"),
        ({}, {"server": {"runtime": "robyn"}}, "does not support recording"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, settings, config, message):
    given = {"to": str(tmp_path / "c"), **settings}
    with pytest.raises(ConfigError, match=re.escape(message)):
        Layers({"record": given, **config}, {}, {}, runtimes=RUNTIMES).load()


def test_recording_is_refused_in_ci_and_without_its_key(tmp_path, upstream):
    environ = {"CI": "true", "PATH": os.environ["PATH"]}
    arguments = ["record", "--to", "c", "--upstream-key-env", "NO_SUCH_KEY"]
    with pytest.raises(RuntimeError) as error:
        Server(*arguments, cwd=tmp_path, env=environ)
    assert "recording is refused because CI is set; --allow-record allows it" in str(error.value)
    assert "NO_SUCH_KEY, the key for an upstream, is not set" in str(error.value)


def test_upstream_cannot_be_changed_over_the_control_api(serve, upstream, tmp_path):
    server = serve()
    record = {"to": str(tmp_path / "c"), "upstream": "http://127.0.0.1:9"}
    status, body = server.control("PUT", "config", {"record": record})
    assert status == 400
    assert "cannot be changed over the control API" in json.dumps(body)
    status, body = server.control("PUT", "config", {"cassettes": {"files": [str(tmp_path)]}})
    assert status == 400
    assert "names a file" in json.dumps(body)
