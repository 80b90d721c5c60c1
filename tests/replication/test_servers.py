"""Several servers on one Valkey act as one."""

import json
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psutil
import pytest
import trustme
from openai import NotFoundError, OpenAI

from fastmock.replication.connection import StoreError, check_store
from fastmock.replication.settings import Store
from tests.support import KEY, ROOT, command, wait_until
from tests.valkey import VALKEY, Valkey, free_port, needs_valkey, valkey

pytestmark = [pytest.mark.integration, needs_valkey]
PATH = "/v1/chat/completions"
# On a busy machine a store may take longer to answer than requests wait for it; servers see each other sooner.
PRELUDE = "\n".join(
    (
        "import fastmock.replication.connection, fastmock.server.replicator",
        "fastmock.replication.connection._PATIENCE = 5",
        "fastmock.server.replicator._ANNOUNCE = 0.2",
    )
)
SEEN = 0.3  # seconds until each server has seen all others, as a rule


def ask(text="Hello", **more):
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


def text_of(response):
    return response.json()["choices"][0]["message"]["content"]


@pytest.fixture
def store(tmp_path):
    with valkey(tmp_path) as found:
        yield found


def await_all(found):
    """Wait until each server has seen all others: all confirm what it asks them for."""

    def confirmed_by(server):
        return control(server, "POST", "verify", {"count": {"min": 0}})["servers"].get("confirmed")

    assert wait_until(lambda: all(confirmed_by(one) == len(found) for one in found), 10)


@pytest.fixture
def servers(serve, store):
    """Return a function that starts servers on the store."""

    def start(count=3, workers=2, url=None, lag=5000, **config):
        config = {"store": {"url": url or store.url, "max_lag": lag}, "journal": {"enabled": True}, **config}
        found = [
            serve({**config, "server": {"replica": f"replica-{place}"}}, "--workers", str(workers), prelude=PRELUDE)
            for place in range(count)
        ]
        assert wait_until(lambda: all(httpx.get(f"{one.url}/ready").status_code == 200 for one in found), 10)
        time.sleep(SEEN)
        return found

    return start


def control(server, method, path, body=None):
    response = httpx.request(method, f"{server.url}/fastmock/{path}", json=body, timeout=30)
    assert response.status_code == 200, response.text
    return response.json()


def test_rule_put_on_one_server_is_obeyed_by_all_when_the_call_returns(servers):
    found = servers()
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=one.url, headers=KEY)) for one in found]
        _put_and_ask(found, clients)


def _put_and_ask(found, clients):
    for turn in range(20):
        rule = {"match": {"content": "Hello"}, "content": f"answer {turn}"}
        body = control(found[turn % 3], "PUT", "rules/mine", rule)
        assert body["servers"] == {"confirmed": 3, "unconfirmed": []}
        assert [text_of(client.post(PATH, json=ask())) for client in clients for _ in range(4)] == [
            f"answer {turn}"
        ] * 12
    control(found[1], "DELETE", "rules/mine")
    assert "answer 19" not in text_of(clients[0].post(PATH, json=ask()))
    assert control(found[2], "GET", "rules")["rules"] == []


def test_changes_of_many_callers_lead_to_the_same_rules_everywhere(servers):
    found = servers()

    def add(number):
        control(found[number % 3], "POST", "rules", {"match": {"content": f"{number}"}, "content": "x"})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(60)))
    rules = [control(one, "GET", "rules")["rules"] for one in found]
    assert rules[0] == rules[1] == rules[2]
    assert len(rules[0]) == 60
    assert len({rule["id"] for rule in rules[0]}) == 60


@pytest.mark.parametrize("fault", [{"times": 50}, {"every_nth": 6}, {"skip_first": 250, "times": 60}])
def test_counted_faults_are_exact_to_the_last_request(servers, fault):
    found = servers(faults=[{"kind": "status", "status": 503, **fault}], journal={"enabled": False})

    def hammer(place):
        with httpx.Client(base_url=found[place % 3].url, headers=KEY, timeout=30) as client:
            return [client.post(PATH, json=ask()).status_code for _ in range(15)]

    with ThreadPoolExecutor(20) as pool:
        counts = Counter(status for statuses in pool.map(hammer, range(20)) for status in statuses)
    assert counts == {503: 50, 200: 250}
    control(found[0], "POST", "reset", {"counters": True})
    statuses = [httpx.post(f"{found[1].url}{PATH}", json=ask(), headers=KEY).status_code for _ in range(6)]
    assert statuses.count(503) == {50: 6, 60: 0}.get(fault.get("times"), 1)


