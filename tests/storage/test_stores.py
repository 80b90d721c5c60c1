"""Stores that are locked, damaged, missing or misconfigured: one warning, and requests are answered."""

import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import orjson
import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Request
from fastmock.core.problems import ConfigError
from fastmock.replication.connection import Connection
from fastmock.storage.sqlite import Store, StoredObject
from tests.control.test_control import on_both
from tests.support import KEY, make_app

unit, integration = pytest.mark.unit, pytest.mark.integration
CHAT = "/v1/chat/completions"
STORED = {"model": "m", "messages": [{"role": "user", "content": "x"}], "store": True}
FILE = "stored.sqlite"


@pytest.fixture
def app(tmp_path):
    made = build(load({}, {}, {})[0])
    made.store.join(tmp_path / "run")
    return made


def chat(app, method="POST", path=CHAT, body=STORED, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = app.handle(Request(method, path, KEY | named, orjson.dumps(body) if method == "POST" else b""))
    return answer.head.status, orjson.loads(answer.body)


def listed(app, **headers):
    status, body = chat(app, "GET", **headers)
    assert status == 200
    return [one["id"] for one in body["data"]]


def use_all(app, id_):
    """Use every endpoint of what is stored; return the statuses."""
    made = f"{CHAT}/{id_}"
    return {
        chat(app)[0],
        chat(app, "GET")[0],
        chat(app, "GET", made)[0],
        chat(app, "GET", f"{made}/messages")[0],
        chat(app, "POST", made, {"metadata": {"a": "b"}})[0],
        chat(app, "DELETE", made)[0],
        chat(app, "POST", "/v1/conversations", {})[0],
        chat(app, "POST", "/v1/responses", {"model": "m", "input": "x", "conversation": "conv_1"})[0],
    }


@unit
def test_store_locked_does_not_delay_requests(app, caplog, monkeypatch):
    monkeypatch.setattr("fastmock.storage.sqlite._PATIENCE", 0.1)
    id_ = chat(app)[1]["id"]
    other = sqlite3.connect(app.store.directory / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    begin = time.monotonic()
    for _ in range(10):
        assert use_all(app, id_) == {200}
    assert time.monotonic() - begin < 1  # the first waits for a while, the others know
    other.execute("ROLLBACK")
    other.close()
    new = chat(app)[1]["id"]
    assert new in listed(app)
    assert "answers are stored again" in caplog.text


@unit
def test_store_locked_warns_once(app, caplog, monkeypatch):
    monkeypatch.setattr("fastmock.storage.sqlite._PATIENCE", 0.1)
    chat(app)
    other = sqlite3.connect(app.store.directory / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for _ in range(20):
        assert chat(app)[0] == 200
    other.close()
    assert [record.message for record in caplog.records] == ["answers are not stored: database is locked"]


def damage(file):
    """Overwrite a file, and the journal that goes with it."""
    for one in (file, file.with_name(file.name + "-wal")):
        if one.exists():
            with one.open("r+b") as opened:
                opened.write(b"no database " * (one.stat().st_size // 12 + 1))


@unit
def test_store_damaged_is_replaced(app, caplog):
    id_ = chat(app)[1]["id"]
    app.store._close()  # as in a worker that has only just started, which has none of it in memory
    damage(app.store.directory / FILE)
    assert use_all(app, id_) == {200}
    new = chat(app)[1]["id"]
    assert new in listed(app)
    assert id_ not in listed(app)
    assert caplog.text.count("is damaged") == 1


@unit
def test_store_replaced_after_damage_is_shared_by_workers(tmp_path):
    one, other = Store(100), Store(100)
    for store in (one, other):
        store.join(tmp_path)
        store.keep(StoredObject("k", "before", "m", b"{}"))
    damage(tmp_path / FILE)
    one.keep(StoredObject("k", "1", "m", b"{}"))
    other.keep(StoredObject("k", "2", "m", b"{}"))
    one.keep(StoredObject("k", "3", "m", b"{}"))
    for store in (one, other):
        assert store.ids("k", False, lambda *_: True) == ["1", "2", "3"]


@unit
def test_store_directory_that_was_deleted_is_recreated(app):
    id_ = chat(app)[1]["id"]
    shutil.rmtree(app.store.directory)
    assert use_all(app, id_) == {200}
    assert chat(app)[1]["id"] in listed(app)


@unit
def test_response_log_unreadable_is_treated_as_empty(app, monkeypatch, caplog):
    id_ = chat(app, path="/v1/responses", body={"model": "m", "input": "x"})[1]["id"]
    for file in app.store.directory.glob("answers-*"):
        file.unlink()
        file.mkdir()  # which cannot be opened for writing, nor read
    path = f"/v1/responses/{id_}"
    assert {chat(app, "GET", path)[0], chat(app, "DELETE", path)[0]} == {200}
    assert caplog.text.count("stored responses cannot be used") == 1


@integration
@on_both
def test_store_damaged_or_locked_fails_no_request(serve, runtime, tmp_path):
    run = tmp_path / "tmp"
    run.mkdir()
    server = serve({}, "--runtime", runtime, "--workers", "2", env={"TMPDIR": str(run)})
    url = server.url + CHAT

    client = httpx.Client(headers=KEY, timeout=4)

    def store(_):
        return client.post(url, json=STORED).status_code

    assert store(0) == 200
    [file] = Path(run).glob(f"fastmock-*/{FILE}")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(store, range(40))) == {200}
    assert client.get(url).status_code == 200
    other.close()
    damage(file)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(store, range(40))) == {200}
    assert client.get(url).status_code == 200
    client.close()
    assert server.stop() == 0
    assert "Traceback" not in "".join(server.errors)


@unit
def test_store_listing_is_per_session(app):
    one = chat(app, x_fastmock_session="one")[1]["id"]
    two = chat(app, authorization="Bearer two:sk-test")[1]["id"]
    none = chat(app)[1]["id"]
    assert listed(app, x_fastmock_session="one") == [one]
    assert listed(app, authorization="Bearer two:sk-test") == [two]
    assert listed(app, x_fastmock_session="three") == []
    assert set(listed(app)) == {one, two, none}


# Limits.


@unit
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("retry=1", "unknown option: 'retry'"),
        ("socket_timeout=60", "unknown option: 'socket_timeout'"),
        ("decode_responses=", "unknown option"),
        ("connection_class=x", "unknown option"),
        ("pasword=SECRET", "did you mean 'password'?"),
        ("protocol=x", "is not a valid store URL"),
        ("ssl_ca_certs=x", "has an option ssl_ca_certs, but there is no file 'x'"),
        ("ssl_cert_reqs=x", "cannot be used"),
    ],
)
def test_shared_store_with_a_wrong_option_is_a_config_error(option, told):
    pytest.importorskip("redis")
    config = {"limits": {"requests_per_minute": 1}, "store": f"redis://127.0.0.1:1/?{option}"}
    with pytest.raises(ConfigError, match=r"store\.url") as raised:
        make_app(config)
    assert told in str(raised.value)
    assert "SECRET" not in str(raised.value)


@unit
@pytest.mark.parametrize("url", ["redis://h/0?db=1&protocol=3&client_name=x", "rediss://h/?ssl_cert_reqs=none"])
def test_shared_store_with_valid_options_is_accepted(url):
    pytest.importorskip("redis")
    make_app({"limits": {"requests_per_minute": 1}, "store": url})


@unit
def test_shared_store_errors_fail_no_request(monkeypatch, caplog):
    pytest.importorskip("redis")
    app = make_app({"limits": {"requests_per_minute": 4}, "store": "redis://127.0.0.1:1"})

    def fail(*_, **__):
        raise TypeError("'str' object is not callable")

    monkeypatch.setattr(Connection, "_await", lambda self: None)
    monkeypatch.setattr("redis.commands.core.Script.__call__", fail)
    assert [chat(app)[0] for _ in range(5)] == [200] * 4 + [429]  # the limit is that of this server
    assert caplog.text.count("the store cannot be reached") == 1


# Counters.


@integration
@on_both
def test_fault_times_1_applies_once_per_session(serve, runtime):
    server = serve({"faults": [{"kind": "status", "status": 503, "times": 1}]}, "--runtime", runtime, "--workers", "2")

    def statuses(sessions):
        found = set()
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
            for number in sessions:
                headers = {"authorization": f"Bearer s{number}:x"}
                connection.request("POST", CHAT, orjson.dumps(STORED | {"store": False}), headers)
                response = connection.getresponse()
                response.read()
                found.add(response.status)
        return found

    with ThreadPoolExecutor(4) as threads:
        for expected in (503, 200):
            parts = [range(part, 1500, 4) for part in range(4)]
            assert list(threads.map(statuses, parts)) == [{expected}] * 4
