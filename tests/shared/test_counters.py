"""Counters by session that all workers share."""

import pytest

from fastmock.shared.counters import Counters
from tests.support import joined_shares

pytestmark = pytest.mark.unit


def test_counters_of_many_sessions_are_shared_by_workers(caplog):
    shares = joined_shares(2)
    one, other = map(Counters, shares)
    keys = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, 20_001)]
    for key in keys:
        assert one.count(key, 1, 1) == 1
    assert not any(other.count(key, 1, 1) or one.count(key, 1, 1) for key in keys)
    assert caplog.text == ""
    other.forget(keys[0])
    assert one.count(keys[0], 1, 1) == 1
    shares[0].reset()
    assert [other.count(key, 1, 1) for key in keys[:100]] == [1] * 100


def test_counters_when_full_evict_the_oldest_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr("fastmock.shared.counters._TRIES", 4)
    one, other = map(Counters, joined_shares(2))
    keys = [1 + number * 2**16 for number in range(6)]  # all of which would be at the same place
    for key in keys[:4]:
        one.count(key, 0)
        other.count(key, 0)
        assert one.counted(key, 0) == 2  # both know by now where it is
    one.count(keys[0], 0)  # so that the second was used longest ago
    assert other.count(keys[4], 0) == 1
    assert one.count(keys[1], 0) == 1  # which begins anew, in place of the third, and is not mixed up with the fifth
    assert one.counted(keys[4], 0) == other.counted(keys[4], 0) == 1
    assert one.counted(keys[0], 0) == 3
    assert one.counted(keys[5], 0) == 0  # to ask makes none
    assert [record.levelname for record in caplog.records] == ["WARNING"]