def test_a_limited_request_with_counted_faults_makes_one_call(servers, store):
    fault = {"kind": "status", "status": 500}
    faults = [{**fault, "times": 2, "match": {"content": "never"}}, {**fault, "every_nth": 3}, {**fault, "times": 1}]
    [server] = servers(1, workers=1, faults=faults, limits={"requests_per_minute": 6}, journal={"enabled": False})
    with store.client() as client:
        httpx.post(f"{server.url}{PATH}", json=ask(), headers=KEY)  # also registers the script
        before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
        statuses = [httpx.post(f"{server.url}{PATH}", json=ask(), headers=KEY).status_code for _ in range(6)]
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert statuses == [200, 500, 200, 200, 500, 429]
    assert len(statuses) <= calls <= len(statuses) + 3  # the server's announcements


def test_verify_counts_the_requests_of_all_servers_exactly(servers):
    found = servers()

    def hammer(place):
        with httpx.Client(base_url=found[place % 3].url, headers=KEY, timeout=30) as client:
            for number in range(20):
                client.post(PATH, json=ask(f"client {place}, request {number}"))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(hammer, range(12)))
    for server in found:
        verified = control(server, "POST", "verify", {"match": {"content_contains": "client"}, "count": 240})
        assert verified["count"] == 240
        assert control(server, "POST", "verify", {"match": {"content": "client 3, request 7"}, "count": 1})["verified"]
    listed = control(found[0], "GET", "requests?limit=300")["requests"]
    assert {one.get("replica", "replica-0") for one in listed} == {"replica-0", "replica-1", "replica-2"}
    assert {one["state"] for one in listed} == {"ended"}
    assert control(found[1], "DELETE", "requests")["journal"]["written"] == 0
    for server in found:
        assert control(server, "POST", "verify", {"count": 0})["verified"]
    httpx.post(f"{found[2].url}{PATH}", json=ask("later"), headers=KEY)
    assert control(found[0], "POST", "verify", {"match": {"content": "later"}, "count": 1})["verified"]


def test_outcome_of_a_stream_reaches_the_other_servers(servers):
    found = servers(2, latency={"itl": 50})
    with httpx.stream("POST", f"{found[0].url}{PATH}", json=ask(stream=True), headers=KEY) as response:
        assert control(found[1], "GET", "requests")["requests"][0]["state"] == "open"
        response.read()

    def ended():
        [one] = control(found[1], "GET", "requests")["requests"]
        return one["state"] == "ended" and one["ttft_ms"] > 0 and one["response_bytes"] > 100

    assert wait_until(ended, 5)


def test_a_server_that_starts_later_begins_with_the_state_of_the_others(servers):
    found = servers(1)
    control(found[0], "POST", "rules", {"match": {"content": "Hello"}, "content": "known"})
    control(found[0], "PUT", "sessions/mine", {"faults": [{"kind": "status", "status": 418}], "strict": True})
    control(found[0], "PUT", "config", {"latency": {"ttft": 5}})
    refused = httpx.post(f"{found[0].url}/fastmock/rules", json={"match": {"content_regex": "("}, "content": "x"})
    assert refused.status_code == 400
    httpx.post(f"{found[0].url}{PATH}", json=ask("early"), headers=KEY)
    for number in range(120):  # beyond a snapshot
        control(found[0], "PUT", "rules/many", {"match": {"content": "many"}, "content": f"{number}"})
    [late] = servers(1)
    assert text_of(httpx.post(f"{late.url}{PATH}", json=ask(), headers=KEY)) == "known"
    assert text_of(httpx.post(f"{late.url}{PATH}", json=ask("many"), headers=KEY)) == "119"
    for path in ("rules", "sessions", "config"):
        shown = [control(one, "GET", path) for one in (found[0], late)]
        for one in shown:
            one.get("server", {}).pop("replica", None)
        assert shown[0] == shown[1]
    assert httpx.post(
        f"{late.url}{PATH}", json=ask(), headers={"authorization": "Bearer mine:sk-x"}
    ).status_code == 418  # fmt: skip
    assert control(late, "POST", "verify", {"match": {"content": "early"}, "count": 1})["verified"]


def test_killed_server_is_named_and_then_forgotten(servers):
    found = servers(lag=1000)
    found[2].process.send_signal(signal.SIGKILL)
    begin = time.monotonic()
    body = control(found[0], "POST", "rules", {"match": {"content": "a"}, "content": "b"})
    assert body["servers"] == {"confirmed": 2, "unconfirmed": ["replica-2"]}
    assert 1 <= time.monotonic() - begin < 5
    time.sleep(4.5)
    body = control(found[0], "POST", "rules", {"match": {"content": "a"}, "content": "b"})
    assert body["servers"] == {"confirmed": 2, "unconfirmed": []}


