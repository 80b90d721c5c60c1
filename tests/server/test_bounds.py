"""The cost of a request is bounded, and one client cannot block others."""

import gzip
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import httpx
import orjson
import psutil
import pytest
import zstandard

from fastmock.server.runtimes.connections import Connections, most_connections
from fastmock.shared.block import Share
from fastmock.shared.connection_counts import OPENED, REUSED
from tests.support import KEY, ROOT, serving, undisturbed, wait_until

unit, integration = pytest.mark.unit, pytest.mark.integration
on_both = pytest.mark.parametrize("runtime", ["robyn", "granian"])
PATH = "/v1/chat/completions"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}
LOREM = {"output": {"kind": "lorem", "tokens": 20}}


@unit
def test_limit_of_open_files_bounds_connections(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1000, 1000))
    assert most_connections(None) == 1000 - 48
    assert most_connections(100) == 100


# Over sockets.


def connect(server, data=b""):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    if data:
        connection.sendall(data)
    return connection


def post_head(length, *more):
    lines = (b"POST /v1/chat/completions HTTP/1.1", b"Host: x", b"Authorization: Bearer x", *more)
    return b"\r\n".join((*lines, b"Content-Length: %d" % length, b"", b""))


def new_client_is_served(server, seconds=1.0):
    """Whether a client that comes now is answered within so many seconds."""
    start = time.monotonic()
    with suppress(OSError), connect(server, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as one:
        one.settimeout(10)
        return one.recv(100).startswith(b"HTTP/1.1 200") and time.monotonic() - start < seconds
    return False


@pytest.fixture(scope="module")
def bounded(tmp_path_factory):
    config = {
        "server": {"request_timeout": 2, "keep_alive": 3, "max_connections": 200, "max_buffered_bytes": 4 << 20},
        "metrics": {"enabled": True},
        "output": {"kind": "lorem", "tokens": 20},
    }
    with serving(tmp_path_factory.mktemp("bounded"), config, "--runtime", "granian") as server:
        yield server


@integration
@pytest.mark.parametrize("length", [100, 50_000, 0])
def test_body_that_stops_coming_is_answered_with_408(bounded, length):
    head = post_head(length) if length else post_head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with connect(bounded, head + (b'{"mod' if length else b"5\r\n{    \r\n")) as connection:
        start = time.monotonic()
        received = connection.recv(100)
        assert received.startswith(b"HTTP/1.1 408")
        assert 1.5 < time.monotonic() - start < 6
        while received:
            received = connection.recv(4096)  # the connection ends too


@integration
def test_body_that_comes_slowly_but_steadily_is_received(bounded):
    body = orjson.dumps(CHAT | {"messages": [{"role": "user", "content": "x" * 40_000}]})
    with connect(bounded, post_head(len(body))) as connection:
        for place in range(0, len(body), 10_000):
            time.sleep(0.8)  # more than request_timeout in all
            connection.sendall(body[place : place + 10_000])
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@integration
def test_idle_connections_end_after_the_announced_time(bounded):
    with connect(bounded, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert b"keep-alive: timeout=3\r\n" in connection.recv(4096)
        start = time.monotonic()
        assert connection.recv(1) == b""
        assert 2.5 < time.monotonic() - start < 6


@integration
@pytest.mark.parametrize(
    "data",
    [b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /hea", post_head(99) + b"{", post_head(99_999) + b"{"],
)
def test_idle_connections_leave_room_for_new_ones(bounded, data):
    with ExitStack() as stack:
        for _ in range(260):  # of 200
            with suppress(OSError):
                stack.enter_context(connect(bounded, data))
        assert wait_until(lambda: new_client_is_served(bounded), 3)
        assert all(new_client_is_served(bounded) for _ in range(5))


@integration
def test_stalled_readers_are_bounded_in_memory_and_time(bounded):
    [worker] = bounded.workers()
    before = psutil.Process(worker).memory_full_info().pss
    body = orjson.dumps({"model": "text-embedding-3-large", "input": ["a"] * 64})  # 2 MB
    request = post_head(len(body)).replace(b"chat/completions", b"embeddings") + body
    with ExitStack() as stack:
        readers = [stack.enter_context(connect(bounded, request)) for _ in range(40)]
        time.sleep(1)
        assert new_client_is_served(bounded)
        assert psutil.Process(worker).memory_full_info().pss - before < 60 << 20
        # Those beyond the buffers have been refused, and the others are let go of in the end.
        refused = 0
        for reader in readers:
            reader.settimeout(20)
            received = reader.recv(4096)
            refused += received.startswith(b"HTTP/1.1 503") and b"retry-after: 1" in received
        assert 10 < refused < 40


@integration
def test_large_answer_arrives_whole(bounded):
    body = {"model": "text-embedding-3-large", "input": ["a"] * 64}
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # the readers of another test may not have been given up yet
        answer = httpx.post(f"{bounded.url}/v1/embeddings", json=body, headers=KEY, timeout=20)
        if answer.status_code == 200:
            break
        time.sleep(0.5)
    assert answer.status_code == 200
    assert len(answer.content) > 1 << 20
    assert len(answer.json()["data"]) == 64
    assert int(answer.headers["content-length"]) == len(answer.content)


@integration
def test_bodies_in_flight_share_a_budget(bounded):
    with ExitStack() as stack:
        held = [stack.enter_context(connect(bounded, post_head(1 << 20) + b"{")) for _ in range(4)]
        time.sleep(0.3)
        with connect(bounded, post_head(1 << 20) + b"{") as refused:
            received = refused.recv(4096)
        assert received.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in received
        with connect(bounded, post_head(len(orjson.dumps(CHAT))) + orjson.dumps(CHAT)) as small:
            assert small.recv(100).startswith(b"HTTP/1.1 200")
        del held


@integration
def test_connections_counted_when_opened_and_reused(serve):
    server = serve({"metrics": {"enabled": True}}, "--runtime", "granian")

    def counted(name):
        text = httpx.get(f"{server.url}/metrics").text
        return float(
            next(line for line in text.splitlines() if line.startswith(f"fastmock_connections_{name}_total")).split()[1]
        )

    def requests(connection, count):
        for _ in range(count):
            connection.request("GET", "/v1/models", headers=KEY)
            connection.getresponse().read()
        connection.close()

    opened, reused = counted("opened"), counted("reused")
    requests(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10), 5)
    assert counted("opened") - opened == 3  # of ours, and each look at the metrics
    assert counted("reused") - reused == 4


@unit
def test_connections_counted_as_opened_when_a_port_is_used_again():
    share = Share()
    connections = Connections(100, share)
    for _ in range(3):
        for port in range(32_768, 33_768):
            connections.seen(f"127.0.0.1:{port}")
    assert share.numbers[share.row + OPENED] == 3000
    assert share.numbers[share.row + REUSED] == 0


@integration
def test_fault_close_idle_closes_a_kept_connection(serve):
    server = serve({"faults": [{"kind": "close_idle", "after_idle": 0.3}]})
    data = orjson.dumps(CHAT)
    with connect(server, post_head(len(data)) + data) as connection:
        received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 200")
        assert b"connection: close" not in received
        start = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.2 < time.monotonic() - start < 3


@integration
@on_both
def test_stop_closes_idle_connections_at_once(serve, runtime):
    server = serve({}, "--runtime", runtime)
    with connect(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as idle, connect(server, b"GET /hea"):
        idle.recv(4096)
        start = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - start < 3


@integration
def test_websocket_handshake_is_answered_with_426(serve):
    server = serve({}, "--runtime", "granian")
    lines = (
        *(b"GET /v1/responses HTTP/1.1", b"Host: x", b"Authorization: Bearer k", b"Connection: Upgrade"),
        *(
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            b"",
            b"",
        ),
    )
    with connect(server, b"\r\n".join(lines)) as one:
        received = one.recv(4096)
    assert received.startswith(b"HTTP/1.1 426")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"] == "websocket_not_supported"
    assert httpx.get(f"{server.url}/v1/responses", headers=KEY).status_code == 405


@integration
@on_both
def test_compressed_bodies_on_a_server_are_decoded(serve, runtime):
    server = serve({}, "--runtime", runtime)
    for coding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstandard.compress)):
        headers = KEY | {"content-encoding": coding}
        answer = httpx.post(f"{server.url}{PATH}", content=compress(orjson.dumps(CHAT)), headers=headers)
        assert answer.status_code == 200, (coding, answer.text)


@integration
def test_http_1_0_stream_ends_by_closing(serve):
    server = serve({"latency": {"ttft": 50}}, "--runtime", "granian")
    data = orjson.dumps(CHAT | {"stream": True})
    received = b""
    with connect(server, post_head(len(data)).replace(b"HTTP/1.1", b"HTTP/1.0") + data) as one:
        while part := one.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"data: ")
    assert body.endswith(b"data: [DONE]\n\n")


@integration
@on_both
def test_queue_advances_when_waiting_clients_disconnect(serve, runtime):
    config = {
        "latency": {"ttft": 300, "itl": 20},
        "output": {"kind": "counter", "tokens": 20},
        "overload": {"max_concurrent": 2},
    }
    server = serve(config, "--runtime", runtime)
    data = orjson.dumps(CHAT | {"stream": True})
    request = post_head(len(data)) + data
    running = [connect(server, request) for _ in range(2)]
    time.sleep(0.05)
    leaving = [connect(server, request) for _ in range(2)]
    time.sleep(0.1)
    for connection in leaving:
        connection.close()
    last, received, start = connect(server, request), b"", time.monotonic()
    while b"[DONE]" not in received:
        received += last.recv(65536)
    assert time.monotonic() - start < 6
    for connection in (*running, last):
        connection.close()


@integration
def test_waiting_in_the_queue_counts_as_no_frame(serve):
    config = {"latency": {"ttft": 400}, "output": {"kind": "counter", "tokens": 2}, "overload": {"max_concurrent": 1}}
    server = serve(config, "--runtime", "granian")

    def post():
        httpx.post(f"{server.url}{PATH}", json=CHAT, headers=KEY, timeout=20)

    threads = [threading.Thread(target=post) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert httpx.get(f"{server.url}/health").json()["last_minute"]["frames"] == 3


@integration
@undisturbed
def test_small_requests_are_not_delayed_by_large_ones(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("apart"), LOREM, "--runtime", "granian") as server:
        worst = [
            (PATH, orjson.dumps(CHAT | {"min_tokens": 100_000, "n": 2, "stream": True})),
            (PATH, orjson.dumps(CHAT | {"min_tokens": 2000, "logprobs": True, "top_logprobs": 20})),
            ("/v1/moderations", orjson.dumps({"input": ["a"] * 2048})),
            ("/v1/embeddings", orjson.dumps({"model": "text-embedding-3-large", "input": ["a"] * 1000})),
            (PATH, orjson.dumps(CHAT | {"messages": [{"role": "user", "content": "some words " * 90_000}]})),
        ]
        stop = threading.Event()

        def load():
            with httpx.Client(base_url=server.url, headers=KEY, timeout=60) as client:
                while not stop.is_set():
                    for path, body in worst:
                        client.post(path, content=body)

        thread = threading.Thread(target=load)
        thread.start()
        times = []
        with httpx.Client(base_url=server.url, headers=KEY, timeout=60) as client:
            for _ in range(200):
                start = time.perf_counter()
                assert client.post(PATH, json=CHAT | {"model": "gpt-4o"}).status_code == 200
                times.append(time.perf_counter() - start)
                time.sleep(0.01)
        stop.set()
        thread.join()
        times.sort()
        print(f"p50 {times[100] * 1000:.1f} ms, p99 {times[197] * 1000:.1f} ms")
        assert times[190] < 0.5


@integration
@on_both
def test_server_runs_without_a_writable_directory(runtime, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("takes the right to mount")
    script = f"""
mount --bind / /mnt && mount -o remount,ro,bind /mnt && mount -t proc proc /mnt/proc || exit 77
mount --bind /dev /mnt/dev || exit 77
exec chroot /mnt env -i PATH=/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={ROOT} \
  {sys.executable} -m fastmock --port 0 --runtime {runtime}
"""
    with subprocess.Popen(
        ["unshare", "--mount", "bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if "listening on" in line:
                url = line.split()[-1]
                break
        else:
            if process.wait() == 77:
                pytest.skip("this machine mounts nothing")
            raise AssertionError(process.stderr.read())
        body = CHAT | {"store": True}
        assert httpx.post(f"{url}/chat/completions", json=body, headers=KEY, timeout=10).status_code == 200
        process.send_signal(signal.SIGTERM)
        errors = process.stderr.read()
    assert errors.count("cannot create a directory for temporary files") == 1


@integration
@on_both
def test_64_open_files_are_enough_to_start_and_serve(serve, runtime, tmp_path):
    def limit(pid):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))

    server = serve({}, "--runtime", runtime, started=limit)
    for _ in range(5):
        assert new_client_is_served(server, 5)


@integration
def test_answers_of_some_hundred_kilobytes_are_bounded_in_memory_and_time(serve):
    """They are handed to Granian whole, and count in the budget while a client reads nothing."""
    server = serve({"server": {"max_buffered_bytes": 8 << 20, "request_timeout": 2}}, "--runtime", "granian")
    body = orjson.dumps({"model": "text-embedding-3-small", "input": ["text"] * 120, "encoding_format": "base64"})
    request = post_head(len(body)).replace(b"chat/completions", b"embeddings") + body
    with ExitStack() as stack:
        readers = []
        for _ in range(40):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", server.port))
            reader.sendall(request)
            reader.settimeout(20)
            readers.append(reader)
        refused = sum(reader.recv(100).startswith(b"HTTP/1.1 503") for reader in readers)
        assert 0 < refused < 40
        assert wait_until(lambda: httpx.post(f"{server.url}/v1/embeddings", content=body, headers=KEY).is_success, 10)


@integration
def test_budget_has_room_for_many_clients_that_read(serve):
    server = serve({}, "--runtime", "granian")
    texts = [f"text {number}" for number in range(100)]
    body = {"model": "text-embedding-3-small", "input": texts, "encoding_format": "base64"}

    def ask(_):
        with httpx.Client(timeout=60) as client:
            answers = [client.post(f"{server.url}/v1/embeddings", json=body, headers=KEY) for _ in range(10)]
        return {(answer.status_code, len(answer.content)) for answer in answers}

    with ThreadPoolExecutor(40) as pool:
        assert len(set().union(*pool.map(ask, range(40)))) == 1


@integration
def test_large_answer_of_a_disconnected_client_releases_its_memory(serve):
    server = serve({"server": {"max_buffered_bytes": 3 << 20}}, "--runtime", "granian")
    texts = [f"text {number}" for number in range(100)]
    body = orjson.dumps({"model": "text-embedding-3-small", "input": texts, "encoding_format": "base64"})
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\ncontent-length: {len(body)}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(head.encode() + body)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")

    def answered():
        return httpx.post(f"{server.url}/v1/embeddings", content=body, headers=KEY, timeout=10).status_code == 200

    assert wait_until(answered, 1)
