"""The ring buffer that all workers share."""

import os
import re
import threading
from pathlib import Path

import pytest

from fastmock.shared.ring_buffer import ENDED, Outcome, RingBuffer
from fastmock.telemetry.journal import HEAD_SIZE

pytestmark = pytest.mark.unit


def test_ring_buffer_keeps_the_newest_entries():
    tape = RingBuffer(3, 100)
    numbers = [tape.write(b"head%d" % n, b"body%d" % n, Outcome(n)) for n in range(5)]
    assert numbers == [0, 1, 2, 3, 4]
    assert list(tape.numbers()) == [2, 3, 4]
    assert tape.read(1) is None
    assert tape.read(3) == (3, b"head3", b"body3", Outcome(3))
    assert (tape.written, tape.lost) == (5, 2)
    tape.end(3, Outcome(7.0, 1.0, 9, ENDED))
    tape.end(0, Outcome(8.0, 1.0, 9, ENDED))  # its place is taken
    assert tape.read(3).outcome == (7.0, 1.0, 9, ENDED)
    assert tape.read(4).outcome == Outcome(4)
    tape.forget(4)
    tape.forget(0)
    assert [tape.read(number) is not None for number in tape.numbers()] == [True, True, False]
    tape.clear()
    assert (list(tape.numbers()), tape.lost) == ([], 0)
    assert tape.write(b"a", b"b", Outcome()) == 5
    assert list(tape.numbers()) == [5]


def test_ring_buffer_entry_that_is_corrupt_is_not_read():
    tape = RingBuffer(4, 100)
    number = tape.write(b"head", b"body", Outcome())
    at = tape._map.find(b"body")
    tape._map[at : at + 4] = b"ydob"
    assert tape.read(number) is None
    assert tape.read(2) is None


def test_ring_buffer_is_shared_by_processes_and_threads():
    tape = RingBuffer(10_000, 64)

    def write():
        for number in range(500):
            tape.write(b"%d" % os.getpid(), b"%d" % number, Outcome())

    children = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            threads = [threading.Thread(target=write) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    entries = [tape.read(number) for number in tape.numbers()]
    assert len(entries) == 2000
    for pid in children:
        bodies = [int(entry.body) for entry in entries if int(entry.head) == pid]
        assert sorted(bodies) == sorted([*range(500)] * 2)


def memory():
    """Return the memory of this process, MiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def test_ring_buffer_when_full_uses_no_more_memory():
    tape = RingBuffer(1000, HEAD_SIZE + 1000)
    for _ in range(3000):
        tape.write(b"h" * 300, b"b" * 500, Outcome())
    full = memory()
    for _ in range(20_000):
        tape.write(b"h" * 300, b"b" * 500, Outcome())
    assert (tape.written, tape.lost) == (23_000, 22_000)
    assert memory() - full < 1
