"""Processes of the server."""

import os

import pytest

from fastmock.server.processes import cores

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("written", "expected"),
    [("max 100000", 2), ("50000 100000", 1), ("150000 100000", 2), ("900000 100000", 2), ("garbage", 2), (None, 2)],
)
def test_workers_are_as_many_as_the_container_may_use(monkeypatch, tmp_path, written, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    limit = tmp_path / "cpu.max"
    if written is not None:
        limit.write_text(written)
    assert cores(limit) == expected
