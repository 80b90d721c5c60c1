"""Access to the control API: tokens, proxies, other sites, and the settings that it may change."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing

import httpx
import orjson
import pytest
import yaml

from fastmock.config.load import load
from tests.control.test_control import controlled, on_both, post, status_of
from tests.support import KEY, ROOT, wait_until

unit, integration = pytest.mark.unit, pytest.mark.integration
CHAT = "/v1/chat/completions"


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def errors_of(server):
    return "".join(server.errors)


def printed_token(server):
    """Return the token that a server has printed on standard error."""
    assert wait_until(lambda: "/#token=" in errors_of(server), 10)
    return re.search(r"/#token=(\S+)\n", errors_of(server))[1]


def send_raw(server, *lines):
    """Send a request with these lines as its head; return the status of the response."""
    with closing(socket.create_connection(("127.0.0.1", server.port), 10)) as connection:
        connection.sendall(("\r\n".join((*lines, "connection: close")) + "\r\n\r\n").encode())
        return int(connection.makefile("rb").readline().split()[1])


# Without a token.


@unit
@pytest.mark.parametrize(
    "name", ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
)
def test_control_api_request_through_a_proxy_needs_a_token(name):
    headers = {name: "127.0.0.1", "host": "127.0.0.1:8080"}
    assert status_of(controlled({}), **headers) == 403
    app = controlled({"admin": {"token": "tok-1"}})
    assert status_of(app, **headers) == 401
    assert status_of(app, **headers, **bearer("tok-1")) == 200


@unit
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("LocalHost", 200),
        ("mock.localhost:1", 200),
        ("127.0.0.1:8080", 200),
        ("127.9.9.9", 200),
        ("[::1]:8080", 200),
        ("10.99.0.1:8080", 403),
        ("0.0.0.0:8080", 403),
        ("[fe80::1]:8080", 403),
        ("mock.example", 403),
        ("127.0.0.1.example", 403),
        ("", 403),
    ],
)
def test_control_api_without_a_token_requires_a_loopback_host_header(host, status):
    assert status_of(controlled({}), host=host) == status


@unit
@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)]
)
@pytest.mark.parametrize("path", ["events", "requests", "config"])
def test_control_api_rejects_cross_site_requests_without_an_origin(path, site, status):
    headers = {"host": "127.0.0.1:8080", "sec-fetch-site": site}
    assert status_of(controlled({}), path=f"/fastmock/{path}", **headers) == status


@integration
@on_both
def test_control_api_on_a_server_checks_proxy_host_and_site_headers(serve, runtime):
    server = serve({}, "--runtime", runtime)
    url = f"{server.url}/fastmock/events"
    for name, value in (("via", "1.1 proxy"), ("X-Forwarded-Proto", "https"), ("sec-fetch-site", "cross-site")):
        assert httpx.get(url, headers={name: value}).status_code == 403
    line, host = "GET /fastmock/rules HTTP/1.1", f"host: 127.0.0.1:{server.port}"
    assert send_raw(server, line, host) == 200
    assert send_raw(server, line, "host: mock.example") == 403
    for hosts in ((host, "host: mock.example"), ("host: mock.example", host), (host, host)):
        assert send_raw(server, line, *hosts) == 400


# Beyond loopback.


@integration
@on_both
def test_token_beyond_loopback_is_generated_once_for_all_workers(serve, runtime):
    config = {"journal": {"enabled": True}, "metrics": {"enabled": True}}
    started = ("--runtime", runtime, "--workers", "2", "--log-requests")
    server = serve(config, "--host", "0.0.0.0", *started)
    token, url = printed_token(server), server.url
    assert f"{url}/#token={token}" in errors_of(server)
    refused = httpx.get(f"{url}/fastmock/rules")
    assert refused.status_code == 401
    assert "FASTMOCK_ADMIN_TOKEN" in refused.json()["error"]["message"]
    assert token not in refused.text
    assert httpx.get(f"{url}/fastmock/rules", headers=bearer(token[:-1])).status_code == 401
    assert httpx.get(f"{url}/health").status_code == httpx.get(f"{url}/metrics").status_code == 200
    assert httpx.get(f"{url}/", headers={"accept": "text/html"}).status_code == 200

    def granted():
        return {httpx.get(f"{url}/fastmock/rules", headers=bearer(token)).status_code for _ in range(20)}

    assert granted() == {200}
    # It is the same after a change, a reload and the death of every worker.
    added = httpx.post(f"{url}/fastmock/rules", json={"match": {"content": "x"}, "content": "y"}, headers=bearer(token))
    assert added.status_code == 200
    assert granted() == {200}
    server.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "reloaded" in errors_of(server), 10)
    assert granted() == {200}
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: errors_of(server).count("it is replaced") == 2 and len(server.workers()) == 2, 10)
    assert granted() == {200}
    # It is shown nowhere else.
    for path in ("config", "requests", "rules"):
        assert token not in httpx.get(f"{url}/fastmock/{path}", headers=bearer(token)).text
    assert server.stop() == 0
    lines = [server.lines.get() for _ in range(server.lines.qsize())]
    assert token not in server.greeting + "".join(filter(None, lines))
    assert errors_of(server).count("#token=") == 1


@integration
@on_both
def test_sessions_selected_by_key_work_with_a_token(serve, runtime):
    server = serve({"journal": {"enabled": True}}, "--host", "0.0.0.0", "--runtime", runtime)
    token, url = printed_token(server), f"{server.url}/fastmock"
    rule = {"match": {"content": "x"}, "content": "mine"}
    assert httpx.post(f"{url}/rules", json=rule, headers=bearer(f"one:{token}")).json()["rules"][0]["session"] == "one"
    assert post(server, "x", authorization="Bearer one:sk-test") == "mine"
    assert post(server, "x", authorization="Bearer two:sk-test") != "mine"
    for headers in (bearer(f"one:{token}"), bearer(token) | {"x-fastmock-session": "one"}):
        listed = httpx.get(f"{url}/requests", headers=headers).json()["requests"]
        assert [request["session"] for request in listed] == ["one"]
    assert len(httpx.get(f"{url}/requests", headers=bearer(token)).json()["requests"]) == 2


@integration
@pytest.mark.parametrize(
    ("config", "environ"),
    [
        ({"admin": {"token": "tok-1"}}, {}),
        ({}, {"FASTMOCK_ADMIN_TOKEN": "tok-1"}),
        ({"admin": {"enabled": False}}, {}),
        ({"admin": {"host": "127.0.0.1", "port": 0}}, {}),
    ],
)
def test_token_is_not_generated_when_it_is_not_needed(serve, config, environ):
    server = serve(config, "--host", "0.0.0.0", env=environ)
    assert server.stop() == 0
    assert "token" not in errors_of(server)
    assert "token=" not in server.greeting


@integration
@on_both
def test_control_api_on_a_loopback_port_needs_no_token(serve, runtime):
    server = serve({}, "--host", "0.0.0.0", "--admin-host", "127.0.0.1", "--admin-port", "0", "--runtime", runtime)
    assert server.control("GET", "rules") == (200, {"rules": []})
    assert httpx.get(f"{server.url}/fastmock/rules").status_code == 404


@integration
def test_control_api_on_a_port_beyond_loopback_needs_a_token(serve):
    server = serve({}, "--admin-host", "0.0.0.0", "--admin-port", "0")
    token = printed_token(server)
    assert server.control("GET", "rules")[0] == 401
    assert server.control("GET", "rules", authorization=f"Bearer {token}")[0] == 200


@integration
def test_token_removed_by_a_reload_is_replaced_by_the_generated_one(serve, tmp_path):
    file = tmp_path / "live.json"
    file.write_text('{"admin": {"token": "tok-1"}}')
    server = serve(None, "--config", str(file), "--host", "0.0.0.0")
    assert server.control("GET", "rules", authorization="Bearer tok-1")[0] == 200
    file.write_text("{}")
    server.process.send_signal(signal.SIGHUP)
    token = printed_token(server)
    assert wait_until(lambda: "reloaded" in errors_of(server), 10)
    assert server.control("GET", "rules")[0] == 401
    assert server.control("GET", "rules", authorization="Bearer tok-1")[0] == 401
    assert server.control("GET", "rules", authorization=f"Bearer {token}")[0] == 200


@integration
def test_control_api_enabled_by_a_reload_needs_a_token(serve, tmp_path):
    file = tmp_path / "live.json"
    file.write_text('{"admin": {"enabled": false}}')
    server = serve(None, "--config", str(file), "--host", "0.0.0.0", "--workers", "1")
    file.write_text("{}")
    server.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "reloaded" in errors_of(server), 10)
    [worker] = server.workers()
    os.kill(worker, signal.SIGKILL)  # the one that replaces it serves what is in force by then
    assert wait_until(lambda: server.workers() not in ([], [worker]), 10)
    token = printed_token(server)
    assert wait_until(lambda: httpx.get(f"{server.url}/fastmock/rules").status_code == 401, 10)
    assert httpx.get(f"{server.url}/fastmock/rules", headers=bearer(token)).status_code == 200


@unit
def test_admin_host_without_a_port_is_a_config_error():
    _, problems = load({"admin": {"host": "127.0.0.1"}}, {}, {})
    assert [problem.path for problem in problems] == ["admin"]


# What may be changed.

SECRET = "root:$6$secret"
ANSWER = {"choices": [{"message": {"content": "from a file"}}]}


@pytest.fixture
def files(tmp_path):
    """Lay out a directory with a configuration, and files in it and outside of it."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    for directory in (inside, outside):
        (directory / "answer.json").write_bytes(orjson.dumps(ANSWER))
        (directory / "secret.txt").write_text(SECRET)
        (directory / "secret.yaml").write_text(f"a: [{SECRET}\n")
        (directory / "variables.json").write_text('{"choices": [{"message": {"content": "$secret_word"}}]}')
        (directory / "samples.txt").write_text("10 20")
    (inside / "link.json").symlink_to(outside / "answer.json")
    (inside / "loop.json").symlink_to(inside / "loop.json")
    return inside


