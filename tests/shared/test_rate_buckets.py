"""The table of buckets that all workers share."""

import pytest

from fastmock.shared.block import Share
from fastmock.shared.rate_buckets import BUCKETS, ENTRY, Buckets

pytestmark = pytest.mark.unit


def test_bucket_table_reuses_entries_that_are_full_again(monkeypatch):
    most = 512
    monkeypatch.setattr("fastmock.shared.rate_buckets.MOST_BUCKETS", most)
    share = Share()
    buckets = Buckets(share)
    for key in range(1, 4 * most):
        entry = buckets.find(key, now=key)
        assert entry[0] == key
        assert list(entry[1:]) == [0] * (ENTRY - 1)
        entry[1], entry[2] = key + 10, 7
        assert buckets.find(key, now=key)[2] == 7
    colliding = [BUCKETS + 3 + number * most for number in range(40)]
    for key in colliding:
        buckets.find(key, now=0)[1] = 1 << 40  # none may be forgotten: the one forgotten soonest gives way
    assert buckets.find(colliding[-1], now=0)[1] == 1 << 40
