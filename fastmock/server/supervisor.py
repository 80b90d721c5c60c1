"""The parent: forks the workers on one listening socket, replaces dead or hung ones, and stops them without loss.

It stays single-threaded because it forks. It works as PID 1: it reaps any ended process, and forwards signals. It never
waits for a single worker: all events, including signals, are awaited in one place.
"""

import gc
import logging
import os
import pickle
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastmock.app import App
from fastmock.config.config import Config
from fastmock.config.overlay import Overlay
from fastmock.server import signals
from fastmock.server.channel import Channel, ChannelClosedError
from fastmock.server.file_watcher import Watcher
from fastmock.server.heartbeat import Heartbeat, Heartbeats, Watch
from fastmock.server.processes import die_with_parent
from fastmock.server.reload import RELOAD, Change, Changes, Compiler, State
from fastmock.server.run_directory import RunDirectory
from fastmock.server.worker import Answered, ChangeRequest, Place, Prepared, Shared, WorkerContext
from fastmock.shared.block import GENERATION, RESTARTS, SINCE, Share, clear_gauges, shared_numbers
from fastmock.shared.queue import AdmissionQueue
from fastmock.shared.ring_buffer import RingBuffer
from fastmock.telemetry.journal import HEAD_SIZE

_LOG = logging.getLogger("fastmock")

_EARLY = 1.0  # seconds; a worker that dies sooner counts as an early death
_FREE_EARLY_DEATHS = 20  # early deaths in a row of a worker that was ready, after which its replacement is delayed
_PAUSE = 0.2  # seconds of that delay: clients can cause any number of deaths, which must not become an outage
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 5.0  # seconds, for workers that were never ready
_TRIES = 5  # workers in a row that die before they were ready, after which the server gives up
_GRACE = 2.0  # seconds beyond the workers' own deadline before they are killed
_READY_PATIENCE = 30.0  # seconds after which the server is announced even if no worker is ready

Work = Callable[[WorkerContext, Callable[[], None]], None]
"""The work of a worker; it takes the worker's context and a function to call when ready, and returns after it has
stopped.
"""


@dataclass
class _Worker:
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
    only_controls: bool = False

    @property
    def responds(self) -> bool:
        """Whether it can be expected to act on a message soon."""
        return self.pid != 0 and self.watch.responds(self.number)


