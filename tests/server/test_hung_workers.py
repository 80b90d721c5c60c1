"""A hanging worker is replaced, and no process outlives the supervisor."""

import gc
import os
import signal
import threading
import time
import weakref
from contextlib import suppress

import httpx
import psutil
import pytest

from fastmock.core.http import Progress
from fastmock.server.heartbeat import Heartbeat, Heartbeats, Watch
from tests.support import wait_until

unit, integration = pytest.mark.unit, pytest.mark.integration
on_both = pytest.mark.parametrize("runtime", ["robyn", "granian"])
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}
HEADERS = {"authorization": "Bearer sk-test"}

# A server executes this before anything else: a trap in the API itself, as a defect would be one.
TRAP = """
from ctypes import PyDLL
from fastmock.providers.openai.chat.endpoint import Chat

answer = Chat.__call__

def trapped(self, request, unique):
    while "endless" in str(request.body):
        pass
    if "locked" in str(request.body):  # the interpreter, as a regular expression does
        PyDLL(None).sleep(3600)
    return answer(self, request, unique)

Chat.__call__ = trapped
"""
SLOW = """
import time
from fastmock.responses import ResponseManager

class Slow(ResponseManager):
    def generate_chat_response(self, data, file=None):
        time.sleep(4)
        return super().generate_chat_response(data, file)
"""


def said(server, text):
    return any(text in line for line in server.errors)


def post(server, model, timeout=10.0):
    body = CHAT | {"model": model}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=HEADERS, timeout=timeout)


def hang(server, model):
    def call():
        with suppress(httpx.HTTPError):
            post(server, model, 30)

    thread = threading.Thread(target=call)
    thread.start()
    return thread


@pytest.fixture
def trapped(serve):
    def start(runtime, **server):
        return serve({"server": server}, "--runtime", runtime, "--workers", "2", prelude=TRAP)

    return start


@integration
@on_both
@pytest.mark.parametrize("model", ["endless", "locked"])
def test_hung_worker_is_killed_and_replaced(trapped, runtime, model):
    server = trapped(runtime, worker_timeout=2)
    before = server.workers()
    thread = hang(server, model)
    assert wait_until(lambda: said(server, "it is killed"), 8), server.errors
    assert said(server, "since it began to answer POST /v1/chat/completions")
    assert wait_until(lambda: len(server.workers()) == 2 and server.workers() != before, 5)
    thread.join(10)
    assert len(set(before) & set(server.workers())) == 1
    for _ in range(10):
        assert post(server, "m").status_code == 200


@integration
@on_both
def test_slow_response_manager_is_not_taken_for_a_hung_worker(serve, runtime, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    config = {"server": {"worker_timeout": 1}, "responses": {"manager": "slow:Slow"}}
    server = serve(config, "--runtime", runtime, "--workers", "2")
    before = server.workers()
    assert post(server, "m", 20).status_code == 200
    assert server.workers() == before
    assert not said(server, "it is killed")


@integration
@on_both
def test_change_does_not_wait_for_a_hung_worker(trapped, runtime):
    server = trapped(runtime, worker_timeout=100)
    thread = hang(server, "locked")
    time.sleep(2)
    status = 0
    deadline = time.monotonic() + 60
    while status != 200 and time.monotonic() < deadline:  # a request of ours may fall to the worker that hangs
        try:
            rule = {"id": "mine", "match": {"content": "x"}, "content": "new"}
            status = httpx.put(f"{server.url}/fastmock/rules/mine", json=rule, timeout=4).status_code
        except httpx.TimeoutException:
            continue
    assert status == 200
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    thread.join(10)


def suspend(pid):
    """Stop a process; it does nothing any more when this returns."""
    os.kill(pid, signal.SIGSTOP)
    assert wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, 10)


@integration
@on_both
def test_suspended_worker_resumes_with_the_current_config(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "2")
    rule = {"id": "mine", "match": {"content": "x"}, "content": "new"}
    assert server.control("PUT", "rules/mine", rule | {"content": "old"})[0] == 200  # so both have started
    stopped, other = server.workers()
    suspend(stopped)
    time.sleep(2)
    with httpx.Client(base_url=server.url, headers=HEADERS, timeout=30) as client:
        assert client.put("/fastmock/rules/mine", json=rule).status_code == 200
        suspend(other)
        os.kill(stopped, signal.SIGCONT)
    with httpx.Client(base_url=server.url, headers=HEADERS, timeout=30) as client:
        assert client.post("/v1/chat/completions", json=CHAT).json()["choices"][0]["message"]["content"] == "new"
    os.kill(other, signal.SIGCONT)


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # whoever inherited it may reap it late
    except psutil.NoSuchProcess:
        return False