def test_requests_go_on_while_the_store_is_lost_and_its_state_comes_back(servers, serve, tmp_path):
    store = Valkey(tmp_path)
    found = servers(2, url=store.url)
    control(found[0], "POST", "rules", {"match": {"content": "Hello"}, "content": "kept"})
    statuses, stop = Counter(), threading.Event()

    def load(server):
        with httpx.Client(base_url=server.url, headers=KEY, timeout=30) as client:
            while not stop.is_set():
                statuses[client.post(PATH, json=ask("load")).status_code] += 1

    threads = [threading.Thread(target=load, args=(one,)) for one in found]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    store.kill()
    assert wait_until(lambda: httpx.get(f"{found[0].url}/ready").json().get("store") == "unreachable", 10)
    assert httpx.get(f"{found[0].url}/ready").status_code == 200
    refused = httpx.post(f"{found[0].url}/fastmock/rules", json={"match": {}, "content": "x"}, timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unreachable")
    alone = control(found[0], "POST", "verify", {"match": {"content": "load"}, "count": {"min": 1}})
    assert "unreachable" in alone["servers"]
    time.sleep(1)
    store = Valkey(tmp_path, store.port)  # which knows nothing any more
    assert wait_until(lambda: all(httpx.get(f"{one.url}/ready").json()["store"] == "reachable" for one in found), 15)
    stop.set()
    for thread in threads:
        thread.join()
    assert statuses.keys() == {200}
    rule, confirmed = {"match": {"content": "new"}, "content": "too"}, {"confirmed": 2, "unconfirmed": []}
    assert wait_until(lambda: control(found[1], "POST", "rules", rule)["servers"] == confirmed, 10)
    [late] = servers(1, url=store.url)
    assert [text_of(httpx.post(f"{late.url}{PATH}", json=ask(one), headers=KEY)) for one in ("Hello", "new")] == [
        *("kept", "too")
    ]
    for server in (*found, late):
        server.stop()
    store.stop()


def test_server_waits_to_be_ready_for_a_store_that_is_not_there_yet(serve, tmp_path):
    port = free_port()
    server = serve({"store": f"redis://127.0.0.1:{port}/0"})
    assert "this server is not ready until it can" in "".join(server.errors)
    answer = httpx.get(f"{server.url}/ready")
    assert (answer.status_code, answer.json()["reason"]) == (503, "waiting for the store")
    assert httpx.post(f"{server.url}{PATH}", json=ask(), headers=KEY).status_code == 200
    with valkey(tmp_path, port):
        assert wait_until(lambda: httpx.get(f"{server.url}/ready").status_code == 200, 10)
        control(server, "POST", "rules", {"match": {"content": "a"}, "content": "b"})


def check(config):
    done = command("--port", "0", cwd=ROOT, env={"FASTMOCK_CONFIG_JSON": json.dumps(config)})
    return done.returncode, done.stderr


def test_password_and_wrong_password(servers, tmp_path):
    with valkey(tmp_path, password="p@ss") as store:
        code, err = check({"store": store.url.replace("p@ss", "wrong")})
        assert code == 2
        assert "store.url: refuses the password" in err
        assert "wrong" not in err.replace("WRONGPASS", "")
        [server] = servers(1, url=store.url.replace("p@ss", "p%40ss"))
        assert "p@ss" not in server.greeting + "".join(server.errors)
        assert f"redis://127.0.0.1:{store.port}/0, prefix fastmock" in server.greeting
        control(server, "POST", "rules", {"match": {"content": "a"}, "content": "b"})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://x", "has an unknown scheme: 'http'; known are redis, rediss"),
        ("redis://127.0.0.1:1/abc", "has an invalid number of a database"),
        ("redis+cluster://127.0.0.1:1/3", "has a number of a database, 3; a cluster has only 0"),
        ("rediss://127.0.0.1:1?ssl_ca_certs=/none", "has an option ssl_ca_certs, but there is no file '/none'"),
        ("redis://:a/b@127.0.0.1:1/0", "has an invalid number of a database; / and @ in a password"),
        ("redis://host:port", "is not a valid store URL"),
        ("redis://127.0.0.1:1/0?dbb=1", "has an unknown option: 'dbb'"),
        ("redis+sentinel://127.0.0.1:1", "needs the name of the primary"),
    ],
)
def test_wrong_url_is_one_clear_line(url, message):
    code, err = check({"store": url})
    assert code == 2
    assert f"store.url: {message}" in err
    assert len(err.splitlines()) == 2


