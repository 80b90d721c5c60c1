"""Overload: the queue of requests, its order, its errors, and places freed by disconnecting clients."""

import os
import signal
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import orjson
import psutil
import pytest

from fastmock.core.http import Reply, ResponseHead, Stream
from fastmock.limits.concurrency import wait
from tests.support import undisturbed, wait_until

PATH = "/v1/chat/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
unit, integration = pytest.mark.unit, pytest.mark.integration
on_both = pytest.mark.parametrize("runtime", ["robyn", "granian"])


class Turn:
    """A ticket by the book: admitted at a time."""

    ended = None

    def __init__(self, clock, at):
        self._clock, self._at = clock, at

    def before(self):
        return -1 if self._clock() >= self._at else 50

    def start(self):
        return self._at


def walked(answer, ticket):
    """Have an answer wait and walk it by a clock that is where each step was due; return the steps' times and bytes."""
    now = 100.0

    def clock():
        return now

    ticket = ticket(clock)
    wait(answer, ticket, 1, clock)
    steps = []
    for due in answer.due_times:
        assert due >= now - 100
        now = 100 + due
        steps.append(due)
    return steps, ticket.ended


@unit
def test_answer_time_starts_with_its_turn():
    parts = [b"a", b"b", b"c"]
    stream = Stream(ResponseHead(200, ()), "r", iter([0.5, 0.6, 0.7]), lambda a, b: b"".join(parts[a:b]), 3)
    steps, ended = walked(stream, lambda clock: Turn(clock, 102.0))
    assert steps[-3:] == pytest.approx([2.5, 2.6, 2.7])
    assert ended == pytest.approx(102.7)
    looks = len(steps) - 3
    assert 2 <= looks <= 2 / 0.1 + 1
    assert stream.cut(0, looks) == b""
    assert stream.cut(looks - 1, looks + 2) == b"ab"
    assert stream.cut(looks + 2, looks + 3) == b"c"

    whole = Reply(ResponseHead(200, ()), "r", b"x")
    whole.due_times = iter([0.5])
    assert walked(whole, lambda clock: Turn(clock, 90.0)) == ([0.5], pytest.approx(100.5))


@unit
@pytest.mark.parametrize(
    ("status", "kind", "theirs", "their_kind"),
    [(503, "server_error", 529, "overloaded_error"), (429, "requests", 429, "rate_limit_error")],
)
def test_queue_when_full_answers_the_provider_overload_error(call, status, kind, theirs, their_kind):
    overload = {"max_concurrent": 1, "max_queue": 1, "status": status}
    post = call({"latency": {"ttft": 1000}, "overload": overload})
    kept = [post(PATH, HELLO | {"stream": stream}) for stream in (True, False)]
    refused = post(PATH, HELLO)
    assert refused.head.status == status
    error = orjson.loads(refused.body)["error"]
    assert (error["type"], error["code"]) == (kind, None)
    refused = post("/v1/messages", HELLO | {"max_tokens": 9})
    error = orjson.loads(refused.body)["error"]
    assert (refused.head.status, error["type"]) == (theirs, their_kind)
    assert ("at a time" in error["message"]) == (status == 429)
    assert orjson.loads(post("/health", method="GET").body)["queued"] == 1
    assert post("/v1/models", method="GET").head.status == 200
    kept.clear()
    assert post(PATH, HELLO).head.status == 200


# What follows needs sockets.


def request(stream=True):
    content = orjson.dumps(HELLO | {"stream": stream})
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-x\r\nConnection: close\r\n"
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(content), content)


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def ask(server, stream=True):
    """Send a request on a connection of its own and return the connection."""
    connection = connect(server)
    connection.sendall(request(stream))
    return connection


def connected(server, pids, count):
    """Return, for each worker, so many connections that it has accepted."""
    ours = {}

    def theirs():
        peers = [{c.raddr.port for c in psutil.Process(pid).net_connections() if c.raddr} for pid in pids]
        return [[connection for port, connection in ours.items() if port in ports] for ports in peers]

    for _ in range(50):
        for _ in range(20):
            connection = connect(server)
            ours[connection.getsockname()[1]] = connection
        assert wait_until(lambda: sum(map(len, theirs())) == len(ours), 5)
        if min(map(len, theirs())) >= count:
            break
    kept = [connections[:count] for connections in theirs()]
    for connection in ours.values():
        if connection not in kept[0] + kept[1]:
            connection.close()
    return kept


