"""The pytest plugin, in runs of pytest of its own."""

import json
import os
import re
import subprocess
import sys
import textwrap
import time

import httpx
import pytest

from fastmock.testing import Server
from fastmock.testing.control import Control
from tests.cassettes.support import chat, line, posted
from tests.support import PYTEST, outer_environment, serving, wait_until

pytestmark = pytest.mark.integration
ASK = """
import os, httpx, pytest

class NotFound(Exception): pass

def ask(text="hello"):  # as an SDK does, without the seconds of its import
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    headers = {"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}
    for _ in range(3):
        url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
        reply = httpx.post(url, json=body, headers=headers, verify=False)  # to load certificates takes 30 ms
        if reply.status_code == 404:
            raise NotFound
        if reply.status_code == 200:
            return reply.json()["choices"][0]["message"]["content"]
"""


class Runner:
    """Runs pytest in a directory of its own."""

    def __init__(self, directory):
        self.directory = directory

    def write(self, test, **files):
        (self.directory / "test_it.py").write_text(ASK + textwrap.dedent(test))
        for name, text in files.items():
            (self.directory / name.replace("_", ".", 1)).write_text(text)

    def write_markers(self, markers):
        """Write a test for each of these arguments of the marker."""
        marked = (f"@pytest.mark.fastmock({one})\ndef test_{n}(fastmock): pass" for n, one in enumerate(markers))
        self.write("\n".join(marked))

    def start(self, *options, **env):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen([*PYTEST, *options], cwd=self.directory, env=outer_environment(**env), **pipes)

    def run(self, *options, **env):
        """Return the exit code, the output, and the numbers of outcomes."""
        process = self.start(*options, **env)
        out, _ = process.communicate(timeout=100)
        last = out.strip().splitlines()[-1]
        return process.returncode, out, {kind: int(number) for number, kind in re.findall(r"(\d+) (\w+)", last)}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """The options for runs that use a running server; to start one of their own takes most of their time."""
    with serving(tmp_path_factory.mktemp("server"), {}, "--runtime", "granian") as server:
        yield "--fastmock-url", server.url