def test_store_of_an_old_version_is_refused():
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(4096):
                    text = b"redis_version:4.0.9\r\n"
                    info = b"$%d\r\n%s\r\n" % (len(text), text)
                    commands = data.count(b"*")
                    connection.sendall(info if b"INFO" in data else b"+OK\r\n" * commands)

    threading.Thread(target=answer, daemon=True).start()
    code, err = check({"store": f"redis://127.0.0.1:{listener.getsockname()[1]}/0?protocol=2"})
    listener.close()
    assert code == 2
    assert "store.url: has the version 4.0.9, but 6.2 or later is needed" in err


@pytest.fixture
def tls_store(tmp_path):
    """Return a store with TLS that asks for no certificate, and the file of its authority."""
    authority = trustme.CA()
    (tmp_path / "tls").mkdir()
    ca, key, cert = (str(tmp_path / "tls" / name) for name in ("ca.pem", "key.pem", "cert.pem"))
    authority.cert_pem.write_to_path(ca)
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(cert)
    options = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no")
    with valkey(tmp_path, None, *options, ca=ca) as found:
        yield found, authority


def refusal(url):
    """Return the reason why a store cannot be used."""
    try:
        return check_store(Store(url=url))
    except StoreError as error:
        return str(error)


def test_store_with_tls_is_shared_like_any_other(servers, tls_store):
    found = servers(2, url=tls_store[0].url, limits={"requests_per_minute": 3})
    control(found[0], "POST", "rules", {"match": {"content": "Hello"}, "content": "over TLS"})
    replies = [httpx.post(f"{one.url}{PATH}", json=ask(), headers=KEY) for one in found * 2]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert text_of(replies[1]) == "over TLS"


def test_client_certificate_for_the_store(servers, tls_store, tmp_path):
    store, authority = tls_store
    with store.client() as client:
        client.config_set("tls-auth-clients", "yes")
    assert "does it ask for a certificate of the client (ssl_certfile, ssl_keyfile)?" in refusal(store.url)
    mine = authority.issue_cert("client")
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"
    mine.cert_chain_pems[0].write_to_path(str(cert))
    mine.private_key_pem.write_to_path(str(key))
    [server] = servers(1, url=f"{store.url}&ssl_certfile={cert}&ssl_keyfile={key}")
    control(server, "POST", "rules", {"match": {"content": "a"}, "content": "b"})


def test_tls_mistakes_are_one_clear_line(store, tls_store, tmp_path):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    secure, _ = tls_store
    code, err = check({"store": secure.url.partition("=")[0] + f"={other}"})
    assert (code, "store.url: has a certificate that is not trusted" in err, len(err.splitlines())) == (2, True, 2), err
    assert "does it use TLS?" in check_store(Store(url=f"rediss://127.0.0.1:{store.port}/0"))
    assert "does it use TLS (rediss://)?" in check_store(Store(url=f"redis://127.0.0.1:{secure.port}/0"))


