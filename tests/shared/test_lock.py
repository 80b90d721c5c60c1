"""The lock between processes and threads."""

import os
import signal
import threading
import time

import pytest

from fastmock.shared.block import shared_numbers
from fastmock.shared.lock import SharedLock
from tests.support import wait_until

pytestmark = pytest.mark.unit


def test_lock_held_by_a_killed_process_is_released():
    lock, numbers = SharedLock(), shared_numbers(1)
    child = os.fork()
    if child == 0:
        lock.__enter__()
        numbers[0] = 1
        time.sleep(60)
    assert wait_until(lambda: numbers[0] == 1, 10)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for _ in range(3):
        with lock:
            numbers[0] += 1
    assert numbers[0] == 4


def test_lock_excludes_processes_and_threads():
    lock, numbers = SharedLock(), shared_numbers(1)

    def work():
        for _ in range(500):
            with lock:
                seen = numbers[0]
                time.sleep(0)
                numbers[0] = seen + 1

    def run():
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    child = os.fork()
    if child == 0:
        run()
        os._exit(0)
    run()
    os.waitpid(child, 0)
    assert numbers[0] == 2000
