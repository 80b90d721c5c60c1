"""Paced responses over sockets, on both runtimes: timing, disconnecting and slow clients, TLS."""

import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import orjson
import pytest
import trustme
from openai import OpenAI

from fastmock.content.filler import counter
from tests.support import command, undisturbed, wait_until

pytestmark = pytest.mark.integration

HELLO = [{"role": "user", "content": "Hello"}]
COUNTER = {"output": {"kind": "counter", "tokens": 10}}
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"


@pytest.fixture(params=["robyn", "granian"])
def runtime(request):
    return request.param


def health(server):
    with urllib.request.urlopen(server.url + "/health") as answer:
        return orjson.loads(answer.read())["last_minute"]


def ask(server, stream=True, buffer=None, **body):
    """Send a request on a connection of its own and return the connection, with a receive buffer of a size in bytes."""
    content = orjson.dumps({"model": "m", "stream": stream, "messages": HELLO} | body)
    connection = socket.socket()
    connection.settimeout(20)
    if buffer is not None:  # before connecting, so that the kernel does not enlarge it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
    return connection


def read(connection):
    data = b""
    while part := connection.recv(1 << 16):
        data += part
    return data


@undisturbed
def test_whole_and_streamed_answers_take_the_same_time(serve, runtime):
    server = serve({"latency": {"ttft": 300, "itl": 40}} | COUNTER, "--runtime", runtime)
    with OpenAI(base_url=server.url, api_key="x", max_retries=0, _strict_response_validation=True) as client:
        start = time.perf_counter()
        whole = client.chat.completions.create(model="m", messages=HELLO)
        took = time.perf_counter() - start
        assert 0.66 <= took < 1.2
        start = time.perf_counter()
        times = []
        text = ""
        for chunk in client.chat.completions.create(model="m", messages=HELLO, stream=True):
            times.append(time.perf_counter() - start)
            text += chunk.choices[0].delta.content or ""
    assert text == whole.choices[0].message.content == counter(10)
    assert 0.3 <= times[0] < 0.6  # the first chunk, which has but the role, is held back as well
    assert 0.66 <= times[-1] < 1.2
    assert len({int(at / 0.03) for at in times}) > 3  # nor do the others come at once, even if this reader hiccups
    seen = health(server)
    assert seen["in_flight"] == 0
    assert seen["frames"] >= 11
    assert 0 < seen["lateness_ms"]["p50"] <= seen["lateness_ms"]["p99"] < 1000


@undisturbed
def test_latency_headers_set_latency_and_length(serve):
    server = serve({"server": {"control_headers": True}})
    assert "granian (auto)" in server.greeting
    with OpenAI(base_url=server.url, api_key="x", max_retries=0) as client:

        def took(**headers):
            named = {f"x-fastmock-{name.replace('_', '-')}": value for name, value in headers.items()}
            start = time.perf_counter()
            answer = client.chat.completions.create(model="m", messages=HELLO, extra_headers=named)
            return time.perf_counter() - start, answer.usage.completion_tokens

        assert took()[0] < 0.2
        seconds, tokens = took(ttft_ms="200", itl_ms="20", output_tokens="6")
        assert tokens == 6
        assert 0.3 <= seconds < 0.6


