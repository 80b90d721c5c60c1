"""Any change of the configuration is applied or refused, and the server goes on."""

import http.client
import os
import signal
import threading
import time
from pathlib import Path

import httpx
import orjson
import pytest

from tests.support import undisturbed, wait_until

pytestmark = pytest.mark.integration
on_both = pytest.mark.parametrize("runtime", ["robyn", "granian"])

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "which?"}]}
HEADERS = {"authorization": "Bearer sk-test"}


def nested(opening, depth, inside, closing):
    return opening * depth + inside + closing * depth


BROKEN = {
    "a NUL in the name of a file": '{"match": {}, "response_file": "a\\u0000b"}',
    "a name that is too long for a file": '{"match": {}, "response_file": "%s"}' % ("x" * 300),
    "a match within 250 others": '{"content": "x", "match": %s}' % nested('{"not":', 250, "{}", "}"),  # noqa: UP031
    "a match within 200 lists": '{"content": "x", "match": %s}' % nested('{"any":[', 200, "{}", "]}"),  # noqa: UP031
    "arguments within 480 lists": '{"match": {}, "tool_calls": [{"name": "x", "arguments": '
    + nested('{"a":', 480, "1", "}")
    + "}]}",
    "a body within 1,000 lists": nested("[", 1000, "1", "]"),
    "a glob of 10,000 brackets": '{"content": "x", "match": {"model": "%s"}}' % ("[" * 10_000),
    "a device as a file": '{"match": {}, "response_file": "/dev/zero"}',
    "a pattern of 1 MB": '{"content": "x", "match": {"content_regex": "%s"}}' % ("(a|b)" * 200_000),
}


