"""Faults are selected by the store as they are by one server."""

import random

import pytest

from fastmock.limits.bucket import MINUTE, Rate
from fastmock.limits.stores import Here, Shared
from fastmock.replication.connection import Connection
from fastmock.replication.counters import SharedCounters
from fastmock.replication.settings import Store
from fastmock.shared.block import Share
from fastmock.shared.counters import Candidate, Candidates, Counters, Trigger
from fastmock.shared.rate_buckets import Buckets
from fastmock.shared.store_state import StoreState
from tests.valkey import needs_valkey, valkey

pytestmark = [pytest.mark.integration, needs_valkey]


@pytest.fixture
def connection(tmp_path):
    with valkey(tmp_path) as store:
        share = Share()
        connection = Connection(Store(url=store.url), StoreState(share), patience=10)
        yield connection
        connection.client.close()


def faults(draw, first):
    return [
        Candidate(
            Trigger(
                key,
                draw.choice([None, None, 0.0, 0.3, 0.5, 1.0]),
                draw.choice([False, True]),
                draw.choice([0, 0, 1, 2]),
                draw.choice([1, 1, 2, 3]),
                draw.choice([None, 0, 1, 3]),
            ),
            key,
        )
        for key in range(first, first + draw.randint(1, 4))
    ]


@pytest.mark.parametrize("seed", range(4))
def test_store_selects_the_same_faults_as_one_server(connection, seed):
    draw = random.Random(seed)
    own, shared = Counters(Share()), SharedCounters(Counters(Share()), connection)
    limited = Shared(connection, Here(Buckets(Share()), False, False), False, False)
    wide = [Rate("requests", 1_000_000, MINUTE, MINUTE, "requests")]
    for turn in range(25):
        candidates = faults(draw, 1 + 10 * turn)
        for _ in range(12):
            drawn = draw.random()
            mine, others = Candidates(candidates, drawn), Candidates(candidates, drawn)
            own.choose(mine)
            if draw.random() < 0.5:  # together with a limit, in one call
                assert limited.take(1, wide, [1], [1], others)[0] == -1
            shared.choose(others)
            assert (others.is_decided, others.chosen) == (True, mine.chosen), (candidates, drawn)
    assert not connection.gone


def test_request_above_its_limit_counts_for_no_fault(connection):
    shared = SharedCounters(Counters(Share()), connection)
    limited = Shared(connection, Here(Buckets(Share()), False, False), False, False)
    none = [Rate("requests", 1, MINUTE, MINUTE, "requests")]
    fault = [Candidate(Trigger(7, None, False, 0, 1, 1), 7)]
    limited.take(1, none, [1], [1], None)
    refused = Candidates(fault, 0.0)
    assert limited.take(1, none, [1], [1], refused)[0] == 0
    assert not refused.is_decided
    passed = Candidates(fault, 0.0)
    shared.choose(passed)
    assert passed.chosen == 0