def read(connection):
    data = b""
    with connection:
        while part := connection.recv(1 << 16):
            data += part
    return data, time.monotonic()


def health(server):
    with urllib.request.urlopen(server.url + "/health") as answer:
        return orjson.loads(answer.read())


@integration
@on_both
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("stream", [True, False])
@undisturbed
def test_latency_rises_with_the_queue_in_order(serve, runtime, workers, stream):
    config = {"latency": {"ttft": 200}, "overload": {"max_concurrent": 4}}
    server = serve(config, "--runtime", runtime, "--workers", workers)
    start = time.monotonic()
    connections = []
    for place in range(16):
        connections.append(ask(server, stream))
        if place < 4:
            time.sleep(0.01)
        else:  # so that the order in which they come is known
            wait_until(lambda place=place: health(server)["queued"] > place - 4, 0.1)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(read, connections))
    assert all(data.startswith(b"HTTP/1.1 200") for data, _ in answers)
    ends = [at - start for _, at in answers]
    for turn in range(4):  # 4 at a time: each turn ends 0.2 s after the last
        for end in ends[turn * 4 : turn * 4 + 4]:
            assert (turn + 1) * 0.2 - 0.01 <= end <= (turn + 1) * 0.2 + 0.4, ends
    assert ends[-1] <= 4 * 0.2 + 0.25, ends  # what is noticed late does not add up
    assert health(server)["queued"] == 0


@integration
@on_both
def test_sdk_retries_until_the_queue_has_room(serve, runtime):
    import openai

    config = {"latency": {"ttft": 1000}, "overload": {"max_concurrent": 2, "max_queue": 1}}
    server = serve(config, "--runtime", runtime)

    def call(retries):
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-x", max_retries=retries) as client:
            try:
                return client.chat.completions.with_raw_response.create(**HELLO).retries_taken
            except openai.APIStatusError as error:
                return error.status_code

    with ThreadPoolExecutor(6) as threads:
        once = list(threads.map(call, [0] * 6))
        assert sorted(once) == [0, 0, 0, 503, 503, 503]
        assert sum(threads.map(call, [8] * 6)) > 0


@integration
@on_both
def test_client_disconnect_releases_its_queue_place(serve, runtime):
    # As in test_pacing: Robyn notices it only when the wait is over.
    wait_ms = 60_000 if runtime == "granian" else 1000
    config = {"latency": {"ttft": wait_ms}, "overload": {"max_concurrent": 3, "max_queue": 20}}
    server = serve(config, "--runtime", runtime)
    connections = [ask(server, stream=number % 2 > 0) for number in range(20)]
    assert wait_until(lambda: health(server)["queued"] == 17, 8)
    for connection in connections:
        connection.close()
    assert wait_until(lambda: health(server)["last_minute"]["in_flight"] == 0, 20)
    assert wait_until(lambda: health(server)["queued"] == 0, 20)


@integration
@on_both
@undisturbed
def test_queue_places_of_a_killed_worker_go_to_waiting_requests(serve, runtime):
    config = {"latency": {"ttft": 2500}, "overload": {"max_concurrent": 6, "max_queue": 100}}
    server = serve(config, "--runtime", runtime, "--workers", "2")
    doomed, other = server.workers()
    of_doomed, of_other = connected(server, [doomed, other], 6)
    for connection in of_doomed + of_other:
        connection.sendall(request())
        time.sleep(0.01)
    assert wait_until(lambda: health(server)["queued"] == 6, 2)
    start = time.monotonic()
    os.kill(doomed, signal.SIGKILL)
    with ThreadPoolExecutor(6) as threads:
        ends = [at - start for _, at in threads.map(read, of_other)]
    assert all(2.4 <= end <= 3.1 for end in ends), ends  # they began when it died, all at once
    assert health(server)["queued"] == 0
    for connection in of_doomed:
        connection.close()


@integration
@undisturbed
def test_reload_changes_the_concurrency(serve, tmp_path):
    server = serve({"latency": {"ttft": 400}, "overload": {"max_concurrent": 1}}, "--runtime", "granian")
    config = {"latency": {"ttft": 400}, "overload": {"max_concurrent": 10}}
    max(tmp_path.glob("config*.json")).write_bytes(orjson.dumps(config))  # the last that was started
    server.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "reloaded: " in "".join(server.errors), 10)
    start = time.monotonic()
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(read, [ask(server) for _ in range(10)]))
    assert max(at for _, at in answers) - start < 1.5
