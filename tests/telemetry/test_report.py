"""The report: uses of rules, and requests that no rule matched."""

from xml.etree import ElementTree

import httpx
import orjson
import pytest

from fastmock.core.http import Request
from fastmock.shared.ring_buffer import RingBuffer
from fastmock.telemetry.journal import HEAD_SIZE, Journal
from fastmock.telemetry.observer import observe
from fastmock.telemetry.report import Report, report_on
from fastmock.telemetry.report_formats import FORMATS, as_junit, as_markdown, as_text, format_of
from tests.support import KEY, make_app

unit, integration = pytest.mark.unit, pytest.mark.integration
CHAT = "/v1/chat/completions"
RULES = [
    {"name": "greeting", "match": {"content": "Hello"}, "content": "Hi"},
    {"name": "farewell | <b>", "match": {"content": "Bye"}, "content": "Ciao"},
    {"name": "private", "match": {"content": "Hello", "session": "one"}, "content": "Psst", "priority": 5},
]
CONFIG = {"journal": {"enabled": True}, "responses": {"chat_completions": {"rules": RULES}}}


def body_of(content, **more):
    return orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]} | more)


class Recorder:
    """An App with a journal."""

    def __init__(self, config):
        self.app = make_app(config)
        self.journal = Journal(RingBuffer(100, HEAD_SIZE + 1000), self.app.kind_of)
        self.served = observe(self.app, [self.journal])

    def send(self, content, session="", path=CHAT, **more):
        headers = KEY | ({"x-fastmock-session": session} if session else {})
        self.served.handle(Request("POST", path, headers, body_of(content, **more)))

    def report(self, session=""):
        return report_on(self.app, self.journal, session)


@pytest.fixture
def recorder():
    found = Recorder(CONFIG)
    for content in ("Hello", "Hello", "Hallo", "Hallo \x00 <&|", "Hallo"):
        found.send(content)
    found.send("Hello", "one")
    found.send("Hullo", "one", "/v1/messages", max_tokens=5)
    return found


@unit
def test_report_counts_uses_of_rules_and_requests_without_one(recorder):
    report = recorder.report()
    assert (report.matched, report.unmatched) == (3, 4)
    assert {rule.name: rule.hits for rule in report.rules} == {"greeting": 2, "farewell | <b>": 0, "private": 1}
    assert [rule.name for rule in report.unused] == ["farewell | <b>"]
    first, second, third = report.misses
    assert (first.endpoint, first.message, first.count, first.nearest) == ("messages", "Hullo", 1, "private")
    assert (second.message, second.count, second.status) == ("Hallo", 2, 200)
    assert second.differences == ("content is 'Hallo', not 'Hello'",)
    assert third.message == "Hallo \x00 <&|"


@unit
def test_report_on_a_session_is_about_its_own_requests_and_rules(recorder):
    report = recorder.report("one")
    assert (report.matched, report.unmatched) == (1, 1)
    assert [(rule.name, rule.hits) for rule in report.rules] == [("private", 1)]
    assert [miss.message for miss in report.misses] == ["Hullo"]
    assert recorder.report("two").matched == 0


@unit
def test_report_without_the_journal_still_counts():
    recorder = Recorder({"responses": CONFIG["responses"]})
    for content in ("Hello", "Hallo"):
        recorder.send(content)
    report = recorder.report()
    assert (report.matched, report.unmatched, report.misses) == (1, 1, [])
    assert "journal.enabled" in as_text(report)


@unit
def test_report_counts_refused_requests_of_strict_mode_too():
    recorder = Recorder({**CONFIG, "responses": CONFIG["responses"] | {"strict": True}})
    for _ in range(3):
        recorder.send("Hallo")
    report = recorder.report()
    assert (report.unmatched, report.misses[0].count, report.misses[0].status) == (3, 3, 404)


@unit
@pytest.mark.parametrize("cache", [0, 32 << 20])
def test_uses_are_counted_for_bodies_seen_before(cache):
    recorder = Recorder({"cache": {"max_bytes": cache}, "responses": CONFIG["responses"]})
    for stream in (False, True):
        for _ in range(5):
            recorder.send("Hello", stream=stream)
            recorder.send("Hallo", stream=stream)
    report = recorder.report()
    assert (report.matched, report.unmatched) == (10, 10)


