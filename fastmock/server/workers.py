"""The workers of a server: forked, found ready, replaced when they die, killed when they hang."""

import gc
import logging
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NoReturn

from fastmock.server import signals
from fastmock.server.channel import Channel, ChannelClosedError
from fastmock.server.heartbeat import Heartbeats, Watch
from fastmock.server.worker import ChangeRequest, Prepared
from fastmock.shared.block import RESTARTS, Share, clear_gauges
from fastmock.shared.queue import AdmissionQueue

_LOG = logging.getLogger("fastmock")

_EARLY = 1.0  # seconds; a worker that dies sooner counts as an early death
_FREE_EARLY_DEATHS = 20  # early deaths in a row of a worker that was ready, after which its replacement is delayed
_PAUSE = 0.2  # seconds of that delay: clients can cause any number of deaths, which must not become an outage
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 5.0  # seconds, for workers that were never ready
_TRIES = 5  # workers in a row that die before they were ready, after which the server gives up


Role = Literal["api", "control", "store"]
"""What a worker does: it serves the API, the control API on a port of its own, or keeps in step with other servers."""


@dataclass
class Worker:
    """A worker, dead or alive.

    Attributes:
        ready: the descriptor that signals that it can answer; -1 afterwards.
        due: the time to fork it again; None while it lives.
    """

    number: int
    watch: Watch
    pid: int = 0
    born: float = 0.0
    ready: int = -1
    early_deaths: int = 0
    due: float | None = None
    channel: Channel | None = None
    role: Role = "api"

    @property
    def responds(self) -> bool:
        """Whether it can be expected to act on a message soon."""
        return self.pid != 0 and self.watch.responds(self.number)


class Workers:
    """The workers of one server, as its parent sees them.

    Attributes:
        all: the workers, dead or alive.
    """

    def __init__(
        self,
        workers: list[Worker],
        numbers: "memoryview[int]",
        heartbeats: Heartbeats,
        watch: Watch,
        work: Callable[[Worker, Channel, int, int], NoReturn],
    ) -> None:
        """Prepare to fork ``workers``.

        Args:
            workers: the workers.
            numbers: the shared block.
            heartbeats: their heartbeats.
            watch: knows which of them hang.
            work: runs a worker in its process: with its channel, the parent's process, and the descriptor to write to
                when it is ready.
        """
        self.all = workers
        self._numbers = numbers
        self._gate = AdmissionQueue(Share(numbers))
        self._heartbeats = heartbeats
        self._watch = watch
        self._work = work
        self._settled = self._frozen = False
        self._never_ready = 0

    @property
    def next_due(self) -> float | None:
        """The time at which the next worker is to be forked; None without one."""
        return min((worker.due for worker in self.all if worker.due is not None), default=None)

    def spawn_due(self) -> Iterator[Channel]:
        """Fork the workers whose time has come; yield the channel of each."""
        for worker in self.all:
            if worker.due is not None and worker.due <= time.monotonic():
                yield self.spawn(worker)

    def settle(self) -> None:
        """Have the next fork exclude inherited objects from garbage collection again: there are new ones."""
        self._settled = False

    def spawn(self, worker: Worker) -> Channel:
        """Fork a worker; return the channel to it."""
        if not self._settled:  # excludes inherited objects from garbage collection, so that their memory stays shared
            if self._frozen:
                gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._settled = self._frozen = True
        receive, send = os.pipe()
        os.set_blocking(receive, False)
        ours, theirs = Channel.pair()
        parent = os.getpid()
        self._heartbeats.clear(worker.number)
        with signals.blocked():
            pid = os.fork()
            if pid == 0:
                os.close(receive)
                ours.close()
                self._work(worker, theirs, parent, send)
        os.close(send)
        theirs.close()
        worker.channel = ours
        worker.pid, worker.born, worker.ready, worker.due = pid, time.monotonic(), receive, None
        return ours

    def note_ready(self) -> bool:
        """Return whether a worker has become ready."""
        for worker in self.all:
            if worker.ready != -1:
                with suppress(BlockingIOError):
                    if os.read(worker.ready, 1):
                        os.close(worker.ready)
                        worker.ready = -1
                        self._never_ready = 0
                        return True
        return False

    def _was_ready(self, worker: Worker) -> bool:
        """Return whether a worker was ever ready; call it when it is dead."""
        if worker.ready == -1:
            return True
        was = bool(os.read(worker.ready, 1))
        os.close(worker.ready)
        worker.ready = -1
        return was

    def reap(self, reaped: Callable[[int, int], None]) -> bool:
        """Reap dead processes and schedule their replacement; return False if no worker can start.

        ``reaped`` is called with each process and its status.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return True
            reaped(pid, status)
            worker = next((worker for worker in self.all if worker.pid == pid), None)
            if worker is None:
                continue  # that of the trials, or an orphan that PID 1 inherited
            ready = self._was_ready(worker)
            now = time.monotonic()
            worker.pid = 0
            self._heartbeats.clear(worker.number)
            if worker.role == "api":
                clear_gauges(self._numbers, worker.number)
                self._gate.bury(worker.number)
            if worker.channel is not None:
                worker.channel.close()
            worker.channel = None
            worker.early_deaths = worker.early_deaths + 1 if now - worker.born < _EARLY else 0
            self._never_ready = 0 if ready else self._never_ready + 1
            if self._never_ready >= _TRIES * len(self.all):
                _LOG.error("no worker can start (%s); giving up", _cause(status))
                return False
            delay = _delay(worker.early_deaths, ready)
            worker.due = now + delay
            self._numbers[RESTARTS] += 1
            later = f" in {delay:.1f} s" if delay else ""
            _LOG.warning("worker %d (process %d) %s; it is replaced%s", worker.number + 1, pid, _cause(status), later)

    def kill_hung(self, route_names: list[str]) -> None:
        """Kill the workers that hang; ``route_names`` names the routes that they note."""
        for worker in self.all:
            if worker.pid and self._watch.is_hung(worker.number, worker.pid):
                route = self._watch.request(worker.number)
                request = route_names[route - 1] if 0 < route <= len(route_names) else "a request"
                _LOG.error(
                    "worker %d (process %d) has not responded for %.0f s, since it began to answer %s; it is killed",
                    *(worker.number + 1, worker.pid, self._watch.away(worker.number), request),
                )
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                self._heartbeats.clear(worker.number)

    def messages(self) -> Iterator[tuple[Channel, Prepared | ChangeRequest]]:
        """Yield the messages that workers have sent, each with its channel."""
        for worker in self.all:
            while worker.channel is not None:
                try:
                    message = worker.channel.receive()
                except ChannelClosedError:  # its end is noticed by SIGCHLD
                    worker.channel.close()
                    worker.channel = None
                    break
                if message is None:
                    break
                yield worker.channel, pickle.loads(message)  # noqa: S301 - our own

    def kill_all(self) -> None:
        """Kill all workers, and reap them."""
        pids = {worker.pid for worker in self.all if worker.pid}
        send_signal(pids, signal.SIGKILL)
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _delay(early_deaths: int, ready: bool) -> float:
    """Return the seconds after which a worker is forked again."""
    if ready:
        return _PAUSE if early_deaths > _FREE_EARLY_DEATHS else 0.0
    return min(_FIRST_BACKOFF * 2.0**early_deaths, _LONGEST_BACKOFF) if early_deaths > 0 else 0.0


def send_signal(pids: set[int], number: signal.Signals) -> None:
    """Send a signal to processes, some of which may have ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _cause(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