def test_sentinels_over_tls_are_not_asked_in_the_clear(store, tmp_path):
    config, port = tmp_path / "sentinel.conf", free_port()
    config.write_text(f"sentinel monitor main 127.0.0.1 {store.port} 1\n")
    sentinel = subprocess.Popen([VALKEY, str(config), "--sentinel", "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: _listens(port), 10)
        assert check_store(Store(url=f"redis+sentinel://127.0.0.1:{port}/main/0")) == ""
        assert check_store(Store(url=f"rediss+sentinel://127.0.0.1:{port}/main/0")) != ""
    finally:
        sentinel.terminate()
        sentinel.wait(10)


def test_store_that_can_never_be_used_ends_the_start(store, tmp_path):
    with store.client() as client:
        client.execute_command("ACL", "SETUSER", "nobody", "on", ">x", "~other:*", "+@all")
        client.execute_command("ACL", "SETUSER", "mute", "on", ">x", "~*", "-@all")
    address = f"127.0.0.1:{store.port}"
    urls = {
        f"redis://{address}/99": "refuses the commands: DB index is out of range",
        f"redis://nobody:x@{address}/0": "refuses a command or a key",
        f"redis://mute:x@{address}/0": "refuses a command or a key",
        f"redis+cluster://{address}": "is not a cluster",
    }
    with valkey(tmp_path, password="secret") as closed:
        urls[f"redis://127.0.0.1:{closed.port}/0"] = "needs a password"
        for url, message in urls.items():
            code, err = check({"store": url})
            assert (code, f"store.url: {message}" in err, len(err.splitlines())) == (2, True, 2), err


def test_cluster_that_is_not_there_yet_is_waited_for(serve, tmp_path):
    port = free_port()
    server = serve({"store": f"redis+cluster://127.0.0.1:{port}"})
    assert httpx.get(f"{server.url}/ready").status_code == 503
    assert httpx.post(f"{server.url}{PATH}", json=ask(), headers=KEY).status_code == 200
    with valkey(tmp_path, port, "--cluster-enabled", "yes") as store:
        with store.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        assert wait_until(lambda: httpx.get(f"{server.url}/ready").status_code == 200, 15)
        control(server, "POST", "rules", {"match": {"content": "a"}, "content": "b"})
        server.stop()
    assert sum("reached" in line for line in server.errors) == 2  # at the start, and when it was there
    assert not any("Traceback" in line for line in server.errors)


def test_two_deployments_on_one_prefix_are_warned_of_each_other(servers):
    [one] = servers(1)
    [other] = servers(1, seed=7)

    def warned(server, name):
        return any(f"the server {name} on the same store has another configuration" in line for line in server.errors)

    assert wait_until(lambda: warned(one, "replica-0") and warned(other, "replica-0"), 5)
    assert sum("another configuration" in line for line in one.errors) == 1
    rule = {"match": {"content": "a"}, "content": "b"}
    assert wait_until(lambda: control(one, "POST", "rules", rule)["servers"]["confirmed"] == 2, 10)


def test_prefixes_keep_deployments_apart(servers, store, serve):
    [one] = servers(1)
    other = serve({"store": {"url": store.url, "prefix": "other"}})
    control(one, "POST", "rules", {"match": {"content": "Hello"}, "content": "mine"})
    assert control(other, "GET", "rules")["rules"] == []
    with store.client() as client:
        assert {key.split(b":")[0] for key in client.scan_iter()} == {b"{fastmock}", b"{other}"}


def test_cluster_keeps_all_keys_in_one_slot(servers, tmp_path):
    with valkey(tmp_path, None, "--cluster-enabled", "yes") as store:
        with store.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            assert wait_until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), 10)
        found = servers(2, url=f"redis+cluster://127.0.0.1:{store.port}", limits={"requests_per_minute": 3})
        control(found[0], "POST", "rules", {"match": {"content": "Hello"}, "content": "all"})
        statuses = [httpx.post(f"{one.url}{PATH}", json=ask(), headers=KEY).status_code for one in found * 2]
        assert statuses == [200, 200, 200, 429]
        control(found[0], "POST", "reset", {"counters": True})
        assert httpx.post(f"{found[1].url}{PATH}", json=ask(), headers=KEY).status_code == 200
        assert control(found[1], "POST", "verify", {"match": {"content": "Hello"}, "count": 5})["verified"]


