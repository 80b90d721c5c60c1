"""One thread that runs many tasks on time: all due steps are done in one wakeup.

With a timer and an asyncio task for each stream, 5,000 streams on one core ended 51 % late instead of 11 %.
"""

import logging
import os
import threading
import time
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

_TOGETHER = 0.0005  # seconds; steps due within them are done in one wakeup
_BATCH = 512  # steps, after which others get a turn: requests that wait for the interpreter, sockets
_YIELD = 0.005  # seconds of that turn
# ... and seconds of the turn while requests keep coming in, and a lower priority in general: an answer that starts late
# stays late, but a late step does not delay later ones. Without these two, 5,000 streams opened in a second end 10 %
# late.
_WELCOME = 0.05
_NICE = 3
_NEVER = float("inf")

_LOG = logging.getLogger("fastmock")


class ScheduledTask(Protocol):
    """A task that runs in steps, each at its time."""

    def step(self, now: float) -> float | None:
        """Do the work due at ``now``; return the time of the next step, or None at the end.

        Times are readings of ``time.monotonic``, in seconds.
        """


class Scheduler:
    """Runs tasks by the clock, in a thread of its own; ``add`` may be called from any thread.

    Attributes:
        begun: the number of requests received; incremented by the code that receives them.
    """

    def __init__(self) -> None:
        self.begun = 0
        self._heap: list[tuple[float, int, ScheduledTask]] = []
        self._count = count()  # breaks ties in insertion order
        self._bell = threading.Lock()
        self._bell.acquire()
        self._wake_at = -1.0  # the time until which the thread sleeps; negative while it is awake

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="scheduler", daemon=True).start()

    def add(self, due: float, play: ScheduledTask) -> None:
        """Schedule the next step of ``play`` at ``due``."""
        heappush(self._heap, (due, next(self._count), play))
        if due < self._wake_at:
            self._wake_at = -1.0
            with suppress(RuntimeError):  # another thread has just released it
                self._bell.release()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _NICE)
        heap, seen = self._heap, 0
        while True:
            if self._batch():
                time.sleep(_YIELD if self.begun == seen else _WELCOME)
                seen = self.begun
                continue
            self._wake_at = _NEVER  # from here on ``add`` wakes this thread: it may come after the look at the heap
            self._wake_at = due = heap[0][0] if heap else _NEVER
            self._bell.acquire(timeout=-1 if due == _NEVER else max(due - time.monotonic(), _TOGETHER))
            self._wake_at = -1.0

    def _batch(self) -> bool:
        """Run the due steps; return whether there may be more."""
        heap, clock = self._heap, time.monotonic
        for _ in range(_BATCH):
            now = clock()
            if not heap or heap[0][0] > now:
                return False
            play = heappop(heap)[2]
            try:
                due = play.step(now)
            except Exception:
                _LOG.exception("a paced answer failed; this is a defect of fastmock")
                continue
            if due is not None:
                heappush(heap, (due, next(self._count), play))
        return True