def start(serve, files, runtime="robyn", **config):
    file = files / "config.json"
    file.write_bytes(orjson.dumps(config))
    return serve(None, "--config", str(file), "--runtime", runtime)


def names_of_files(outside):
    return [
        "answer.json",
        "../inside/answer.json",
        "../outside/answer.json",
        str(outside / "answer.json"),
        "link.json",
        "loop.json",
        "missing.json",
        "/etc/passwd",
        "/dev/zero",
        "a\0b",
        "x" * 300,
    ]


@integration
@on_both
def test_control_api_rejects_files_the_config_does_not_name(serve, files, runtime):
    server = start(serve, files, runtime)
    told = set()
    for name in names_of_files(files.parent / "outside"):
        status, body = server.control("POST", "rules", {"match": {}, "response_file": name})
        assert status == 400
        told.add(body["error"]["message"])
        answers = {"chat_completions": {"default": name}}
        assert server.control("PUT", "config", {"responses": answers})[0] == 400
    assert len(told) == 1  # so that it does not tell which files there are
    assert "admin.files" in told.pop()
    for change in (
        {"latency": {"ttft": {"file": str(files / "samples.txt")}}},
        {"server": {"tls_cert": "/etc/passwd", "tls_key": "/etc/passwd"}},
        {"per_model": [{"model": "m", "latency": {"itl": {"file": "samples.txt"}}}]},
        {"admin": {"files": True}},
    ):
        assert server.control("PUT", "config", change)[0] == 400
    of_session = {"latency": {"ttft": {"file": str(files / "samples.txt")}}}
    status, body = server.control("PUT", "sessions/one", of_session)
    assert (status, "admin.files" in body["error"]["message"]) == (400, True)
    rule = {"match": {}, "responses": [{"content": "x"}, {"response_file": "answer.json"}]}
    assert server.control("POST", "rules", rule)[0] == 400
    # A word of the same name in the arguments of a call is no file.
    call = {"name": "read", "arguments": {"file": "/etc/passwd", "response_file": "x"}}
    assert server.control("POST", "rules", {"match": {"content": "call"}, "tool_calls": [call]})[0] == 200


