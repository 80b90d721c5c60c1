"""Detect hung workers: a heartbeat in shared memory, checked by the parent.

A thread in each worker beats twice a second as long as the threads that answer requests make progress. It cannot beat
while the GIL is held, and does not while one of those threads stays in the same call for too long. The parent kills a
worker whose heartbeat is missing for ``server.worker_timeout``.
"""

import logging
import mmap
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType

from fastmock.core.http import Progress
from fastmock.server import signals

_BEAT = (
    2  # the cell of the time of the last beat, after those of Progress: nanoseconds of the monotonic clock; 0 before
)
_CELLS = 4  # per worker
_INTERVAL = 0.5  # seconds between beats
_ALLOWED = 0.5  # seconds of delay after which the parent itself counts as suspended

_LOG = logging.getLogger("fastmock")


class Heartbeats:
    """The cells of all workers, created before the first is forked."""

    def __init__(self, count: int) -> None:
        self._cells = memoryview(mmap.mmap(-1, count * _CELLS * 8)).cast("Q")

    def of(self, worker: int) -> "memoryview[int]":
        """Return the cells of a worker, numbered from 0."""
        return self._cells[worker * _CELLS : (worker + 1) * _CELLS]

    def clear(self, worker: int) -> None:
        """Reset the cells of a dead worker."""
        for place in range(worker * _CELLS, (worker + 1) * _CELLS):
            self._cells[place] = 0


class Heartbeat:
    """The heartbeat of one worker.

    Attributes:
        cells: its cells; the first ones are those of ``http.Progress``.
    """

    def __init__(self, cells: "memoryview[int]", timeout: float) -> None:
        """``timeout``: seconds that one call may occupy a thread; 0 for unlimited."""
        self.cells = cells
        self._timeout = timeout
        self._threads: dict[int, CodeType | None] = {}
        self._calls: dict[int, tuple[FrameType, float]] = {}
        self._warned = False

    def watch(self, inside: Callable[..., object] | None = None) -> None:
        """Watch the calling thread.

        Args:
            inside: the function whose calls are timed, for a thread that is always in some call; without it the thread
                is idle while no Python code runs.
        """
        self._threads[threading.get_ident()] = inside.__code__ if inside is not None else None

    def start(self) -> None:
        """Start to beat."""
        if self._timeout:
            self._beat(time.monotonic())
            with signals.blocked():
                threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._beat(time.monotonic())
            time.sleep(_INTERVAL)

    def _beat(self, now: float) -> None:
        stuck = max((now - since for since in self._calls_since(now)), default=0.0)
        if stuck >= self._timeout and self.cells[Progress.MANAGER]:
            if not self._warned:
                self._warned = True
                _LOG.warning(
                    "the response manager has not returned for %.0f s; the worker waits for it, and is not replaced",
                    stuck,
                )
            stuck = 0.0
        # An unfinished call counts from its start, like a missing heartbeat.
        self.cells[_BEAT] = int((now - (stuck if stuck > 2 * _INTERVAL else 0.0)) * 1e9)

    def _calls_since(self, now: float) -> Iterator[float]:
        """Yield for each watched thread in a call the time since which it is known to be in it."""
        # Only the frames of interest are kept: this thread's own holds the dictionary, and would keep all of them
        # alive.
        frames = {thread: frame for thread, frame in sys._current_frames().items() if thread in self._threads}
        calls = {}
        for thread, code in list(self._threads.items()):
            call = _call(frames.get(thread), code)
            if call is not None:
                known = self._calls.get(thread)
                calls[thread] = known if known is not None and known[0] is call else (call, now)
                yield calls[thread][1]
        self._calls = calls


def _call(frame: FrameType | None, code: CodeType | None) -> FrameType | None:
    """Return the outermost frame, or that of ``code``; None without one, or while a debugger traces it."""
    found = None
    while frame is not None:
        if frame.f_trace is not None:
            return None
        if code is None or frame.f_code is code:
            found = frame
        frame = frame.f_back
    return found


class Watch:
    """The parent's check of the heartbeats."""

    def __init__(self, heartbeats: Heartbeats, timeout: float) -> None:
        """``timeout``: seconds that a heartbeat may be missing; 0 for unlimited."""
        self._heartbeats = heartbeats
        self._timeout = timeout
        self._since = time.monotonic()
        self._seen = self._since
        self._warned: set[int] = set()

    @property
    def interval(self) -> float | None:
        """Seconds after which the parent has to check again; None if it need not."""
        return _INTERVAL if self._timeout else None

    def look(self) -> None:
        """Record that the parent runs; call it at least every ``interval``. Time in which the parent did not run is not
        counted: the machine was suspended, or the whole process group was stopped.
        """
        now = time.monotonic()
        if now - self._seen > _INTERVAL + _ALLOWED:
            self._since = now
        self._seen = now

    def away(self, worker: int) -> float:
        """Return the seconds for which a worker's heartbeat has been missing; 0 before its first beat."""
        beat = self._heartbeats.of(worker)[_BEAT]
        return max(0.0, self._seen - max(beat / 1e9, self._since)) if beat and self._timeout else 0.0

    def responds(self, worker: int) -> bool:
        """Return whether a worker can be expected to act on a message soon."""
        return self.away(worker) < 2 * _INTERVAL + _ALLOWED

    def is_hung(self, worker: int, pid: int) -> bool:
        """Return whether a worker has to be replaced."""
        if not self._timeout or self.away(worker) < self._timeout or _is_traced(pid):
            return False
        if not self._heartbeats.of(worker)[Progress.MANAGER]:
            return True
        if pid not in self._warned:
            self._warned.add(pid)
            _LOG.warning("the response manager holds the interpreter of process %d; it is not replaced", pid)
        return False

    def request(self, worker: int) -> int:
        """Return the route number of the request that a worker started last; see ``http.Progress``."""
        return self._heartbeats.of(worker)[Progress.ROUTE]


def _is_traced(pid: int) -> bool:
    """Return whether a debugger is attached to a process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "TracerPid:\t0" not in status