def tree(server):
    return [one.pid for one in psutil.Process(server.process.pid).children(recursive=True)]


@integration
@on_both
@pytest.mark.parametrize("hung", [False, True])
def test_processes_and_run_directory_end_with_a_killed_parent(trapped, runtime, hung, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = trapped(runtime, worker_timeout=30)
    assert post(server, "m").status_code == 200
    stored = CHAT | {"store": True}
    httpx.post(f"{server.url}/v1/chat/completions", json=stored, headers=HEADERS).raise_for_status()
    directories = list(tmp_path.glob("fastmock-*"))
    assert len(directories) == 1
    thread = hang(server, "locked") if hung else None
    if hung:
        time.sleep(1)
    processes = tree(server)
    assert len(processes) >= 2
    os.kill(server.process.pid, signal.SIGKILL)
    assert wait_until(lambda: not any(map(is_running, processes)), 5), processes
    assert wait_until(lambda: not directories[0].exists(), 5)
    if thread:
        thread.join(10)


@integration
def test_run_directory_left_behind_is_removed_at_the_next_start(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    abandoned, foreign = tmp_path / "fastmock-99999-0123abcd", tmp_path / "fastmock-project"
    abandoned.mkdir()
    (abandoned / "stored.sqlite").write_text("x")
    foreign.mkdir()
    first = serve({})
    held = [path for path in tmp_path.glob("fastmock-*-*") if path != abandoned]
    serve({})
    assert not abandoned.exists()
    assert foreign.exists()
    assert len(held) == 1
    assert held[0].exists()
    first.stop()
    assert not held[0].exists()


@unit
def test_watch_ignores_time_while_the_parent_was_suspended():
    heartbeats = Heartbeats(1)
    watch = Watch(heartbeats, 2)
    heartbeats.of(0)[2] = int((time.monotonic() - 100) * 1e9)
    watch.look()
    assert watch.away(0) < 1  # the parent has looked for that long only
    watch._since -= 50
    watch._seen -= 50
    assert watch.is_hung(0, os.getpid()) == (watch.away(0) >= 2)
    watch.look()  # 50 seconds later: it was suspended
    assert not watch.is_hung(0, os.getpid())
    watch._since -= 3  # it has run since
    assert watch.is_hung(0, os.getpid())


@unit
def test_worker_heartbeat_stops_while_a_watched_thread_is_in_one_call():
    heartbeats = Heartbeats(1)
    heart = Heartbeat(heartbeats.of(0), 0.5)
    end = threading.Event()

    def answer():
        heart.watch()
        end.wait(10)

    thread = threading.Thread(target=answer)
    thread.start()
    now = time.monotonic()
    heart._beat(now)
    heart._beat(now + 5)
    assert heart.cells[2] == pytest.approx(now * 1e9, rel=1e-6)
    heart.cells[Progress.MANAGER] = 1
    heart._beat(now + 6)
    assert heart.cells[2] / 1e9 == pytest.approx(now + 6)
    heart.cells[Progress.MANAGER] = 0
    end.set()
    thread.join()
    heart._beat(now + 7)
    assert heart.cells[2] / 1e9 == pytest.approx(now + 7)


@unit
def test_worker_heartbeat_keeps_no_frames_of_other_threads():
    heart = Heartbeat(Heartbeats(1).of(0), 0.5)
    heart.watch()

    class Large:
        pass

    gone = threading.Event()
    begun, end = threading.Event(), threading.Event()

    def answer():
        held = Large()
        weakref.finalize(held, gone.set)
        begun.set()
        end.wait(10)

    thread = threading.Thread(target=answer)  # it is not watched
    thread.start()
    begun.wait(10)
    gc.disable()
    try:
        heart._beat(time.monotonic())
        end.set()
        thread.join()
        assert gone.wait(5)
    finally:
        gc.enable()