@pytest.fixture
def runner(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return Runner(tmp_path)


def is_gone(url):
    """Return whether no server listens at a URL any more."""
    try:
        httpx.get(f"{url}/health", timeout=5)
    except httpx.ConnectError:
        return True
    except httpx.HTTPError:
        pass
    return False


def test_fixture_scripts_the_clients_of_a_test(runner):
    runner.write("""
        def test_one(fastmock):
            fastmock.on("hello").reply("Hi")
            assert ask() == "Hi"
            fastmock.verify("hello", count=1)

        def test_other(fastmock):
            assert ask() != "Hi"
            assert len(fastmock.requests) == 1
            assert [rule["name"] for rule in fastmock.report()["rules"]] == []

        def test_without():
            import os
            assert "FASTMOCK_URL" not in os.environ
    """)
    code, out, counts = runner.run()
    assert (code, counts["passed"]) == (0, 3), out


def test_failed_test_shows_its_requests_and_the_nearest_rule(runner, running):
    runner.write("""
        def test_one(fastmock):
            fastmock.on("hello").reply("Hi")
            assert ask("hallo") == "Hi"
    """)
    code, out, _ = runner.run(*running)
    assert code == 1
    section = out[out.index("- fastmock -") :]
    assert "1 request in session test_one-" in section
    assert "POST /v1/chat/completions gpt-4o 'hallo' -> 200, rule chat_completions.default" in section
    assert "nearest rule on('hello'): content 'hallo' does not contain 'hello'" in section


STRICT = """
    def test_swallowed(fastmock):
        fastmock.on("hello").reply("Hi")
        with pytest.raises(NotFound):
            ask("hallo")

    def test_matched(fastmock):
        fastmock.on("hello").reply("Hi")
        assert ask() == "Hi"

    @pytest.mark.fastmock(strict=False)
    def test_lenient(fastmock):
        assert ask()
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_strict_run_fails_a_test_that_swallows_the_error(runner, workers):
    runner.write(STRICT)
    (runner.directory / "pytest.ini").write_text("[pytest]\nfastmock_strict = true\n")
    code, out, counts = runner.run(*workers)
    assert (code, counts["failed"], counts["passed"]) == (1, 1, 2), out
    assert "no rule matched, in strict mode:" in out
    assert "nearest rule on('hello')" in out


def test_strict_run_is_strict_on_a_running_server_too(runner, running):
    runner.write(STRICT)
    (runner.directory / "pytest.ini").write_text("[pytest]\nfastmock_strict = true\n")
    code, out, counts = runner.run(*running)
    assert (code, counts["failed"], counts["passed"]) == (1, 1, 2), out


def test_marker_configures_the_session_from_a_mapping_or_a_file(runner, running):
    runner.write(
        """
        RULES = {"rules": [{"match": {"content": "a"}, "content": "A"}, {"match": {"content": "a"}, "content": "late"}]}

        @pytest.mark.fastmock(config={"responses": {"chat_completions": RULES}, "faults": [
            {"kind": "status", "status": 503, "times": 1}]})
        def test_mapping(fastmock):
            assert ask("a") == "A"
            assert [request.status for request in fastmock.requests] == [503, 200]

        @pytest.mark.fastmock(config="rules.yaml", strict=True)
        def test_file(fastmock):
            assert (ask("b"), ask("c")) == ("B", "default")
        """,
        rules_yaml="""
responses:
  chat_completions:
    rules: [{match: {content: b}, content: B}]
    default: {content: default}
""",
    )
    code, out, counts = runner.run(*running)
    assert (code, counts["passed"]) == (0, 2), out


def test_marker_fails_a_test_whose_client_misbehaves(runner):
    runner.write(
        """
        import httpx

        def ask_impatiently(fastmock):
            for _ in range(2):
                httpx.post(
                    fastmock.url + "/v1/chat/completions", headers={"authorization": f"Bearer {fastmock.api_key}"},
                    json={"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})

        @pytest.mark.fastmock(findings=True)
        def test_impatient(fastmock):
            fastmock.on().fails(429, times=1, retry_after=5)
            ask_impatiently(fastmock)

        def test_not_watched(fastmock):
            fastmock.on().fails(429, times=1, retry_after=5)
            ask_impatiently(fastmock)

        @pytest.mark.fastmock(config={"findings": {"enabled": True}})
        def test_patient(fastmock):
            ask("hello")
        """
    )
    code, out, counts = runner.run("-n", "2")
    assert (code, counts["failed"], counts["passed"]) == (1, 1, 2), out
    assert re.search(r"error: retried_too_early: retried \d\.\d\d s after a 429 that asked to wait 5 s", out)
    assert "Wait for as long as" in out


MARKERS = {
    'config={"server": {"workers": 2}}': "'server' cannot be set for a session",
    'config={"responses": {"manager": "x:Y"}}': "'responses.manager' cannot be set for a session",
    'config={"latency": {"tftt": 1}}': "did you mean 'ttft'?",
    'config="missing.json"': "cannot be read",
    "stict=True": "unknown argument 'stict'; did you mean 'strict'?",
}


def test_invalid_marker_names_the_test_and_the_error(runner, running):
    runner.write_markers(MARKERS)
    code, out, counts = runner.run(*running)
    assert (code, counts["errors"]) == (1, len(MARKERS))
    for number, message in enumerate(MARKERS.values()):
        assert f"the marker 'fastmock' of test_it.py::test_{number} is invalid" in out
        assert message in out


def test_wrong_expression_is_reported_at_the_line_of_the_test(runner, running):
    runner.write("""
        def test_it(fastmock):
            fastmock.on("x", modle="y").reply("z")
    """)
    _, out, _ = runner.run(*running)
    assert '>       fastmock.on("x", modle="y").reply("z")' in out
    assert "did you mean 'model'?" in out
    assert "control.py" not in out


def test_autouse_serves_every_test(runner, running):
    runner.write("""
        import os

        def test_it():
            assert os.environ["OPENAI_API_KEY"].startswith("test_it-")
            assert ask()

        class TestCase:
            def test_in_class(self):
                assert ask()
    """)
    (runner.directory / "pytest.ini").write_text("[pytest]\nfastmock_autouse = true\n")
    code, out, counts = runner.run(*running)
    assert (code, counts["passed"]) == (0, 2), out


def test_running_server_is_used(runner):
    runner.write("""
        def test_it(fastmock, fastmock_server):
            fastmock.on("hello").reply("Hi")
            assert ask() == "Hi"
            assert fastmock_server.url == "EXPECTED"
    """)
    test = runner.directory / "test_it.py"
    with Server(environ=os.environ | {"FASTMOCK_ADMIN_TOKEN": "secret"}, timeout=60) as server:
        test.write_text(test.read_text().replace("EXPECTED", server.url))
        code, out, _ = runner.run("--fastmock-url", server.url, "--fastmock-token", "secret")
        assert code == 0, out
        code, out, _ = runner.run(FASTMOCK_URL=server.url, FASTMOCK_ADMIN_TOKEN="secret")
        assert code == 0, out
        control = Control(server.url, "secret")
        assert control.call("GET", "rules") == {"rules": []}  # nothing is left behind
        control.close()
        code, out, _ = runner.run("--fastmock-url", server.url)
        assert (code, "token" in out) == (3, True), out
        assert server.is_running
    begin = time.monotonic()
    code, out, _ = runner.run("--fastmock-url", server.url)
    assert (code, "does not respond" in out) == (3, True), out
    assert time.monotonic() - begin < 60


def test_config_of_the_server_and_its_errors(runner):
    runner.write("""
        def test_it(fastmock):
            assert ask() == "from the file"
    """)
    file = runner.directory / "server.json"
    file.write_text(json.dumps({"responses": {"chat_completions": {"default": {"content": "from the file"}}}}))
    (runner.directory / "config.json").write_text('{"of": "another program"}')
    code, out, _ = runner.run("--fastmock-config", "server.json")
    assert code == 0, out
    file.write_text('{"sed": 1}')
    code, out, _ = runner.run("--fastmock-config", "server.json")
    assert (code, "did you mean 'seed'?" in out) == (3, True), out


SHARED = """
    import os
    from pathlib import Path

    @pytest.mark.parametrize("number", range(16))
    def test_it(fastmock, fastmock_server, number):
        fastmock.on("hello").reply(f"{number}")
        assert ask() == f"{number}"
        Path(f"url-{os.getpid()}").write_text(fastmock_server.url)
"""


def test_workers_of_xdist_share_one_server_that_ends_with_the_run(runner):
    runner.write(SHARED)
    code, out, counts = runner.run("-n", "4")
    assert (code, counts["passed"]) == (0, 16), out
    urls = [file.read_text() for file in runner.directory.glob("url-*")]
    assert len(urls) > 1
    assert len(set(urls)) == 1
    assert is_gone(urls[0])


def test_server_ends_with_a_run_that_is_killed(runner):
    runner.write("""
        import time

        def test_it(fastmock, fastmock_server):
            print(fastmock_server.url, flush=True)
            time.sleep(60)
    """)
    process = runner.start("-s")
    url = next(found[0] for line in process.stdout if (found := re.search(r"http://[\d.:]+", line)))
    assert not is_gone(url)
    process.kill()
    process.wait()
    process.stdout.close()
    assert wait_until(lambda: is_gone(url), 30)


def test_lost_server_fails_the_test_with_its_log(runner):
    runner.write("""
        import os, signal, psutil

        @pytest.mark.fastmock(strict=True)
        def test_it(fastmock):
            for one in psutil.Process().children():
                one.send_signal(signal.SIGTERM)
                one.wait()
    """)
    begin = time.monotonic()
    code, out, _ = runner.run()
    assert code == 1
    assert "does not respond" in out
    assert "listening on" in out  # the log
    assert time.monotonic() - begin < 80


def test_plugin_imports_little():
    program = "import sys, pytest; before = set(sys.modules); import fastmock.testing.plugin\n"
    program += "print(*sorted(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["fastmock", "fastmock._version", "fastmock.testing", "fastmock.testing.plugin"]


def test_unittest_uses_the_client_and_the_server(tmp_path):
    (tmp_path / "test_case.py").write_text(
        textwrap.dedent("""
        import unittest
        from fastmock.testing import Client, Server

        class TestReply(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.server = cls.enterClassContext(Server(timeout=60))

            def setUp(self):
                self.mock = self.enterContext(Client(self.server.url))

            def test_reply(self):
                self.mock.on("hello").reply("Hi")
                messages = [{"role": "user", "content": "hello"}]
                completion = self.mock.openai().chat.completions.create(model="gpt-4o", messages=messages)
                self.assertEqual(completion.choices[0].message.content, "Hi")
    """)
    )
    command = [sys.executable, "-W", "ignore", "-m", "unittest", "-q", "test_case"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cassette_is_recorded_once_and_replayed_then(runner, serve):
    runner.write("""
        @pytest.mark.fastmock(cassette="talk", record="once", strict=True)
        def test_it(fastmock):
            assert ask("from upstream") == "a real answer"

        @pytest.mark.fastmock(cassette="talk")
        def test_other(fastmock):
            assert ask("from upstream") == "a real answer"
            with pytest.raises(NotFound):
                ask("never recorded")
            fastmock.configure(limits={"requests_per_minute": 100})
            assert ask("from upstream") == "a real answer"
            assert fastmock.last_request.model == "gpt-4o"
    """)
    rule = {"match": {"content": "from upstream"}, "content": "a real answer"}
    config = {"responses": {"chat_completions": {"rules": [rule], "strict": True}}, "auth": {"mode": "sk"}}
    cassette = runner.directory / "cassettes" / "talk.jsonl"
    upstream = serve(config)
    variables = {"OPENAI_BASE_URL": f"{upstream.url}/v1", "OPENAI_API_KEY": "sk-upstream", "CI": ""}
    code, out, counts = runner.run(**variables)
    assert (code, counts) == (0, {"passed": 2}), out
    assert cassette.read_text().count("\n") == 1
    assert "sk-upstream" not in cassette.read_text()
    upstream.stop()
    code, out, counts = runner.run(OPENAI_API_KEY="sk-any", CI="true")
    assert (code, counts) == (0, {"passed": 2}), out
    cassette.unlink()
    code, out, counts = runner.run("-k", "test_it", CI="true")
    assert code == 1
    assert "recording is refused because CI is set" in out
    code, out, _ = runner.run("-k", "test_other")
    assert code == 1
    assert "talk.jsonl does not exist" in out


def test_failed_test_with_a_cassette_shows_the_nearest_recording(runner):
    (runner.directory / "cassettes").mkdir()
    (runner.directory / "cassettes" / "talk.jsonl").write_bytes(line(posted(chat("hello")), b"{}"))
    runner.write("""
        @pytest.mark.fastmock(cassette="talk", strict=True)
        def test_it(fastmock):
            with pytest.raises(NotFound):
                ask("hello there")
    """)
    code, out, _ = runner.run("-n", "2")
    assert code == 1
    assert 'messages[0].content is "hello there", it was "hello"' in out


@pytest.mark.parametrize("mode", ["new", "all"])
def test_cassette_is_recorded_by_option(runner, serve, mode):
    runner.write("""
        @pytest.mark.fastmock(cassette="talk")
        def test_it(fastmock):
            assert (ask("one"), ask("two")) == ("upstream", "upstream")
    """)
    config = {"responses": {"chat_completions": {"default": {"content": "upstream"}}}}
    cassette = runner.directory / "cassettes" / "talk.jsonl"
    cassette.parent.mkdir()
    reply = {"choices": [{"message": {"content": "upstream"}}]}
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "one"}]}).encode()
    cassette.write_bytes(line(posted(body), json.dumps(reply).encode()))
    code, out, _ = runner.run("--fastmock-record", mode, OPENAI_BASE_URL=f"{serve(config).url}/v1", CI="")
    assert code == 0, out
    assert cassette.read_text().count("\n") == 2
    assert runner.run(CI="true")[0] == 0


UPSTREAM = {"responses": {"chat_completions": {"default": {"content": "upstream"}}}}


def recorded_texts(cassette):
    lines = cassette.read_bytes().splitlines()
    return sorted(json.loads(one)["request"]["body"]["json"]["messages"][0]["content"] for one in lines)


def test_tests_of_a_run_share_a_cassette_that_they_record_anew(runner, serve):
    runner.write("""
        @pytest.mark.fastmock(cassette="talk", strict=True)
        @pytest.mark.parametrize("text", ["one", "two"])
        def test_it(fastmock, text):
            assert ask(text) == "upstream"
    """)
    cassette = runner.directory / "cassettes" / "talk.jsonl"
    upstream = serve(UPSTREAM)
    variables = {"OPENAI_BASE_URL": f"{upstream.url}/v1", "CI": ""}
    for options in (["once"], ["all", "-n", "2"]):
        code, out, _ = runner.run("--fastmock-record", *options, **variables)
        assert code == 0, out
        assert recorded_texts(cassette) == ["one", "two"]
    before = cassette.read_bytes()
    upstream.stop()
    code, out, _ = runner.run("--fastmock-record", "all", **variables)
    assert code == 1
    assert "nothing was recorded, since the test failed" in out
    assert cassette.read_bytes() == before
    assert runner.run(CI="true")[0] == 0


def test_failed_test_leaves_no_cassette(runner, serve):
    runner.write("""
        @pytest.mark.fastmock(cassette="talk", record="once")
        def test_it(fastmock):
            assert ask("one") == "another answer"
    """)
    assert runner.run(OPENAI_BASE_URL=f"{serve(UPSTREAM).url}/v1", CI="")[0] == 1
    assert not (runner.directory / "cassettes").exists()


def test_rules_of_a_test_win_while_it_records_as_they_do_on_replay(runner, serve):
    runner.write("""
        @pytest.mark.fastmock(cassette="talk", record="once")
        def test_it(fastmock):
            fastmock.on("mine").reply("of the test")
            assert (ask("mine"), ask("theirs")) == ("of the test", "upstream")
    """)
    code, out, _ = runner.run(OPENAI_BASE_URL=f"{serve(UPSTREAM).url}/v1", CI="")
    assert code == 0, out
    assert recorded_texts(runner.directory / "cassettes" / "talk.jsonl") == ["theirs"]
    assert runner.run(CI="true")[0] == 0


WITH_CASSETTES = {
    "record='once'": "record='once' of test_it.py::test_0 needs cassette='NAME'",
    "cassette='talk', record='twice'": "expected one of none, once, new, all",
    "cassette='talk', recrod='once'": "unknown argument 'recrod'; did you mean 'record'?",
    "cassette='../../talk', record='once'": "is not below",
    "cassette='talk'": "talk.jsonl does not exist; record it with --fastmock-record once",
}


def test_marker_that_cannot_work_fails_with_a_reason(runner):
    runner.write_markers(WITH_CASSETTES)
    code, out, counts = runner.run(CI="")
    assert (code, counts["errors"]) == (1, len(WITH_CASSETTES)), out
    sections = re.split(r"_+ ERROR at setup of test_\d _+", out)[1:]
    for message, section in zip(WITH_CASSETTES.values(), sections, strict=True):
        assert message in section
    assert not (runner.directory.parent.parent / "talk.jsonl").exists()
