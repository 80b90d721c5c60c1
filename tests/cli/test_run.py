"""``fastmock run`` and ``fastmock health``: real commands in real processes."""

import json
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import httpx
import psutil
import pytest

from tests.support import ROOT, command, outer_environment, wait_until

pytestmark = pytest.mark.integration
RULES = [
    {"name": "greeting", "match": {"content": "Hello"}, "content": "Hi"},
    {"name": "farewell", "match": {"content": "Bye"}, "content": "Ciao"},
]
ASK = """
import os, sys, httpx
for content in sys.argv[1:]:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}
    key = os.environ["OPENAI_API_KEY"]
    url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
    reply = httpx.post(url, json=body, headers={"authorization": f"Bearer {key}"}, verify=False)
    print(reply.json()["choices"][0]["message"]["content"])
"""


def start(*arguments):
    """Start ``fastmock``, as a shell does."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    words = [sys.executable, "-m", "fastmock", *arguments]
    return subprocess.Popen(words, env=outer_environment(PYTHONPATH=str(ROOT)), **pipes)


def run(*arguments, env=None):
    """Run ``fastmock`` until it ends; only its servers are started as they are for users, which takes half the time."""
    done = command(*arguments, cwd=ROOT, env=outer_environment(PYTHONPATH=str(ROOT), **(env or {})))
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"responses": {"chat_completions": {"rules": RULES}}}))
    return str(file)


def test_command_finds_the_server_by_its_environment():
    show = "import os, json; print(json.dumps(dict(os.environ)))"
    env = {"NO_PROXY": "example.org", "ANTHROPIC_AUTH_TOKEN": "real", "OPENAI_API_KEY": "sk-real"}
    code, out, _ = run("run", "--", sys.executable, "-c", show, env=env)
    found = json.loads(out)
    url = found["FASTMOCK_URL"]
    assert code == 0
    assert url.startswith("http://127.0.0.1:")
    assert [found[name] for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE")] == [f"{url}/v1"] * 2
    assert found["ANTHROPIC_BASE_URL"] == url
    assert (found["OPENAI_API_KEY"], found["ANTHROPIC_API_KEY"]) == ("sk-fastmock", "sk-fastmock")
    assert (found["NO_PROXY"], found["no_proxy"]) == ("example.org,127.0.0.1", "127.0.0.1")
    assert "ANTHROPIC_AUTH_TOKEN" not in found
    with pytest.raises(httpx.ConnectError):  # it has stopped
        httpx.get(f"{url}/health")


def test_summary_names_misses_and_unused_rules(config, tmp_path):
    reports = [str(tmp_path / f"report.{suffix}") for suffix in ("xml", "md", "json")]
    options = [option for file in reports for option in ("--report", file)]
    code, out, err = run("run", "--config", config, *options, "--", sys.executable, "-c", ASK, "Hello", "Hallo")
    assert code == 0
    assert out.splitlines()[0] == "Hi"
    assert "2 requests: rules answered 1, no rule matched 1" in err
    assert "nearest rule 'farewell': content is 'Hallo', not 'Bye'" in err or "nearest rule 'greeting'" in err
    assert "rules never used: 'farewell'" in err
    assert ElementTree.parse(reports[0]).getroot().attrib["failures"] == "1"
    assert (tmp_path / "report.md").read_text().startswith("### fastmock")
    assert json.loads((tmp_path / "report.json").read_text())["unused"] == ["farewell"]


def test_report_is_appended_to_the_summary_of_a_job(config, tmp_path):
    summary = tmp_path / "step_summary_5b1c"
    summary.write_text("before\n")
    env = {"GITHUB_STEP_SUMMARY": str(summary)}
    code, _, _ = run("run", "--config", config, "--report", str(summary), "--", "true", env=env)
    assert code == 0
    assert summary.read_text().startswith("before\n### fastmock")


@pytest.mark.parametrize(
    ("fail_on", "asked", "exit_code", "expected"),
    [
        ("misses", ["Hello"], 0, 0),
        ("misses", ["Hallo"], 0, 3),
        ("unused", ["Hello"], 0, 3),
        ("unused,misses", ["Hello", "Bye"], 0, 0),
        ("misses", ["Hallo"], 9, 9),
    ],
)
def test_command_that_passes_fails_where_the_report_says_so(config, fail_on, asked, exit_code, expected):
    program = f"{ASK}\nsys.exit({exit_code})"
    command = (sys.executable, "-c", program, *asked)
    assert run("run", "--config", config, "--fail-on", fail_on, "--", *command)[0] == expected


IMPATIENT = """
import os, httpx
for _ in range(2):
    headers = {"authorization": "Bearer sk-impatient"}
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    httpx.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json=body, headers=headers)
"""


def test_findings_are_shown_and_make_the_command_fail(tmp_path):
    fault = {"kind": "status", "status": 429, "times": 1, "retry_after": 5}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"faults": [fault]}))
    reports = [str(tmp_path / f"report.{suffix}") for suffix in ("xml", "md", "json")]
    options = [option for file in reports for option in ("--report", file)]
    command = ("--", sys.executable, "-c", IMPATIENT)
    code, _, err = run("run", "--config", str(config), "--fail-on", "findings", *options, *command)
    assert code == 3
    assert "error: retried_too_early, client" in err
    assert "(requests 0, 1)" in err
    failure = ElementTree.parse(reports[0]).find(".//testcase[@classname='fastmock.findings']/failure")
    assert failure.attrib["type"] == "retried_too_early"
    assert "| error: retried_too_early |" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["findings"][0]["severity"] == "error"
    assert run("report", reports[2], "--fail-on", "findings")[0] == 3
    # Without the option nothing is watched, which another one must not take for no findings.
    code, _, err = run("run", "--config", str(config), "--report", reports[2], *command)
    assert (code, "retried_too_early" in err) == (0, False)
    code, _, err = run("report", reports[2], "--fail-on", "findings")
    assert (code, "start it with --findings" in err) == (1, True)


CONTINUES = """
import os, httpx
def ask(**more):
    headers = {"authorization": "Bearer sk-test"}
    return httpx.post(os.environ["OPENAI_BASE_URL"] + "/responses", json={"model": "gpt-4o", **more}, headers=headers)