@unit
def test_report_in_json_is_read_back(recorder):
    report = recorder.report()
    assert Report.from_json(orjson.loads(FORMATS["json"].write(report))) == report


@unit
def test_report_in_junit_is_valid_xml_with_a_case_for_each_rule_and_miss(recorder):
    root = ElementTree.fromstring(as_junit(recorder.report()))
    suite = root.find("testsuite")
    assert suite.attrib == {"name": "fastmock", "tests": "6", "failures": "3", "skipped": "1", "errors": "0"}
    cases = suite.findall("testcase")
    assert [len(case.findall("failure")) for case in cases] == [0, 0, 0, 1, 1, 1]
    assert "nearest rule 'private'" in cases[3].find("failure").text


@unit
def test_report_in_markdown_escapes_table_cells(recorder):
    text = as_markdown(recorder.report())
    assert r"| farewell \| &lt;b> | chat_completions | **never used** |" in text
    assert r"Hallo \x00" not in text
    assert "7 requests: rules answered 3, no rule matched 4." in text


@unit
def test_report_in_text_names_misses_and_unused_rules(recorder):
    lines = as_text(recorder.report()).splitlines()
    assert lines[0] == "fastmock: 7 requests: rules answered 3, no rule matched 4"
    assert "  no rule matched (2 times): chat_completions, model 'gpt-4o', message 'Hallo'" in lines
    assert lines[-1] == "  rules never used: 'farewell | <b>'"


@unit
def test_format_of_a_file_is_that_of_its_suffix():
    assert format_of("a/b.XML") is FORMATS["junit"]
    with pytest.raises(ValueError, match=r"\.json, \.txt, \.md, \.xml"):
        format_of("report")


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_server_reports_over_all_workers_and_at_the_end(serve, tmp_path, runtime):
    server = serve(CONFIG, "--runtime", runtime, "--workers", "3", "--report", str(tmp_path / "end.xml"))
    for number in range(60):
        content = "Hello" if number % 3 else f"Hallo {number % 2}"
        response = httpx.post(f"{server.url}{CHAT}", headers=KEY, content=body_of(content))  # a connection each
        assert response.status_code == 200
    found = httpx.get(f"{server.url}/fastmock/report").json()
    assert (found["matched"], found["unmatched"], found["lost"]) == (40, 20, 0)
    assert sorted(miss["count"] for miss in found["misses"]) == [10, 10]
    response = httpx.get(f"{server.url}/fastmock/report?format=junit")
    assert response.headers["content-type"] == "application/xml"
    assert httpx.get(f"{server.url}/fastmock/report?format=html").status_code == 400
    text = httpx.get(f"{server.url}/fastmock/report?format=text").text
    server.stop()
    assert "".join(line for line in iter(server.lines.get, None)).endswith(text)
    assert ElementTree.parse(tmp_path / "end.xml").getroot().attrib["failures"] == "2"


@integration
def test_session_is_configured_and_reset_alone(serve):
    server = serve(CONFIG, "--workers", "2")

    def send(content, session):
        headers = {"authorization": f"Bearer {session}:sk-test"}
        return httpx.post(f"{server.url}{CHAT}", headers=headers, content=body_of(content)).status_code

    for session in ("one", "two"):
        assert server.control("PUT", f"sessions/{session}", {"strict": True})[0] == 200
    assert server.control("GET", "sessions")[1] == {"sessions": {"one": {"strict": True}, "two": {"strict": True}}}
    assert [send("Hallo", session) for session in ("one", "two", "three")] == [404, 404, 200]
    assert server.control("DELETE", "sessions/one")[0] == 200
    assert [send("Hallo", session) for session in ("one", "two", "three")] == [200, 404, 200]
    assert server.control("GET", "sessions/one")[0] == 404
    assert server.control("GET", "sessions/two")[1] == {"strict": True}
    status, body = server.control("PUT", "sessions/two", {"strickt": True})
    assert (status, body["error"]["problems"][0]["message"]) == (400, "unknown name; did you mean 'strict'?")
    assert server.control("POST", "reset")[0] == 200
    assert server.control("GET", "sessions")[1] == {"sessions": {}}