@integration
def test_control_api_accepts_files_the_config_names(serve, files):
    named = {"chat_completions": {"default": "answer.json"}}
    server = start(serve, files, responses=named, latency={"ttft": {"file": "samples.txt"}})
    rule = {"match": {"content": "x"}, "response_file": "answer.json"}
    assert server.control("PUT", "rules/a", rule)[0] == 200
    assert post(server, "x") == "from a file"
    assert server.control("PUT", "config", {"responses": {"chat_completions": {"default": {"content": "y"}}}})[0] == 200
    assert server.control("DELETE", "rules/a")[0] == 200
    assert post(server, "x") == "y"
    assert server.control("POST", "reset", {"config": True})[0] == 200  # to a file that was not in force any more
    assert post(server, "x") == "from a file"


@integration
@on_both
def test_control_api_with_admin_files_accepts_files_below_the_config_directory(serve, files, runtime):
    server = start(serve, files, runtime, admin={"files": True})
    outside = files.parent / "outside"
    allowed = {"answer.json", "../inside/answer.json"}
    for name in names_of_files(outside):
        status, body = server.control("POST", "rules", {"match": {}, "response_file": name})
        assert status == (200 if name in allowed else 400), name
        assert str(outside) not in str(body.get("error"))
    assert post(server, "x") == "from a file"
    assert server.control("PUT", "config", {"latency": {"ttft": {"file": "samples.txt"}}})[0] == 200