def chat(server, method, path, body):
    """Send a request; return the status and the parsed body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, body, HEADERS)
        response = connection.getresponse()
        return response.status, orjson.loads(response.read())
    finally:
        connection.close()


def post_rule(server, body):
    return chat(server, "POST", "/fastmock/rules", body)


def answer_of(server):
    status, answer = chat(server, "POST", "/v1/chat/completions", orjson.dumps(CHAT))
    assert status == 200, answer
    return answer["choices"][0]["message"]["content"]


def signalled(server, number, text):
    """Send a signal to the parent and wait for another line with a text in the log."""
    before = sum(text in line for line in server.errors)
    server.process.send_signal(number)
    assert wait_until(lambda: sum(text in line for line in server.errors) > before, 20), server.errors


@on_both
def test_rule_that_cannot_be_compiled_is_rejected_without_harm(serve, runtime, tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    server = serve({}, "--runtime", runtime, "--workers", "2")
    parent, workers = server.process.pid, server.workers()
    broken = BROKEN | {"a pipe as a file": '{"match": {}, "response_file": "pipe.json"}'}
    for name, body in broken.items():
        status, answer = post_rule(server, body)
        assert 400 <= status < 500, (name, answer)
        assert answer["error"]["message"], name
    assert post_rule(server, orjson.dumps({"match": {"content": "which?"}, "content": "mine"}))[0] == 200
    assert answer_of(server) == "mine"
    assert (server.process.pid, server.workers()) == (parent, workers)


@on_both
def test_reload_with_a_manager_that_ends_the_process_is_rejected(serve, runtime, tmp_path):
    file = tmp_path / "live.json"
    file.write_bytes(orjson.dumps({"seed": 1}))
    server = serve(None, "--config", str(file), "--runtime", runtime, "--workers", "2")
    for number, code in enumerate(("raise SystemExit(7)", "import os; os._exit(7)", "import os; os.abort()", "1 / 0")):
        (tmp_path / f"bad{number}.py").write_text(code + "\n")
        file.write_bytes(orjson.dumps({"responses": {"manager": f"bad{number}:C"}}))
        signalled(server, signal.SIGHUP, "not reloaded: ")
    (tmp_path / "good.py").write_text(
        "from fastmock.responses import ResponseManager\n\n\nclass Mine(ResponseManager):\n"
        "    def generate_chat_response(self, data, file=None):\n"
        "        return {'choices': [{'message': {'content': 'managed'}}]}\n"
    )
    file.write_bytes(orjson.dumps({"responses": {"manager": "good:Mine"}}))
    signalled(server, signal.SIGHUP, "reloaded: ")
    assert answer_of(server) == "managed"
    for worker in server.workers():  # their successors start with it too
        os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: sum("it is replaced" in line for line in server.errors) == 2, 10)
    assert answer_of(server) == "managed"


def test_change_exceeding_time_or_memory_is_rejected_in_time(serve, tmp_path):
    file = tmp_path / "live.json"
    file.write_bytes(orjson.dumps({"server": {"change_timeout": 1}}))
    server = serve(None, "--config", str(file), "--workers", "2")
    (tmp_path / "endless.py").write_text("while True:\n    pass\n")
    (tmp_path / "huge.py").write_text("held = bytearray(8 << 30)\n")
    for name, why in (("endless", "it takes longer than 'server.change_timeout', 1 s"), ("huge", "MemoryError")):
        file.write_bytes(orjson.dumps({"server": {"change_timeout": 1}, "responses": {"manager": f"{name}:C"}}))
        start = time.monotonic()
        signalled(server, signal.SIGHUP, "not reloaded: ")
        assert time.monotonic() - start < 5
        assert any(why in line for line in server.errors), server.errors
        assert answer_of(server)


def test_reload_with_unreadable_files_is_rejected(serve, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "live.json"
    file.write_bytes(orjson.dumps({"seed": 1}))
    server = serve(None, "--config", str(file))
    for name in ("x" * 300, "a\0b"):
        wrong = {"responses": {"chat_completions": {"default": name}}}
        file.write_bytes(orjson.dumps(wrong))
        signalled(server, signal.SIGHUP, "not reloaded: ")
    folder.rename(tmp_path / "swapped")  # as a volume is
    signalled(server, signal.SIGHUP, "not reloaded: ")
    assert answer_of(server)


def test_config_file_that_is_a_symlink_is_read(serve, tmp_path):
    (tmp_path / "real.json").write_bytes(
        orjson.dumps({"responses": {"chat_completions": {"default": {"content": "linked"}}}})
    )
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    server = serve(None, "--config", str(tmp_path / "link.json"))
    assert answer_of(server) == "linked"


def test_config_from_a_pipe_is_read_once(serve, tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)

    def write():
        with pipe.open("wb") as file:
            file.write(orjson.dumps({"responses": {"chat_completions": {"default": {"content": "piped"}}}}))

    threading.Thread(target=write, daemon=True).start()
    server = serve(None, "--config", str(pipe))
    assert answer_of(server) == "piped"
    signalled(server, signal.SIGHUP, "reloaded: ")
    assert answer_of(server) == "piped"


@on_both
def test_reload_signal_during_startup_is_deferred_until_listening(serve, runtime):
    """The interpreter itself takes some 50 ms before any code of ours can hold the signal back."""

    def early(pid):
        def blocked():
            status = Path(f"/proc/{pid}/status").read_text()
            return int(status.partition("SigBlk:\t")[2].split()[0], 16) & 1  # SIGHUP is the first

        assert wait_until(blocked, 5)
        for _ in range(10):
            os.kill(pid, signal.SIGHUP)
            time.sleep(0.02)

    server = serve(None, "--runtime", runtime, started=early)
    assert wait_until(lambda: any("reloaded: " in line for line in server.errors), 10)
    assert answer_of(server)


@on_both
def test_changes_under_load_fail_no_request(serve, runtime):
    server = serve({}, "--runtime", runtime, "--workers", "2")
    stop, failures, answers = threading.Event(), [], []

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        try:
            while not stop.is_set():
                connection.request("POST", "/v1/chat/completions", orjson.dumps(CHAT), HEADERS)
                response = connection.getresponse()
                response.read()
                answers.append(response.status)
        except Exception as error:
            failures.append(repr(error))
        finally:
            connection.close()

    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in clients:
        thread.start()
    broken = list(BROKEN.values())
    for number in range(60):
        if number % 3 == 0:
            assert 400 <= post_rule(server, broken[number // 3 % len(broken)])[0] < 500
        rule = {"id": "mine", "match": {"content": "which?"}, "content": str(number)}
        assert chat(server, "PUT", "/fastmock/rules/mine", orjson.dumps(rule))[0] == 200
        assert answer_of(server) == str(number)
    stop.set()
    for thread in clients:
        thread.join()
    assert failures == []
    assert set(answers) == {200}


@undisturbed
def test_change_with_1000_other_rules_takes_little_longer(serve):
    """Compiling all of them anew would take twenty times as long."""
    rules = [{"match": {"content": f"q{number}"}, "content": f"answer {number}"} for number in range(1000)]
    times = {}
    for added in ([], rules):
        server = serve({}, "--workers", "2", "--runtime", "granian")
        with httpx.Client(base_url=server.url, headers=HEADERS, timeout=30) as client:
            if added:
                assert client.post("/fastmock/rules", json=added).status_code == 200
            for number in range(25):
                rule = {"id": "mine", "match": {"content": "which?"}, "content": str(number)}
                start = time.perf_counter()
                assert client.put("/fastmock/rules/mine", json=rule).status_code == 200
                times.setdefault(len(added), []).append(time.perf_counter() - start)
        server.stop()
    few, many = (sorted(times[count])[12] for count in (0, 1000))
    print(f"beside none {few * 1000:.1f} ms, beside 1,000 {many * 1000:.1f} ms")
    assert many < 8 * few