def test_stop_waits_for_whole_answers_in_flight(serve, runtime):
    server = serve({"latency": {"ttft": 1500}} | COUNTER, "--runtime", runtime)
    connections = [ask(server, stream=number % 2 == 0) for number in range(40)]
    time.sleep(0.5)
    server.process.send_signal(signal.SIGTERM)
    answers = [read(connection) for connection in connections]
    for connection in connections:
        connection.close()
    assert all(counter(10).split()[-1].encode() in answer and answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert server.stop() == 0


def test_client_disconnect_while_waiting_ends_the_answer(serve, runtime):
    # Granian: at once. Robyn: a stream when its wait ends, a whole answer when its time has passed.
    wait = 30_000 if runtime == "granian" else 1500
    server = serve({"latency": {"ttft": wait, "itl": 100}} | COUNTER, "--runtime", runtime)
    connections = [ask(server, stream=number % 3 > 0) for number in range(30)]
    assert wait_until(lambda: health(server)["in_flight"] == 30, 8)
    for connection in connections:
        connection.close()
    assert wait_until(lambda: health(server)["in_flight"] == 0, 8)


def test_client_disconnect_between_frames_ends_the_stream(serve, runtime):
    server = serve({"latency": {"itl": 100}, "output": {"kind": "counter", "tokens": 1000}}, "--runtime", runtime)
    connections = [ask(server) for _ in range(30)]
    for connection in connections:
        assert connection.recv(10)
        connection.close()
    assert wait_until(lambda: health(server)["in_flight"] == 0, 2)


def test_answers_in_flight_of_a_killed_worker_are_cleared(serve, runtime):
    server = serve({"latency": {"ttft": 20_000}}, "--runtime", runtime)
    with ask(server):
        assert wait_until(lambda: health(server)["in_flight"] == 1, 3)
        os.kill(server.workers()[0], signal.SIGKILL)
        assert wait_until(lambda: health(server)["in_flight"] == 0, 5)


def pss(server):
    """Return the proportional set size of a server's workers, in MiB."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in server.workers()]
    return sum(int(re.search(r"^Pss: +(\d+)", text, re.M)[1]) for text in texts) / 1024


@pytest.mark.parametrize("runtime", ["robyn", "granian"], indirect=True)
@undisturbed
def test_slow_readers_get_backpressure_and_complete_streams(serve, runtime, tmp_path):
    # 6 MB, all due within 1.5 seconds: more than the kernel buffers for a connection, which is up to 4 MB as a rule.
    words = " ".join(f"{number}{'x' * 4000}" for number in range(1500))
    (tmp_path / "long.json").write_bytes(orjson.dumps({"choices": [{"message": {"content": words}}]}))
    config = {
        "streaming": {"chunk_delay_ms": 1, "tokens_per_chunk": 1},
        "responses": {"chat_completions": {"default": "long.json"}},
    }
    server = serve(config, "--runtime", runtime)
    with ask(server) as quick:
        whole = read(quick)
    before = pss(server)
    with ExitStack() as stack:
        slow = [stack.enter_context(ask(server, buffer=65536)) for _ in range(8)]
        time.sleep(2)
        assert pss(server) - before < 20  # of 48 MB that were due
        assert health(server)["in_flight"] == 8
        with ThreadPoolExecutor(8) as threads:
            ends = list(threads.map(read, slow))
    event = b'"delta":{"content":'
    assert [end.count(event) for end in ends] == [whole.count(event)] * 8
    assert all(end.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for end in ends)


def test_reload_on_robyn_warns_that_new_latency_needs_a_restart(serve, tmp_path):
    file = tmp_path / "config.json"
    file.write_text("{}")
    server = serve(None, "--config", str(file), "--runtime", "robyn")
    file.write_text('{"latency": {"ttft": 100}}')
    server.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "reloaded" in "".join(server.errors), 5)
    assert "delayed non-streaming responses are sent in chunks until a restart" in "".join(server.errors)


# --- TLS and HTTP/2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return a certificate's file, its key's, and a context that trusts it."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.private_key_pem.write_to_path(str(directory / "key.pem"))
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(directory / "cert.pem"), append=number > 0)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return str(directory / "cert.pem"), str(directory / "key.pem"), trusting


def test_tls_serves_http1_and_http2(serve, certificate):
    cert, key, trusting = certificate
    config = {"latency": {"itl": 20}, "server": {"http2": True}} | COUNTER
    server = serve(config, "--tls-cert", cert, "--tls-key", key)
    assert server.url.startswith("https://")
    assert "curl --insecure https://" in server.greeting
    for http2 in (False, True):
        body = {"model": "m", "messages": HELLO, "stream": True}
        with httpx.Client(verify=trusting, http2=http2, headers={"authorization": "Bearer x"}) as client:
            with client.stream("POST", server.url + "/v1/chat/completions", json=body) as answer:
                assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
                start = time.perf_counter()
                lines = [line for line in answer.iter_lines() if line]
                assert time.perf_counter() - start > 0.1
            assert len(lines) == 13
            assert client.post(server.url + "/v1/chat/completions", json=body | {"stream": False}).status_code == 200
    if openssl_curl():
        command = server.greeting.partition("Try it:")[2].replace("\\\n", " ").strip()
        done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=10, check=False)
        assert orjson.loads(done.stdout)["object"] == "chat.completion"


def openssl_curl():
    try:
        shown = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return False
    return "https" in shown


def test_http2_without_tls_is_served(serve):
    server = serve({"server": {"http2": True}, "latency": {"itl": 5}} | COUNTER)
    assert "granian (auto)" in server.greeting
    body = {"model": "m", "messages": HELLO, "stream": True}
    with httpx.Client(http1=False, http2=True, headers={"authorization": "Bearer x"}) as client:
        answer = client.post(server.url + "/v1/chat/completions", json=body)
        assert answer.http_version == "HTTP/2"
        assert answer.text.endswith("data: [DONE]\n\n")
    assert health(server)["frames"] > 9  # HTTP/1.1 beside it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--tls-cert", "CERT", "--tls-key", "KEY", "--runtime", "robyn"],
            "server.tls_cert: Robyn does not support this; leave",
        ),
        (["--tls-cert", "CERT"], "server.tls_key: is required: 'tls_cert' and 'tls_key'"),
        (["--tls-cert", "KEY", "--tls-key", "CERT"], "server.tls_cert: "),
        (["--tls-cert", "none.pem", "--tls-key", "KEY"], "cannot be used: [Errno 2] No such file"),
    ],
)
def test_tls_settings_with_an_error_fail_at_start(certificate, tmp_path, arguments, said):
    cert, key, _ = certificate
    words = [{"CERT": cert, "KEY": key}.get(word, word) for word in arguments]
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