@integration
def test_control_api_errors_do_not_contain_file_contents(serve, files):
    server = start(serve, files, admin={"files": True})
    for name in ("secret.txt", "secret.yaml", "variables.json"):
        for method, path, change in (
            ("PUT", "config", {"latency": {"ttft": {"file": name}}}),
            ("POST", "rules", {"match": {}, "response_file": name}),
        ):
            status, body = server.control(method, path, change)
            assert status == 400
            assert "secret" not in str(body).replace(name, "")
    assert wait_until(lambda: "secret_word" in errors_of(server), 10)  # the log has it


@integration
def test_admin_files_enabled_by_a_reload_needs_a_restart(serve, files):
    server = start(serve, files)
    (files / "config.json").write_text('{"admin": {"files": true}}')
    server.process.send_signal(signal.SIGHUP)
    assert wait_until(lambda: "admin.files has changed; restart the server to apply it" in errors_of(server), 10)
    assert server.control("POST", "rules", {"match": {}, "response_file": "answer.json"})[0] == 400


@integration
@on_both
def test_control_api_rejects_changes_of_the_manager_and_the_store(serve, files, runtime):
    (files / "bad.py").write_text("raise SystemExit(7)")
    manager = "from fastmock.responses import ResponseManager\nclass Mine(ResponseManager):\n    pass\n"
    (files / "mine.py").write_text(manager)
    config = {"responses": {"manager": "mine:Mine"}}
    server = start(lambda *args: serve(*args, cwd=files), files, runtime, **config)
    for change in (
        {"responses": {"manager": "bad:C"}},
        {"responses": {"manager": None}},
        {"limits": {"store": "redis://127.0.0.1:2/0"}},
        {"store": {"url": "redis://127.0.0.1:2/0"}},
    ):
        status, body = server.control("PUT", "config", change)
        assert (status, "cannot be changed over the control API" in body["error"]["message"]) == (400, True)
    shown = server.control("GET", "config")[1]
    assert server.control("PUT", "config", shown)[0] == 200  # sent back unchanged it is no change
    assert server.control("POST", "reset")[0] == 200
    answer = httpx.post(
        server.url + CHAT, json={"model": "m", "messages": [{"role": "user", "content": "x"}]}, headers=KEY
    )
    assert answer.status_code == 200


# The examples of the documentation.

CURL = """curl() { command curl --silent --noproxy '*' -o /dev/null -w '%{http_code}\\n' "$@"; }\n"""


def examples(page, with_token):
    """Return the shell examples that use the control API, with its token or without."""
    found = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    return [text for text in found if "/fastmock/" in text and ("FASTMOCK_ADMIN_TOKEN" in text) == with_token]


def run_example(text, server, environ):
    """Run an example against a server; return the statuses of its calls."""
    script = CURL + text.replace("http://127.0.0.1:8080", server.url)
    bash = ("bash", "-e", "-c", script)
    done = subprocess.run(bash, env=os.environ | environ, capture_output=True, text=True, timeout=20, check=True)
    return [int(line) for line in done.stdout.split()]


