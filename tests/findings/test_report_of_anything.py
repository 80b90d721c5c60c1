"""Findings in requests of any shape."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.core.http import Request
from fastmock.shared.ring_buffer import Outcome, RingBuffer
from fastmock.telemetry.journal import HEAD_SIZE, Journal
from fastmock.telemetry.report import Report, report_on
from fastmock.telemetry.report_formats import FORMATS
from tests.support import examples, make_app

pytestmark = pytest.mark.unit

NAMES = ("role", "content", "tool_calls", "tool_call_id", "id", "type", "text", "call_id", "output", "tool_use_id")
TEXTS = st.sampled_from(["", "a", "call_1", "tool", "assistant", "user"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | TEXTS


def objects(values):
    return st.dictionaries(st.sampled_from(NAMES), values, max_size=5)


ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=6)
BODIES = st.fixed_dictionaries(
    {"model": st.just("gpt-4o")},
    optional={
        "messages": st.lists(objects(ANYTHING), max_size=5) | ANYTHING,
        "input": st.lists(objects(ANYTHING), max_size=5) | ANYTHING,
        "max_tokens": st.integers(1, 5),
        "stream": st.booleans(),
        "previous_response_id": ANYTHING,
    },
)
PATHS = st.sampled_from(
    ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions", "/v1/embeddings", "/x"]
)
RETRIES = st.none() | st.sampled_from(["0", "1", "2", "-1", "x", "9" * 50])
OUTCOMES = st.builds(Outcome, st.floats(0, 3), st.floats(0, 1), st.integers(0, 99), st.integers(0, 2))
REQUESTS = st.lists(st.tuples(PATHS, BODIES, RETRIES, OUTCOMES), max_size=8)
APP = make_app(
    {"findings": {"enabled": True}, "faults": [{"kind": "status", "status": 429, "retry_after": 1, "every_nth": 2}]}
)


@given(requests=REQUESTS)
@examples(100)
def test_report_of_any_requests_is_written(requests):
    journal = Journal(RingBuffer(20, HEAD_SIZE + 2000), APP.kind_of, APP.config.watch)
    for path, body, retry, outcome in requests:
        headers = {"authorization": "Bearer sk-1"} | ({"x-stainless-retry-count": retry} if retry else {})
        request = Request("POST", path, headers, orjson.dumps(body))
        journal.record(request, APP.handle(request), outcome, 1000 if outcome.state == 0 else None)
    report = report_on(APP, journal, is_final=True)
    assert Report.from_json(orjson.loads(FORMATS["json"].write(report))) == report
    for form in FORMATS.values():
        assert form.write(report)
