"""The queue that all workers share, without a server."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastmock.shared.queue import AdmissionQueue
from tests.support import joined_shares

pytestmark = pytest.mark.unit


def gates(count):
    """Return the gates of so many workers of one server."""
    return [AdmissionQueue(share) for share in joined_shares(count)]


def admitted(tickets):
    return [ticket.before() < 0 for ticket in tickets]


def test_queue_admits_in_order_across_workers():
    one, other = gates(2)
    tickets = [gate.enter(2, 10) for gate in (one, other, other, one, one)]
    assert admitted(tickets) == [True, True, False, False, False]
    assert one.waiting() == other.waiting() == 3
    del tickets[1]
    assert admitted(tickets) == [True, True, False, False]
    assert [ticket.before() for ticket in tickets[2:]] == [0, 1]
    del tickets[2]  # it waited only
    assert other.waiting() == 1
    assert admitted(tickets) == [True, True, False]
    del tickets[0]
    assert admitted(tickets) == [True, True]
    tickets.clear()
    assert one.waiting() == 0
    assert admitted([one.enter(2, 0), one.enter(2, 0)]) == [True, True]


def test_queue_when_full_refuses():
    [gate] = gates(1)
    tickets = [gate.enter(1, 2) for _ in range(3)]
    assert gate.enter(1, 2) is None
    del tickets[2]  # one that waited
    tickets.append(gate.enter(1, 2))
    assert tickets[-1] is not None
    assert gate.enter(1, 0) is None
    tickets.clear()
    last = gate.enter(1, 0)
    assert admitted([last]) == [True]
    assert gate.enter(1, 0) is None


def test_queued_request_starts_when_the_previous_one_ended():
    [gate] = gates(1)
    first, second = gate.enter(1, 1), gate.enter(1, 1)
    first.ended = ended = time.monotonic()
    time.sleep(0.01)
    del first
    assert second.start() == pytest.approx(ended, abs=1e-6)
    third = gate.enter(1, 1)
    second.ended = time.monotonic() + 30  # what is planned ahead has not been yet
    del second
    assert third.start() <= time.monotonic()


def test_queue_ticket_held_for_long_keeps_its_place(monkeypatch):
    monkeypatch.setattr("fastmock.shared.queue.TICKETS", 100)
    one, other = gates(2)
    hanging = one.enter(2, 0)
    for _ in range(110):
        assert other.enter(2, 0) is not None
    second = other.enter(2, 0)
    assert one.enter(2, 0) is None
    one.bury(0)
    assert admitted([other.enter(2, 0)]) == [True]
    assert admitted([hanging, second]) == [True, True]


def test_queue_places_of_a_dead_worker_are_released():
    one, other = gates(2)
    tickets = [gate.enter(2, 10) for gate in (one, one, one, other, one, other)]
    assert admitted(tickets) == [True, True, False, False, False, False]
    other.bury(0)
    assert admitted([tickets[3], tickets[5]]) == [True, True]
    assert other.waiting() == 0
    assert other.enter(2, 0) is None


def test_queue_honours_a_changed_number_of_places():
    [gate] = gates(1)
    tickets = [gate.enter(1, 10) for _ in range(4)]
    tickets.append(gate.enter(4, 10))
    assert admitted(tickets) == [True] * 4 + [False]
    tickets.append(gate.enter(2, 10))
    del tickets[:2]
    assert admitted(tickets) == [True, True, False, False]
    del tickets[0]
    assert admitted(tickets) == [True, True, False]


def test_queue_ticket_is_released_by_the_collector_while_locked():
    """The collector may delete a ticket while this very thread holds the lock."""
    [gate] = gates(1)
    ticket = gate.enter(1, 1)
    knot = [ticket]
    knot.append(knot)
    with gate._lock:
        del ticket, knot
        gc.collect()
    assert admitted([gate.enter(1, 1)]) == [True]


def test_queue_under_many_threads_never_exceeds_its_places():
    [gate] = gates(1)
    at_once, most, lock = 0, 0, threading.Lock()

    def come_and_go(_):
        nonlocal at_once, most
        ticket = gate.enter(3, 1000)
        while ticket.before() >= 0:
            time.sleep(0)
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.0001)
        with lock:
            at_once -= 1
        del ticket

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(come_and_go, range(400)))
    assert most == 3
    assert gate.waiting() == 0
    assert gate._taken() == 0