def container_environ(token):
    """Return the environment that the Dockerfile and compose.yaml give a server where the shell's token is this."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["fastmock"]["environment"]
    assert composed == {"FASTMOCK_ADMIN_TOKEN": "${FASTMOCK_ADMIN_TOKEN:-}"}
    return {"FASTMOCK_HOST": re.search(r"FASTMOCK_HOST=(\S+)", dockerfile)[1], "FASTMOCK_ADMIN_TOKEN": token}


@integration
@on_both
@pytest.mark.parametrize("page", ["README.md", "docs/control.md"])
def test_docs_examples_without_a_token_work_on_loopback(serve, runtime, page):
    server = serve({"journal": {"enabled": True}}, "--runtime", runtime)
    shown = examples(page, with_token=False)
    assert shown
    statuses = [status for text in shown for status in run_example(text, server, {})]
    assert set(statuses) <= {200, 406}  # 406 of what is verified, for nobody has asked
    assert len(statuses) == sum(text.count("curl ") for text in shown)


@integration
@on_both
@pytest.mark.parametrize("page", ["README.md", "docs/control.md"])
def test_docs_examples_with_a_token_work_as_in_a_container(serve, runtime, page):
    environ = container_environ("tok-1")
    server = serve({"journal": {"enabled": True}}, "--runtime", runtime, env=environ)
    shown = examples(page, with_token=True)
    assert shown
    statuses = [status for text in shown for status in run_example(text, server, environ)]
    assert set(statuses) == {200}
    assert len(statuses) == sum(text.count("curl ") for text in shown)
    wrong = [status for text in shown for status in run_example(text, server, {"FASTMOCK_ADMIN_TOKEN": "x"})]
    assert set(wrong) == {401}


@integration
def test_container_without_a_token_generates_one(serve):
    environ = container_environ("")
    server = serve({"journal": {"enabled": True}}, env=environ)
    token = printed_token(server)
    for text in examples("README.md", with_token=True):
        assert set(run_example(text, server, {"FASTMOCK_ADMIN_TOKEN": token})) == {200}


@integration
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_docs_script_works_with_and_without_a_token(serve, host):
    server = serve({}, "--host", host)
    environ = {"FASTMOCK_URL": f"{server.url}/v1"}
    if host == "0.0.0.0":
        environ["FASTMOCK_ADMIN_TOKEN"] = printed_token(server)
    program = (sys.executable, ROOT / "docs/clients/scripted.py")
    done = subprocess.run(program, env=os.environ | environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "Your refund is on its way.", done.stderr


# The page, without a browser (see test_dashboard.py for one).

PAGE = """
const fs = require("fs"), vm = require("vm");
const script = fs.readFileSync(process.argv[2], "utf8").match(/<script>([^]*)<\\/script>/)[1];
const anything = () => new Proxy(() => {}, {
  get: (_, name) => name === "then" ? undefined : anything(), set: () => true, apply: anything,
});
const stored = new Map(), shown = [];
vm.runInNewContext(script, {
  document: { getElementById: anything, createElement: anything },
  location: { hash: process.argv[3], pathname: "/", search: "", protocol: "http:", hostname: "h" },
  history: { replaceState: (state, title, url) => shown.push(url) },
  sessionStorage: { getItem: name => stored.get(name) ?? null, setItem: (name, value) => stored.set(name, value) },
  addEventListener: () => {}, URLSearchParams, performance, setTimeout, TextDecoderStream,
  fetch: (url, options) => {
    console.log(JSON.stringify({ url, headers: options.headers, shown, stored: [...stored] }));
    process.exit(0);
  },
});
"""


@unit
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize(
    ("fragment", "headers", "shown"), [("#token=tok-1", bearer("tok-1"), ["/"]), ("", {}, []), ("#other", {}, [])]
)
def test_dashboard_takes_its_token_from_the_url_fragment(tmp_path, fragment, headers, shown):
    script = tmp_path / "page.cjs"
    script.write_text(PAGE)
    command = ("node", script, ROOT / "fastmock/control/dashboard.html", fragment)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    stored = [["fastmock-token", "tok-1"]] if headers else []
    asked = orjson.loads(done.stdout)
    assert asked == {"url": "/fastmock/events", "headers": headers, "shown": shown, "stored": stored}