class Supervisor:
    """Keeps ``count`` workers alive until it is stopped."""

    def __init__(
        self,
        app: App,
        compiler: Compiler,
        work: Work,
        count: int,
        listener: socket.socket,
        timeout: float,
        control: tuple[socket.socket, Work] | None = None,
    ) -> None:
        """Prepare to serve ``app``.

        Args:
            app: the App to start with.
            compiler: compiles the App after a change.
            work: the work of a worker.
            count: the number of workers.
            listener: the listening socket.
            timeout: seconds the workers take at most to stop by themselves.
            control: the listening socket of the control API, and the work of the process that serves it; None if the
                workers serve it.
        """
        settings = app.config.settings
        self._route_names = app.route_names
        self._numbers = shared_numbers(count)
        self._gate = AdmissionQueue(Share(self._numbers))
        self._directory = RunDirectory()
        tape = RingBuffer(settings.journal.size, HEAD_SIZE + settings.journal.max_body_bytes)
        elsewhere = listener.getsockname()[1] if control else None
        self._shared = Shared(self._numbers, tape, self._directory.path, elsewhere, compiler)
        self._watcher = Watcher(app.config) if settings.server.watch else None
        self._work = work
        self._listener = listener
        self._timeout = timeout
        self._worker_timeout = settings.server.worker_timeout
        self._control = control
        self._heartbeats = Heartbeats(count + (control is not None))
        self._watch = Watch(self._heartbeats, self._worker_timeout)
        self._workers = [_Worker(number, self._watch) for number in range(count)]
        if control:
            self._workers.append(_Worker(count, self._watch, only_controls=True))
        self._changes = Changes(
            State(app.config, Overlay(), app), compiler, self._workers, self._put_in_force, self._begin_trial
        )
        self._signals = signals.Signals()
        self._settled = False
        self._never_ready = 0
        self._announce: Callable[[], None] | None = None

    def run(self, announce: Callable[[], None], changed: Callable[[Config], None]) -> int:
        """Serve until stopped.

        Args:
            announce: called once, when the first worker is ready.
            changed: called when another configuration is active.

        Returns:
            The exit code: 0 after a requested stop, 1 if no worker could start.
        """
        if self._directory.failure:
            _LOG.warning(
                "cannot create a directory for temporary files (%s): completions and responses are not stored",
                self._directory.failure,
            )
        raise_open_files()
        self._announce, self._changed = announce, changed
        with self._signals:
            try:
                self._directory.guard()
                for worker in self._workers:
                    self._spawn(worker)
                if self._watcher:
                    self._watcher.start()
                return self._supervise()
            finally:
                self._changes.refuse_all("the server has ended")
                if self._watcher:
                    self._watcher.stop()
                self._directory.remove()

    def _supervise(self) -> int:
        started = time.monotonic()
        while True:
            self._wait()
            for number in self._signals.received():
                if number in signals.STOP:
                    return self._stop()
                if number == signal.SIGHUP:
                    self._changes.submit(Change(RELOAD, (), self._tell_of_reload))
            if self._announce and (self._note_ready() or time.monotonic() > started + _READY_PATIENCE):
                self._announce()
                self._announce = None
            if not self._bury():
                self._kill_all()
                return 1
            self._listen_to_workers()
            before = self._changes.generation
            self._changes.advance()
            if self._changes.generation != before:
                self._changed(self._changes.state.config)
                if self._watcher:
                    self._watcher.follow(self._changes.state.config)
            self._kill_hung()
            for worker in self._workers:
                if worker.due is not None and worker.due <= time.monotonic():
                    self._spawn(worker)

    def _wait(self) -> None:
        """Wait until an event occurs, or an action is due."""
        now = time.monotonic()
        times = [worker.due - now for worker in self._workers if worker.due is not None]
        if self._changes.due is not None:
            times.append(self._changes.due - now)
        if self._watch.interval is not None:
            times.append(self._watch.interval)
        if self._announce:
            times.append(_READY_PATIENCE)
        poll = select.poll()  # supports descriptors of any number
        poll.register(self._signals.fileno(), select.POLLIN)
        for descriptor in self._changes.waits_for:
            poll.register(descriptor, select.POLLIN)
        for worker in self._workers:
            if worker.channel is not None:
                poll.register(worker.channel.fileno(), select.POLLIN)
            if worker.ready != -1 and self._announce:
                poll.register(worker.ready, select.POLLIN)
        poll.poll(max(0, min(times) * 1000) if times else None)
        self._watch.look()

    # Workers.

    def _spawn(self, worker: _Worker) -> None:
        """Fork a worker."""
        if not self._settled:  # excludes inherited objects from garbage collection, so that their memory stays shared
            self._settled = True
            gc.unfreeze()
            gc.collect()
            gc.freeze()
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
                self._be_worker(worker, theirs, parent, send)
        os.close(send)
        theirs.close()
        worker.channel = ours
        worker.pid, worker.born, worker.ready, worker.due = pid, time.monotonic(), receive, None
        self._changes.join(ours)

    def _forget_in_child(self) -> None:
        """Release the parent's own resources, in a newly forked process."""
        self._signals.forget_in_child()
        self._directory.forget_in_child()
        self._changes.forget_in_child()
        for worker in self._workers:
            if worker.channel is not None:
                worker.channel.close()  # so that each is held by its worker and the parent only

    def _begin_trial(self) -> None:
        """Set up the process of the trials, which accepts no connections."""
        self._forget_in_child()
        self._listener.close()
        if self._control:
            self._control[0].close()

    def _be_worker(self, worker: _Worker, channel: Channel, parent: int, send: int) -> None:
        """Run the worker, in the child; never return."""
        code = 1
        try:
            die_with_parent(parent)
            self._forget_in_child()

            def ready() -> None:
                os.write(send, b"1")
                os.close(send)

            answers, enabled = not worker.only_controls, self._changes.state.config.settings.admin.enabled
            controls = worker.only_controls or (self._control is None and enabled)
            number = 0 if worker.only_controls else worker.number  # it has no row of its own to write
            heartbeat = Heartbeat(self._heartbeats.of(worker.number), self._worker_timeout)
            place = Place(number, channel, heartbeat, answers, controls)
            live = WorkerContext(self._changes.state, self._changes.generation, self._shared, place)
            (self._work if answers or self._control is None else self._control[1])(live, ready)
            code = 0
        except BaseException:
            _LOG.exception("a worker failed")
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os._exit(code)

    def _note_ready(self) -> bool:
        """Return whether a worker has become ready."""
        for worker in self._workers:
            if worker.ready != -1:
                with suppress(BlockingIOError):
                    if os.read(worker.ready, 1):
                        os.close(worker.ready)
                        worker.ready = -1
                        self._never_ready = 0
                        return True
        return False

    def _was_ready(self, worker: _Worker) -> bool:
        """Return whether a worker was ever ready; call it when it is dead."""
        if worker.ready == -1:
            return True
        was = bool(os.read(worker.ready, 1))
        os.close(worker.ready)
        worker.ready = -1
        return was

    def _bury(self) -> bool:
        """Reap dead processes and schedule their replacement; return False if no worker can start."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return True
            self._changes.reaped(pid, status)
            worker = next((worker for worker in self._workers if worker.pid == pid), None)
            if worker is None:
                continue  # that of the trials, or an orphan that PID 1 inherited
            ready = self._was_ready(worker)
            now = time.monotonic()
            worker.pid = 0
            self._heartbeats.clear(worker.number)
            if not worker.only_controls:
                clear_gauges(self._numbers, worker.number)
                self._gate.bury(worker.number)
            if worker.channel is not None:
                worker.channel.close()
            worker.channel = None
            worker.early_deaths = worker.early_deaths + 1 if now - worker.born < _EARLY else 0
            self._never_ready = 0 if ready else self._never_ready + 1
            if self._never_ready >= _TRIES * len(self._workers):
                _LOG.error("no worker can start (%s); giving up", _cause(status))
                return False
            delay = _delay(worker.early_deaths, ready)
            worker.due = now + delay
            self._numbers[RESTARTS] += 1
            later = f" in {delay:.1f} s" if delay else ""
            _LOG.warning("worker %d (process %d) %s; it is replaced%s", worker.number + 1, pid, _cause(status), later)

    def _kill_hung(self) -> None:
        for worker in self._workers:
            if worker.pid and self._watch.is_hung(worker.number, worker.pid):
                route = self._watch.request(worker.number)
                names = self._route_names
                request = names[route - 1] if 0 < route <= len(names) else "a request"
                _LOG.error(
                    "worker %d (process %d) has not responded for %.0f s, since it began to answer %s; it is killed",
                    *(worker.number + 1, worker.pid, self._watch.away(worker.number), request),
                )
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
                self._heartbeats.clear(worker.number)

    # Changes.

    def _listen_to_workers(self) -> None:
        for worker in self._workers:
            while worker.channel is not None:
                try:
                    message = worker.channel.receive()
                except ChannelClosedError:  # its end is noticed by SIGCHLD
                    worker.channel.close()
                    worker.channel = None
                    break
                if message is None:
                    break
                self._hear(worker.channel, pickle.loads(message))  # noqa: S301 - our own

    def _hear(self, channel: Channel, message: Prepared | ChangeRequest) -> None:
        if isinstance(message, Prepared):
            self._changes.prepared(channel, message.number, message.fault)
            return

        def answer(status: int, body: dict[str, Any]) -> None:
            channel.send(pickle.dumps(Answered(message.number, status, body)))

        self._changes.submit(Change(message.how, message.arguments, answer))

    def _put_in_force(self, generation: int, faults_anew: bool) -> None:
        if faults_anew:  # some faults apply for a time only
            self._numbers[SINCE] = time.monotonic_ns()
        self._numbers[GENERATION] = generation
        self._settled = False

    def _tell_of_reload(self, status: int, body: dict[str, Any]) -> None:
        if status == 200:
            for warning in body["warnings"]:
                _LOG.warning("%s", warning)
            _LOG.info("reloaded: the new configuration is active on every worker (rules: %d)", self._changes.rules)
            return
        error = body["error"]
        problems = error.get("problems", ())
        for problem in problems:
            _LOG.error(
                "%s", ": ".join(part for part in (problem["where"], problem["path"], problem["message"]) if part)
            )
        why = "the configuration is invalid" if problems else error["message"].removeprefix("Nothing was changed: ")
        _LOG.error("not reloaded: %s; the old configuration stays active", why.rstrip("."))

    # The end.

    def _stop(self) -> int:
        """Stop the workers: no new connections, requests in flight finish, then the workers end. A second signal kills
        them.
        """
        self._listener.close()
        if self._control:
            self._control[0].close()
        alive = {worker.pid for worker in self._workers if worker.pid}
        _send(alive, signal.SIGTERM)
        self._changes.refuse_all("the server is stopping")
        deadline = time.monotonic() + self._timeout + _GRACE
        told = False
        while alive:
            left = deadline - time.monotonic()
            readable = self._signals.wait(max(0.0, min(left, 0.5)))
            received = self._signals.received()
            self._listen_to_workers()
            self._changes.refuse_all("the server is stopping")
            with suppress(ChildProcessError):
                while (dead := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                    alive.discard(dead)
            if alive and (left <= 0 or not signals.STOP.isdisjoint(received)):
                _LOG.warning("%d workers are killed with their requests in flight", len(alive))
                self._kill_all()
                return 0
            if alive and not readable and not told:
                told = True
                _LOG.info("waiting up to %g s for requests in flight; signal again to stop now", self._timeout)
        return 0

    def _kill_all(self) -> None:
        pids = {worker.pid for worker in self._workers if worker.pid}
        _send(pids, signal.SIGKILL)
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _delay(early_deaths: int, ready: bool) -> float:
    """Return the seconds after which a worker is forked again."""
    if ready:
        return _PAUSE if early_deaths > _FREE_EARLY_DEATHS else 0.0
    return min(_FIRST_BACKOFF * 2.0**early_deaths, _LONGEST_BACKOFF) if early_deaths > 0 else 0.0


def _send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _cause(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one: every connection takes a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