def test_sentinels_name_the_primary(servers, store, tmp_path):
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {store.port} 1\n")
    port = free_port()
    sentinel = subprocess.Popen([VALKEY, str(config), "--sentinel", "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        url = f"redis+sentinel://127.0.0.1:{port}/main/0"
        assert wait_until(lambda: sentinel.poll() is None and _listens(port), 10)
        found = servers(2, url=url)
        control(found[0], "POST", "rules", {"match": {"content": "Hello"}, "content": "by sentinel"})
        assert text_of(httpx.post(f"{found[1].url}{PATH}", json=ask(), headers=KEY)) == "by sentinel"
        for server in found:
            server.stop()
    finally:
        sentinel.terminate()
        sentinel.wait(10)


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_requests_in_flight_at_the_end_are_known_to_the_others(servers):
    found = servers(2, latency={"ttft": 600})
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(httpx.post, f"{found[0].url}{PATH}", json=ask("last"), headers=KEY) for _ in range(5)]
        time.sleep(0.2)
        assert found[0].stop() == 0
        assert {one.result().status_code for one in waiting} == {200}
    verified = control(found[1], "POST", "verify", {"match": {"content": "last"}, "count": 5})
    assert verified["count"] == 5


def test_stored_completions_responses_and_conversations_are_those_of_all_servers(servers):
    found = servers(2)
    clients = [OpenAI(base_url=f"{one.url}/v1", api_key="sk-x", max_retries=0) for one in found]
    one, other = clients
    with one, other:
        kept = [
            one.chat.completions.create(**ask(f"{number}"), store=True, metadata={"n": f"{number}"})
            for number in range(3)
        ]
        assert [item.id for item in other.chat.completions.list()] == [item.id for item in kept]
        assert [item.id for item in other.chat.completions.list(metadata={"n": "1"})] == [kept[1].id]
        assert other.chat.completions.retrieve(kept[0].id).choices == kept[0].choices
        assert [item.content for item in other.chat.completions.messages.list(kept[2].id)] == ["2"]
        other.chat.completions.update(kept[0].id, metadata={"n": "new"})
        assert one.chat.completions.retrieve(kept[0].id).metadata == {"n": "new"}
        assert other.chat.completions.delete(kept[0].id).deleted
        with pytest.raises(NotFoundError):
            one.chat.completions.retrieve(kept[0].id)

        first = one.responses.create(model="gpt-4o", input="Hello")
        second = other.responses.create(model="gpt-4o", input="And?", previous_response_id=first.id)
        assert one.responses.retrieve(second.id).output == second.output
        assert len(one.responses.input_items.list(second.id).data) >= 1
        one.responses.delete(first.id)
        with pytest.raises(NotFoundError):
            other.responses.retrieve(first.id)

        conversation = one.conversations.create(metadata={"a": "b"})
        other.responses.create(model="gpt-4o", input="In it", conversation=conversation.id)
        items = one.conversations.items.list(conversation.id)
        assert len(items.data) == 2
        assert other.conversations.retrieve(conversation.id).metadata == {"a": "b"}


def test_nothing_of_the_store_can_be_changed_over_the_control_api(servers):
    [server] = servers(1)
    refused = httpx.put(f"{server.url}/fastmock/config", json={"store": {"url": "redis://elsewhere:1/0"}})
    assert refused.status_code == 400
    assert "cannot be changed over the control API" in refused.text


def rules_of(server):
    return [rule["id"] for rule in control(server, "GET", "rules")["rules"]]


def test_server_that_has_missed_more_changes_than_the_log_keeps_gets_a_snapshot(servers, store):
    found = servers(2, workers=1, lag=20)
    control(found[0], "POST", "rules", {"match": {"content": "a"}, "content": "b"})
    replicator = _store_process(found[1])
    replicator.suspend()
    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=f"{found[0].url}/fastmock", timeout=30) as client:
        rule = {"match": {"content": "a"}, "content": "b", "session": "s"}
        list(pool.map(lambda _: client.post("rules", json=rule).raise_for_status(), range(120)))
    with store.client() as client:
        client.xtrim("{fastmock}:changes", maxlen=10)
    replicator.resume()
    assert wait_until(lambda: rules_of(found[1]) == rules_of(found[0]), 20)


def test_store_that_is_emptied_under_open_connections_gets_its_state_back(servers, store):
    found = servers(2, workers=1)
    control(found[0], "POST", "rules", {"match": {"content": "Hello"}, "content": "before"})
    with store.client() as client:
        client.flushall()
    begin = time.monotonic()
    control(found[1], "POST", "rules", {"match": {"content": "after"}, "content": "after"})
    assert time.monotonic() - begin < 5
    assert wait_until(lambda: all(len(rules_of(one)) == 2 for one in found), 5)
    late = servers(1, workers=1)[0]
    assert rules_of(late) == rules_of(found[0])


@pytest.mark.parametrize("key", ["state", "changes", "snapshot", "about", "servers", "requests"])
def test_any_key_that_is_evicted_is_written_again(servers, store, key):
    found = servers(2, workers=1)
    for _ in range(3):
        control(found[0], "POST", "rules", {"match": {"content": "Hello"}, "content": "before"})
    with store.client() as client:
        client.delete(f"{{fastmock}}:{key}")
    time.sleep(2.2)
    late = servers(1, workers=1)[0]
    assert len(rules_of(late)) == 3
    control(found[1], "POST", "rules", {"match": {"content": "after"}, "content": "after"})
    assert wait_until(lambda: all(len(rules_of(one)) == 4 for one in (*found, late)), 5)


