"""Requests generated from the SDKs' types, and mutated: each is answered in time by workers that survive."""

import pytest

from benchmarks.fuzz import fuzz
from benchmarks.http_client import HttpConnection, HttpRequest
from benchmarks.target import RICH_CONFIG, Target

pytestmark = pytest.mark.integration

JOURNAL = "/fastmock/requests"
REQUESTS, SEED = 3000, 2026


@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_generated_requests_are_answered_by_living_workers(tmp_path, runtime):
    report = fuzz(tmp_path, runtime, workers=2, requests=REQUESTS, seed=SEED)
    assert report.findings == [], str(report)
    assert report.dead_workers == []
    assert report.tracebacks == []
    answered = sum(report.statuses[status] for status in ("200", "400", "404"))
    assert answered > REQUESTS * 0.8
    assert report.statuses["200"] > REQUESTS * 0.35  # the types make sense to the server


def test_journal_of_a_deeply_nested_body_is_listed(tmp_path):
    with Target(tmp_path, RICH_CONFIG, "--runtime", "granian") as target, HttpConnection(target.port, 5) as connection:
        nested = b'{"model": ' + b"[" * 600 + b"]" * 600 + b"}"
        headers = [("authorization", "Bearer sk-test")]
        assert connection.exchange(HttpRequest("POST", "/v1/chat/completions", headers, nested)).status == 400
        assert connection.exchange(HttpRequest("GET", JOURNAL, headers)).status == 200


def test_fuzz_of_a_failing_server_reports_the_request(tmp_path, monkeypatch):
    failing = {"server": {"error_rate": 1, "simulate_errors": True, "error_types": {"server_error": 1}}}
    monkeypatch.setattr("benchmarks.fuzz.RICH_CONFIG", failing)
    report = fuzz(tmp_path, "granian", workers=1, requests=100, seed=SEED)
    assert report.failed
    assert {one.kind for one in report.findings} == {"5xx"}
    smallest = min(len(one.request.headers) + len(one.request.body) for one in report.examples)
    assert smallest <= 3
