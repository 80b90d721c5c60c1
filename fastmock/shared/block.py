"""The shared block: numbers in anonymous memory, visible to the parent and all workers.

First come the cells of the whole server, then a row for each worker, written only by that worker and summed by any
process. See ``shared.layout`` for how features reserve theirs.
"""

import mmap
import time
from collections.abc import Callable

from fastmock.shared.layout import ROW, SERVER
from fastmock.shared.lock import SharedLock

GENERATION = SERVER.reserve()
"""Index of the number of the active configuration; only the parent writes it."""
SINCE = SERVER.reserve()
"""Index of the activation time of that configuration: nanoseconds of the monotonic clock."""
RESTARTS = SERVER.reserve()
"""Index of the number of restarted workers; only the parent writes it."""

ZEROS = memoryview(bytes(64 * 8)).cast("Q")


def shared_numbers(workers: int) -> "memoryview[int]":
    """Return the block of a server: unsigned 64-bit numbers, all 0, that stay shared across forks.

    Reading a number takes 22 ns.
    """
    numbers = memoryview(mmap.mmap(-1, (SERVER.size + workers * ROW.size) * 8)).cast("Q")
    numbers[SINCE] = time.monotonic_ns()
    return numbers


def clear_gauges(numbers: "memoryview[int]", worker: int) -> None:
    """Reset the in-flight numbers of a worker, numbered from 0, that has died."""
    row = SERVER.size + worker * ROW.size
    for gauge in ROW.gauges:
        numbers[row + gauge] = 0


class Share:
    """One worker's view of the block: it writes its own row and reads all rows.

    Attributes:
        numbers: the block.
        worker: the worker's number, from 0, and ``row`` the index of its row.
        lock: must be held to change the part that all workers share.
        alone: whether there is only one worker.
    """

    lock = SharedLock()

    def __init__(self, numbers: "memoryview[int] | None" = None) -> None:
        """Start with a block, by default a private one; ``join`` attaches to that of a server."""
        self._joined: list[Callable[[], None]] = []
        self._resets: list[Callable[[], None]] = []
        self.join(shared_numbers(1) if numbers is None else numbers, 0)

    def join(self, numbers: "memoryview[int]", worker: int) -> None:
        """Attach to a server's block, and write from now on to the row of ``worker``, numbered from 0."""
        self.numbers = numbers
        self.worker = worker
        self.row = SERVER.size + worker * ROW.size
        self.alone = len(numbers) == SERVER.size + ROW.size
        for tell in self._joined:
            tell()

    def on_join(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` now, and whenever another block is attached."""
        self._joined.append(tell)
        tell()

    def on_reset(self, reset: Callable[[], None]) -> None:
        """Call ``reset``, with the lock held, whenever all counters are to be reset."""
        self._resets.append(reset)

    def reset(self) -> None:
        """Reset the counters of all features, for all workers."""
        with self.lock:
            for reset in self._resets:
                reset()

    def rows(self) -> range:
        """Return the indexes of the workers' rows."""
        return range(SERVER.size, len(self.numbers), ROW.size)

    def since(self) -> float:
        """Return the activation time of the configuration, a reading of ``time.monotonic``."""
        return self.numbers[SINCE] / 1e9
