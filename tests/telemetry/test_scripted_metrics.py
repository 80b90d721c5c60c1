"""Scripted metrics: their shapes, their names and labels, and one truth over the workers."""

import re
import time

import httpx
import pytest

from fastmock.config.load import load
from fastmock.config.metrics import MetricScript
from fastmock.shared.script_starts import starts_of
from tests.support import joined_shares, wait_until

SQUARE = {"shape": "square", "low": 0, "high": 9, "period": 10}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("script", "values"),
    [
        (MetricScript(shape="constant", value=3), {0: 3, 100: 3}),
        (MetricScript(shape="ramp", start=10, end=20, seconds=5), {0: 10, 1: 12, 5: 20, 60: 20}),
        (MetricScript(shape="ramp", start=20, end=0, seconds=5), {0: 20, 4: 4, 9: 0}),
        (MetricScript(**SQUARE), {0: 0, 4.9: 0, 5: 9, 9.9: 9, 10: 0, 25: 9}),
        (MetricScript(**{**SQUARE, "shape": "oscillation"}), {0: 0, 2.5: 4.5, 5: 9, 7.5: 4.5, 10: 0}),
    ],
)
def test_shapes(script, values):
    assert {at: script.at(at) for at in values} == pytest.approx(values)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("script", "path"),
    [
        ({"a b": 1}, "metrics.script"),
        ({"a": {"shape": "rmp"}}, "metrics.script.a.shape"),
        ({"a": {"shape": "ramp", "start": 1}}, "metrics.script.a"),
        ({"a": {"shape": "constant", "value": 1, "low": 1}}, "metrics.script.a"),
        ({"a": {**SQUARE, "low": 10}}, "metrics.script.a"),
        ({"a": {**SQUARE, "period": 0}}, "metrics.script.a.period"),
    ],
)
def test_wrong_scripts_are_named(script, path):
    _, problems = load({"metrics": {"script": script}}, {}, {})
    assert any(problem.path.startswith(path) for problem in problems), problems


@pytest.mark.unit
def test_script_begins_once_for_all_workers_and_anew_after_it_was_removed():
    one, other = joined_shares(2)
    first = starts_of(one, [1, 2])
    assert starts_of(other, [2, 1]) == first
    assert starts_of(other, [2, 3])[2] == first[2]
    assert starts_of(one, [1])[1] > first[1]


def value(server, name):
    text = httpx.get(f"{server.url}/metrics").text
    found = re.findall(rf"^{name}(\{{[^}}]*\}})? (\S+)$", text, re.M)
    assert len(found) == 1, text
    return found[0][0], float(found[0][1])


@pytest.mark.integration
def test_every_worker_tells_the_same_and_a_script_may_be_set_while_the_server_runs(serve):
    waiting = "vllm:num_requests_waiting"
    script = {waiting: 7, "own": {"shape": "ramp", "start": 0, "end": 1000, "seconds": 100, "labels": {"pool": "a"}}}
    server = serve({"metrics": {"vllm": True, "script": script}}, "--workers", "2")
    assert value(server, waiting) == ('{model_name="gpt-5"}', 7)
    values = []
    for _ in range(40):  # each on a connection of its own, so that both workers answer
        labels, found = value(server, "own")
        values.append((time.monotonic(), found))
        assert labels == '{pool="a"}'
    (begin, first), (end, last) = values[0], values[-1]
    assert [found for _, found in values] == sorted(found for _, found in values)
    assert last - first == pytest.approx((end - begin) * 10, abs=2)
    change = {"metrics": {"script": {waiting: {"shape": "square", "low": 1, "high": 2, "period": 0.4}}}}
    assert server.control("PUT", "config", change)[0] == 200
    assert wait_until(lambda: value(server, waiting)[1] == 2, 5)
    assert wait_until(lambda: value(server, waiting)[1] == 1, 5)