tools = [{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}]
first = ask(input="look", tools=tools, tool_choice="required").json()
result = {"type": "function_call_output", "call_id": "CALL_ID" or first["output"][0]["call_id"], "output": "x"}
print(ask(input=[result], previous_response_id=first["id"]).status_code)
"""


@pytest.mark.parametrize(("call_id", "status", "expected"), [("", "200", 0), ("call_other", "400", 3)])
def test_final_findings_know_the_responses_that_were_stored(call_id, status, expected):
    program = CONTINUES.replace("CALL_ID", call_id)
    code, out, err = run("run", "--workers", "2", "--fail-on", "findings", "--", sys.executable, "-c", program)
    assert (out.strip(), code) == (status, expected), err
    assert ("unknown_tool_call" in err) == bool(expected)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "--", "no-such-command"], 127, "cannot run no-such-command"),
        (["run", "--", str(ROOT / "README.md")], 126, "Permission denied"),
        (["run", "--", "sh", "-c", "kill -9 $$"], 137, ""),
        (["run", "--", "sh", "-c", "exit 42"], 42, ""),
        (["run", "--config", "missing.json", "--", "true"], 125, "missing.json: cannot be read"),
        (["run", "true"], 2, "a command is required after --"),
        (["run", "--fail-on", "mises", "--", "true"], 2, "did you mean 'misses'?"),
        (["run", "--report", "report.html", "--", "true"], 2, ".json, .txt, .md, .xml"),
    ],
)
def test_exit_code_tells_whose_failure_it_is(arguments, code, message):
    found, _, err = run(*arguments)
    assert (found, message in err) == (code, True), err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_forwarded_to_the_command(number):
    program = f"import signal, sys; signal.signal({int(number)}, lambda *_: sys.exit(7)); print('on', flush=True)"
    program += "; signal.pause()"
    process = start("run", "--", sys.executable, "-c", program)
    assert process.stdout.readline() == "on\n"
    process.send_signal(number)
    assert process.wait(60) == 7
    process.communicate()


def test_signal_that_ends_the_command_is_in_the_exit_code():
    process = start("run", "--", "sh", "-c", "echo on; exec sleep 60")
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    process.communicate()


def test_signal_before_the_command_has_started_ends_the_run():
    process = start("run", "--", "sh", "-c", "echo on; exec sleep 60")
    time.sleep(0.3)  # it imports
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    out, _ = process.communicate()
    assert out in ("", "on\n")


def servers_of(process):
    return [one for one in psutil.Process(process.pid).children(recursive=True) if "serve" in one.cmdline()]


def test_server_ends_with_a_runner_that_is_killed():
    process = start("run", "--", "sh", "-c", "echo on; exec sleep 5")
    assert process.stdout.readline() == "on\n"
    servers = servers_of(process)
    assert servers
    process.kill()
    process.wait()
    assert wait_until(lambda: not any(one.is_running() and one.status() != "zombie" for one in servers), 30)
    process.communicate()


def test_lost_server_is_reported_and_never_hangs():
    process = start("run", "--", "sh", "-c", "echo on; exec sleep 2")
    assert process.stdout.readline() == "on\n"
    for one in servers_of(process):
        one.kill()
    begin = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 125
    assert "the server was lost" in err
    assert time.monotonic() - begin < 60


def test_health_command_tells_whether_a_server_responds(serve):
    server = serve({})
    assert run("health", server.url)[0] == 0
    assert run("health", f"127.0.0.1:{server.port}")[0] == 0
    assert run("health", env={"FASTMOCK_PORT": str(server.port), "http_proxy": "http://127.0.0.1:9"})[0] == 0
    server.stop()
    code, _, err = run("health", server.url)
    assert (code, "does not respond" in err) == (1, True)
    assert run("health", "a", "b")[0] == 2
    assert run("health", "--help")[1].startswith("usage: fastmock health")


def test_health_command_imports_no_server():
    program = """
import sys
sys.argv[1:] = ["health", "127.0.0.1:9"]
from fastmock.__main__ import run
try:
    run()
except SystemExit:
    print(*sorted(name for name in sys.modules if name.startswith("fastmock")))
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.split() == ["fastmock", "fastmock.__main__", "fastmock._version", "fastmock.cli", "fastmock.cli.health"]
