"""The request log."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import orjson
import pytest

from fastmock.core.http import Request, Stream
from fastmock.telemetry.observer import observe
from fastmock.telemetry.request_log import Line, RequestLog, as_json, as_text
from tests.support import KEY, ROOT, make_app, wait_until

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
LINE = Line(1_700_000_000.5, "req_1", "POST", "/v1/x\ny", "a\x1bb", 200, 12, 0.25, "", "")


@pytest.mark.unit
def test_request_log_escapes_newlines():
    assert as_text(LINE) == b"2023-11-14T22:13:20.500Z req_1 POST /v1/x\\ny 200 12 B 0.250 ms model=a\\x1bb\n"
    assert orjson.loads(as_json(LINE)) == LINE._asdict()
    assert as_json(LINE).count(b"\n") == 1


@pytest.mark.unit
def test_request_log_disabled_wraps_no_handler():
    app = make_app()
    assert app.handlers[("POST", "/v1/chat/completions")].__qualname__.startswith("App.")


@pytest.mark.unit
@pytest.mark.parametrize("full", [False, True])
def test_request_log_full_buffer_reports_lost_lines(monkeypatch, full):
    app = make_app({"server": {"log_requests": True}, "streaming": {"chunk_delay_ms": 1}})
    monkeypatch.setattr("fastmock.telemetry.request_log._BUFFER", 3 if full else 100)
    receive, send = os.pipe()
    log = RequestLog(as_json, send)
    app = observe(app, [log])
    for _ in range(4):
        app.handle(Request("POST", "/v1/chat/completions", KEY, orjson.dumps(HELLO)))
    stream = app.handle(Request("POST", "/v1/chat/completions", KEY, orjson.dumps(HELLO | {"stream": True})))
    assert isinstance(stream, Stream)
    size = len(stream.cut(0, len(list(stream.due_times))))
    del stream  # it has been sent
    log.close()
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        lines = [orjson.loads(line) for line in pipe]
    if full:
        assert lines[0] == {"lost": 2}
        assert len(lines) == 4
    else:
        assert len(lines) == 5
        assert lines[4]["bytes"] == size
        assert {line["rule"] for line in lines} == {"chat_completions.default"}


@pytest.mark.integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_request_log_has_a_line_for_every_request(serve, runtime, form):
    patterns = [{"name": "greeting", "match": {"content": "Hello"}, "content": "Hi"}]
    config = {
        "server": {"log_requests": True, "log_format": form, "workers": 2, "runtime": runtime},
        "responses": {"chat_completions": {"patterns": patterns}},
    }
    server = serve(config)
    ids = []
    for number in range(200):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("POST", "/v1/chat/completions", orjson.dumps(HELLO | {"user": str(number)}), KEY)
        response = connection.getresponse()
        response.read()
        ids.append(response.getheader("x-request-id"))
        connection.close()
    assert server.stop(signal.SIGTERM) == 0
    lines = []
    while (line := server.lines.get(timeout=5)) is not None:
        lines.append(line)
    if form == "json":
        found = [orjson.loads(line) for line in lines]  # all of standard output is JSON
        assert {(line["method"], line["status"], line["rule"]) for line in found} == {("POST", 200, "greeting")}
        assert sorted(line["request_id"] for line in found) == sorted(ids)
    else:
        form_of = r"\S+Z (req_\w+) POST \S+ 200 \d+ B [\d.]+ ms model=gpt-4o rule=greeting\n"
        assert sorted(match[1] for line in lines if (match := re.fullmatch(form_of, line))) == sorted(ids)


@pytest.mark.integration
@pytest.mark.parametrize("output", ["/dev/full", "closed"])
def test_request_log_unwritable_output_does_not_stop_the_server(tmp_path, output):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    redirection = ">&-" if output == "closed" else f"> {output}"
    shell = f"exec {sys.executable} -m fastmock --log-requests --port {port} {redirection}"
    process = subprocess.Popen(["bash", "-c", shell], env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)

    def answers():
        with suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            status = connection.getresponse().status
            connection.close()
            return status == 200
        return False

    try:
        assert wait_until(answers, 60)
        assert wait_until(answers, 5)
    finally:
        process.terminate()
        code = process.wait(20)
    assert code in (0, 120)  # 120: Python could not flush the output at its end