def test_damaged_entries_are_skipped_with_one_line(servers, store):
    found = servers(2, workers=1)
    control(found[0], "POST", "rules", {"match": {"content": "Hello"}, "content": "before"})
    with store.client() as client:
        epoch = client.hget("{fastmock}:state", "epoch")
        version = client.hincrby("{fastmock}:state", "version", 1)
        client.xadd("{fastmock}:changes", {"epoch": epoch, "change": '{"cut'}, id=f"{version}-0")
        version = client.hincrby("{fastmock}:state", "version", 1)
        change = {"id": "x", "origin": "y", "how": "__init__", "arguments": [1]}
        client.xadd("{fastmock}:changes", {"epoch": epoch, "change": json.dumps(change)}, id=f"{version}-0")
        client.hset("{fastmock}:about", "garbage", "garb")
        client.zadd("{fastmock}:servers", {"garbage": time.time() + 2})
        client.hset("{fastmock}:uses", "garbage", "garb")
        client.xadd("{fastmock}:requests", {"lost": "9" * 32, "of": "q", "c": 0})
        entry = {"of": "x", "n": 1, "c": 0, "h": '{"replica":broken', "b": "", "o": "[0,200,0,0]"}
        client.xadd("{fastmock}:requests", entry)
        client.xadd("{fastmock}:requests", {"ask": "clear", "of": "x"})
    time.sleep(1.5)
    control(found[1], "POST", "rules", {"match": {"content": "after"}, "content": "after"})
    assert len(rules_of(found[0])) == 2
    control(found[0], "GET", "requests")
    verified = httpx.post(f"{found[1].url}/fastmock/verify", json={"match": {"content": "none"}, "count": 0}).json()
    assert verified["lost"] > 0
    assert verified["servers"]["unconfirmed"] == ["unreadable"] or verified["servers"]["confirmed"] == 2
    lines = [line for one in found for line in one.errors if "cannot be read" in line or "Traceback" in line]
    assert 2 <= len(lines) <= 10, lines
    assert not any("Traceback" in line for line in lines)


def test_keys_of_a_wrong_type_do_not_flood_the_log(servers, store):
    found = servers(1, workers=2, faults=[{"kind": "status", "status": 500, "times": 100_000}])
    with store.client() as client:
        client.delete("{fastmock}:requests", "{fastmock}:faults")
        client.set("{fastmock}:requests", "garbage")
        client.set("{fastmock}:faults", "garbage")
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert httpx.post(f"{found[0].url}{PATH}", json=ask(), headers=KEY).status_code == 500
        assert httpx.get(f"{found[0].url}/ready").json()["store"] == "unreachable"
        assert sum("store" in line for line in found[0].errors) <= 4
        client.delete("{fastmock}:requests", "{fastmock}:faults")
    assert wait_until(lambda: httpx.get(f"{found[0].url}/ready").json()["store"] == "reachable", 10)


def test_paused_store_gives_neither_repeated_requests_nor_lost_changes(servers, store):
    found = servers(2, workers=1)
    store.process.send_signal(signal.SIGSTOP)
    replies = []
    calling = threading.Thread(
        target=lambda: replies.append(
            httpx.post(f"{found[0].url}/fastmock/rules", json={"match": {}, "content": "x"}, timeout=60)
        )
    )
    try:
        for one in found:
            httpx.post(f"{one.url}{PATH}", json=ask("counted"), headers=KEY, timeout=20)
        calling.start()
        time.sleep(6)  # longer than the servers wait for an answer
    finally:
        store.process.send_signal(signal.SIGCONT)
    calling.join()
    known = {"store_timeout": 504, "store_unreachable": 503, None: 200}
    assert replies[0].status_code == known[replies[0].json().get("error", {}).get("code")]
    assert wait_until(lambda: all(httpx.get(f"{one.url}/ready").json()["store"] == "reachable" for one in found), 10)
    for one in found:
        assert control(one, "POST", "verify", {"match": {"content": "counted"}, "count": 2, "wait_ms": 5000})[
            "verified"
        ]


def test_requests_that_a_paused_server_has_missed_count_as_lost(servers):
    found = servers(2, workers=1, journal={"enabled": True, "size": 100})
    httpx.post(f"{found[0].url}{PATH}", json=ask("first"), headers=KEY)
    control(found[1], "GET", "requests")
    replicator = _store_process(found[1])
    replicator.suspend()
    with httpx.Client(headers=KEY) as client:
        for _ in range(500):
            client.post(f"{found[0].url}{PATH}", json=ask())
    time.sleep(3.2)
    replicator.resume()
    journals = [control(one, "GET", "requests?limit=1")["journal"] for one in found]
    # Redis drops whole nodes of a stream, so the second may have more of them than the first.
    assert journals[0] == {"enabled": True, "written": 501, "size": 100, "lost": 401}
    assert journals[1]["written"] + journals[1]["lost"] - max(0, journals[1]["written"] - 100) == 501, journals


def test_calls_survive_connections_that_are_killed(servers, store):
    found = servers(2, workers=1, lag=1000)
    stopping = threading.Event()

    def kill():
        with store.client() as client:
            while not stopping.wait(0.05):
                client.client_kill_filter(_type="normal", skipme=True)

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        for _ in range(5):
            begin = time.monotonic()
            response = httpx.post(f"{found[0].url}/fastmock/rules", json={"match": {}, "content": "x"}, timeout=30)
            assert response.status_code in (200, 503, 504)
            assert time.monotonic() - begin < 6
    finally:
        stopping.set()
        killing.join()
    assert wait_until(lambda: all(httpx.get(f"{one.url}/ready").json()["store"] == "reachable" for one in found), 10)
    assert wait_until(lambda: rules_of(found[0]) == rules_of(found[1]), 10)


