"""A new configuration is applied by every worker at once, on open connections too, or by none."""

import http.client
import os
import signal
import threading
import time

import orjson
import pytest

from tests.support import wait_until

pytestmark = pytest.mark.integration

HEADERS = {"authorization": "Bearer sk-test"}
BODY = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "which?"}]})


def saying(number, **more):
    patterns = [{"match": {"content": "which?"}, "content": str(number)}]
    return orjson.dumps({"responses": {"chat_completions": {"patterns": patterns}}} | more)


def chat(connection):
    connection.request("POST", "/v1/chat/completions", BODY, HEADERS)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    return int(orjson.loads(body)["choices"][0]["message"]["content"])


def said(server, text):
    return sum(text in line for line in server.errors)


def reload(server, text="reloaded: "):
    before = said(server, text)
    server.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: said(server, text) > before, 20), server.errors


@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_fifty_reloads_under_load_fail_no_request_and_are_never_stale(serve, tmp_path, runtime):
    file = tmp_path / "live.json"
    file.write_bytes(saying(0))
    server = serve(None, "--config", str(file), "--workers", "2", "--runtime", runtime)
    in_force = 0  # what the last reload that was reported done put in force
    answers = []
    failures = []
    stop = threading.Event()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.connect()
        try:
            while not stop.is_set() or len(answers) < 10_000:
                least = in_force
                got = chat(connection)
                answers.append((least, got))
        except Exception as error:
            failures.append(repr(error))
        finally:
            connection.close()

    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    for number in range(1, 51):
        file.write_bytes(saying(number))
        reload(server)
        in_force = number
    stop.set()
    for thread in clients:
        thread.join(60)
    assert failures == []
    assert len(answers) >= 10_000
    assert [pair for pair in answers if pair[1] < pair[0]] == []
    assert max(got for _, got in answers) == 50


def test_reload_with_an_error_changes_nothing_and_new_workers_use_the_current_config(serve, tmp_path):
    file = tmp_path / "live.json"
    file.write_bytes(saying(1))
    server = serve(None, "--config", str(file), "--workers", "2")

    def everywhere():
        found = set()
        for _ in range(20):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            found.add(chat(connection))
            connection.close()
        return found

    file.write_bytes(saying(2, serer={}))
    reload(server, "not reloaded: ")
    assert said(server, "serer: unknown name; did you mean 'server'?") == 1
    assert everywhere() == {1}
    file.write_bytes(saying(3, server={"port": 1}))
    reload(server)
    assert everywhere() == {3}
    (tmp_path / "answer.json").write_text('{"choices": [{"message": {"content": "4"}}]}')
    patterns = [{"match": {}, "response_file": "answer.json"}]
    file.write_bytes(orjson.dumps({"responses": {"chat_completions": {"patterns": patterns}}}))
    reload(server)
    assert everywhere() == {4}
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: said(server, "it is replaced") == 2, 10)
    time.sleep(0.3)
    assert everywhere() == {4}


def test_reload_warns_about_settings_that_need_a_restart(serve, tmp_path):
    file = tmp_path / "live.json"
    file.write_bytes(saying(1))
    server = serve(None, "--config", str(file))
    file.write_bytes(saying(2, server={"shutdown_timeout": 1}))
    reload(server)
    assert said(server, "server.shutdown_timeout has changed; restart the server to apply it") == 1


def test_stop_during_a_blocked_reload_is_obeyed(serve, tmp_path):
    file = tmp_path / "live.json"
    file.write_bytes(saying(1))
    server = serve(None, "--config", str(file), "--workers", "2", "--shutdown-timeout", "1")
    stuck = server.workers()[0]
    os.kill(stuck, signal.SIGSTOP)
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert said(server, "reloaded: ") == 0
    start = time.monotonic()
    assert server.stop(signal.SIGTERM) == 0  # the stuck worker is killed at the deadline
    assert time.monotonic() - start < 6
    assert said(server, "not reloaded: the server is stopping") == 1