def test_servers_without_a_name_are_told_apart_by_their_ports(store, serve):
    config = {"store": store.url, "journal": {"enabled": True}}
    found = [serve(config, "--workers", "1", prelude=PRELUDE) for _ in range(2)]
    await_all(found)
    replicator = _store_process(found[1])
    replicator.suspend()
    response = control(found[0], "POST", "rules", {"match": {}, "content": "x"})
    replicator.resume()
    assert response["servers"] == {"confirmed": 1, "unconfirmed": [f"{socket.gethostname()}:{found[1].port}"]}


def test_rule_uses_of_all_servers_are_in_the_report_of_each(servers):
    found = servers(2, workers=2)
    control(found[0], "POST", "rules", {"id": "used", "match": {"content": "Hello"}, "content": "x"})
    for one in (*found, found[0]):
        httpx.post(f"{one.url}{PATH}", json=ask(), headers=KEY)
    httpx.post(f"{found[1].url}{PATH}", json=ask("other"), headers=KEY)
    for one in found:
        report = control(one, "GET", "report")
        assert (report["matched"], report["unmatched"], report["next"]) == (3, 1, 0)
        assert [rule["hits"] for rule in report["rules"] if rule["name"] == "used"] == [3]
    found[1].stop()
    assert control(found[0], "GET", "report")["matched"] == 3
    control(found[0], "POST", "reset", {"counters": True})
    assert control(found[0], "GET", "report")["matched"] == 0


def test_requests_of_all_servers_are_listed_in_the_order_of_their_time(servers):
    found = servers(3, workers=1)
    with httpx.Client(headers=KEY) as client:
        for number in range(60):
            client.post(f"{found[number % 3].url}{PATH}", json=ask(f"number {number}"))
    for one in found:
        texts = [request["body"]["messages"][0]["content"] for request in control(one, "GET", "requests")["requests"]]
        assert texts == [f"number {number}" for number in range(59, -1, -1)]


def _store_process(server):
    """Return the process of a server that exchanges its state with the store."""
    return psutil.Process(server.workers()[-1])


FAILING = """
import fastmock.server.change_follower as module
module._RETRY = 0.01
apply, calls = module._apply, []
def failing(live, how, arguments):
    calls.append(how)
    if how == "adding" and len(calls) % 4:
        return 503, {"error": {"message": "Nothing was changed.", "code": "not_changed"}}
    return apply(live, how, arguments)
module._apply = failing
"""
ENDING = """
import os, fastmock.server.change_follower as module
apply = module._apply
def ending(live, how, arguments):
    result = apply(live, how, arguments)
    if how == "adding" and not os.path.exists({flag!r}):
        open({flag!r}, "w").close()
        os._exit(1)
    return result
module._apply = ending
"""


def test_server_that_could_not_make_a_change_makes_it_later(serve, store):
    config = {"store": {"url": store.url, "max_lag": 100}, "journal": {"enabled": True}}
    whole, failing = (
        serve({**config, "server": {"replica": name}}, "--workers", "1", prelude=f"{PRELUDE}\n{code}")
        for name, code in (("whole", ""), ("failing", FAILING))
    )
    await_all((whole, failing))
    for number in range(4):
        rule = {"id": f"rule-{number}", "match": {"content": "a"}, "content": "b"}
        assert "failing" in control(whole, "POST", "rules", rule)["servers"]["unconfirmed"] or number
    assert wait_until(lambda: rules_of(failing) == rules_of(whole), 10)
    assert len(rules_of(whole)) == 4


def test_change_is_made_once_though_the_process_that_made_it_has_ended(serve, store, tmp_path):
    config = {"store": {"url": store.url, "max_lag": 3000}, "journal": {"enabled": True}}
    ending = ENDING.format(flag=str(tmp_path / "ended"))
    found = [
        serve({**config, "server": {"replica": name}}, "--workers", "1", prelude=f"{PRELUDE}\n{code}")
        for name, code in (("whole", ""), ("ending", ending))
    ]
    await_all(found)
    control(found[0], "POST", "rules", {"match": {"content": "a"}, "content": "b"})
    assert (tmp_path / "ended").exists()
    assert wait_until(lambda: rules_of(found[1]) == rules_of(found[0]), 10)
    assert len(rules_of(found[0])) == 1
