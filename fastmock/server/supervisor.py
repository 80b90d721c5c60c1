"""The parent: forks the workers on one listening socket, replaces dead or hung ones, and stops them without loss.

It stays single-threaded because it forks. It works as PID 1: it reaps any ended process, and forwards signals. It never
waits for a single worker: all events, including signals, are awaited in one place.
"""

import logging
import os
import pickle
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from fastmock.app import App
from fastmock.config.config import Config
from fastmock.config.overlay import Overlay
from fastmock.server import signals
from fastmock.server.channel import Channel
from fastmock.server.file_watcher import Watcher
from fastmock.server.heartbeat import Heartbeat, Heartbeats, Watch
from fastmock.server.member import Member
from fastmock.server.processes import Owner, die_with_parent
from fastmock.server.reload import RELOAD, Change, Changes, Compiler, State
from fastmock.server.run_directory import RunDirectory
from fastmock.server.sockets import close_listeners
from fastmock.server.worker import Answered, ChangeRequest, Place, Prepared, Shared, WorkerContext
from fastmock.server.workers import Role, Worker, Workers, send_signal
from fastmock.shared.block import GENERATION, SINCE, Share, shared_numbers
from fastmock.shared.readiness import STARTED, STOPPING
from fastmock.shared.ring_buffer import RingBuffer
from fastmock.shared.store_state import StoreState
from fastmock.telemetry.journal import HEAD_SIZE, Journal
from fastmock.telemetry.report import Report, report_on

_LOG = logging.getLogger("fastmock")

_GRACE = 2.0  # seconds beyond the workers' own deadline before they are killed
_READY_PATIENCE = 30.0  # seconds after which the server is announced even if no worker is ready

Work = Callable[[WorkerContext, Callable[[], None]], None]
"""The work of a worker; it takes the worker's context and a function to call when ready, and returns after it has
stopped.
"""


class Supervisor:
    """Keeps ``count`` workers alive until it is stopped.

    Attributes:
        report: the report on all requests, once it has stopped; see ``_final_report``.
    """

    def __init__(
        self,
        app: App,
        compiler: Compiler,
        works: Mapping[Role, Work],
        count: int,
        listener: socket.socket,
        timeout: float,
        control: socket.socket | None = None,
        member: Member | None = None,
    ) -> None:
        """Prepare to serve ``app``.

        Args:
            app: the App to start with.
            compiler: compiles the App after a change.
            works: the work of the workers of each role, ``api`` first; others have one worker.
            count: the number of workers that serve the API.
            listener: the listening socket.
            timeout: seconds the workers take at most to stop by themselves.
            control: the listening socket of the control API; None if these workers serve it.
            member: this server among those that share a store; None without one.
        """
        settings = app.config.settings
        self._route_names = app.route_names
        self._numbers = shared_numbers(count)
        self._directory = RunDirectory()
        ring_buffer = RingBuffer(settings.journal.size, HEAD_SIZE + settings.journal.max_body_bytes)
        elsewhere = listener.getsockname()[1] if control else None
        self._shared = Shared(self._numbers, ring_buffer, self._directory.path, elsewhere, compiler, member)
        self._works = works
        self._watcher = Watcher(app.config) if settings.server.watch else None
        self._listener = listener
        self._timeout = timeout
        self._worker_timeout = settings.server.worker_timeout
        self._control = control
        serving: list[Role] = ["api"] * count
        roles = [*serving, *(role for role in works if role != "api")]
        self._heartbeats = Heartbeats(len(roles))
        self._watch = Watch(self._heartbeats, self._worker_timeout)
        workers = [Worker(number, self._watch, role=role) for number, role in enumerate(roles)]
        self._workers = Workers(workers, self._numbers, self._heartbeats, self._watch, self._be_worker)
        state = State(app.config, member.overlay if member else Overlay(), app)
        self._changes = Changes(state, compiler, workers, self._put_in_force, self._begin_trial)
        self._signals = signals.Signals()
        self._owner = Owner(settings.server.stop_with)
        self._announce: Callable[[], None] | None = None
        self._stop_at: float | None = None
        self._numbers[STARTED] = time.monotonic_ns()
        if member is not None:
            StoreState(Share(self._numbers)).start(*member.position, member.is_synced)
        self.report: Report | None = None

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
                for worker in self._workers.all:
                    self._changes.join(self._workers.spawn(worker))
                if self._watcher:
                    self._watcher.start()
                return self._supervise()
            finally:
                self._changes.refuse_all("the server has ended")
                if self._watcher:
                    self._watcher.stop()
                try:
                    self.report = _final_report(self._changes.state.app, self._shared)
                finally:
                    self._directory.remove()

    def _supervise(self) -> int:
        started = time.monotonic()
        while True:
            self._wait()
            for number in self._signals.received():
                if number in signals.STOP and self._is_drained():
                    return self._stop()
                if number == signal.SIGHUP:
                    self._changes.submit(Change(RELOAD, (), partial(_tell_of_reload, self._changes)))
            if self._owner.has_ended or (self._stop_at is not None and time.monotonic() >= self._stop_at):
                return self._stop()
            if self._announce and (self._workers.note_ready() or time.monotonic() > started + _READY_PATIENCE):
                self._announce()
                self._announce = None
            if not self._workers.reap(self._changes.reaped):
                self._workers.kill_all()
                return 1
            for channel, message in self._workers.messages():
                self._hear(channel, message)
            before = self._changes.generation
            self._changes.advance()
            if self._changes.generation != before:
                self._changed(self._changes.config)
                if self._watcher:
                    self._watcher.follow(self._changes.config)
            self._workers.kill_hung(self._route_names)
            for channel in self._workers.spawn_due():
                self._changes.join(channel)

    def _wait(self) -> None:
        """Wait until an event occurs, or an action is due."""
        now = time.monotonic()
        times = [due - now for due in (self._workers.next_due, self._changes.due) if due is not None]
        if self._watch.interval is not None:
            times.append(self._watch.interval)
        if self._announce:
            times.append(_READY_PATIENCE)
        if self._stop_at is not None:
            times.append(self._stop_at - now)
        poll = select.poll()  # supports descriptors of any number
        poll.register(self._signals.fileno(), select.POLLIN)
        self._owner.register(poll)
        for descriptor in self._changes.waits_for:
            poll.register(descriptor, select.POLLIN)
        for worker in self._workers.all:
            if worker.channel is not None:
                poll.register(worker.channel.fileno(), select.POLLIN)
            if worker.ready != -1 and self._announce:
                poll.register(worker.ready, select.POLLIN)
        poll.poll(max(0, min(times) * 1000) if times else None)
        self._watch.look()

    # Workers.

    def _forget_in_child(self) -> None:
        """Release the parent's own resources, in a newly forked process."""
        self._signals.forget_in_child()
        self._owner.close()
        self._directory.forget_in_child()
        self._changes.forget_in_child()
        for worker in self._workers.all:
            if worker.channel is not None:
                worker.channel.close()  # so that each is held by its worker and the parent only

    def _begin_trial(self) -> None:
        """Set up the process of the trials, which accepts no connections."""
        self._forget_in_child()
        self._listener.close()
        if self._control:
            self._control.close()

    def _be_worker(self, worker: Worker, channel: Channel, parent: int, send: int) -> NoReturn:
        """Run the worker, in the child; never return."""
        code = 1
        try:
            die_with_parent(parent)
            self._forget_in_child()

            def ready() -> None:
                os.write(send, b"1")
                os.close(send)

            answers, enabled = worker.role == "api", self._changes.config.settings.admin.enabled
            controls = worker.role == "control" or (answers and self._control is None and enabled)
            number = worker.number if answers else 0  # others have no row of their own to write
            heartbeat = Heartbeat(self._heartbeats.of(worker.number), self._worker_timeout)
            place = Place(number, channel, heartbeat, answers, controls)
            live = WorkerContext(self._changes.state, self._changes.generation, self._shared, place)
            self._works[worker.role](live, ready)
            code = 0
        except BaseException:
            _LOG.exception("a worker failed")
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os._exit(code)

    # Changes.

    def _hear(self, channel: Channel, message: Prepared | ChangeRequest) -> None:
        if isinstance(message, Prepared):
            self._changes.prepared(channel, message.number, message.fault, message.warnings)
            return

        def answer(status: int, body: dict[str, Any]) -> None:
            channel.send(pickle.dumps(Answered(message.number, status, body)))

        self._changes.submit(Change(message.how, message.arguments, answer))

    def _put_in_force(self, generation: int, faults_anew: bool) -> None:
        if faults_anew:  # some faults apply for a time only
            self._numbers[SINCE] = time.monotonic_ns()
        self._numbers[GENERATION] = generation
        self._workers.settle()

    # The end.

    def _is_drained(self) -> bool:
        """Say that the server is about to stop; return whether to stop now, as a second signal demands too."""
        self._numbers[STOPPING] = 1
        delay = self._changes.config.settings.readiness.drain_delay
        if not delay or self._stop_at is not None:
            return True
        self._stop_at = time.monotonic() + delay
        _LOG.info("stopping in %g s, and not ready from now on; signal again to stop now", delay)
        return False

    def _stop(self) -> int:
        """Stop the workers: no new connections, requests in flight finish, then the workers end. A second signal kills
        them.
        """
        close_listeners(self._listener, self._control)
        alive = {worker.pid for worker in self._workers.all if worker.pid}
        send_signal(alive, signal.SIGTERM)
        self._changes.refuse_all("the server is stopping")
        deadline = time.monotonic() + self._timeout + _GRACE
        warned = False
        while alive:
            left = deadline - time.monotonic()
            readable = self._signals.wait(max(0.0, min(left, 0.5)))
            received = self._signals.received()
            for channel, message in self._workers.messages():
                self._hear(channel, message)
            self._changes.refuse_all("the server is stopping")
            with suppress(ChildProcessError):
                while (dead := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                    alive.discard(dead)
            if alive and (left <= 0 or not signals.STOP.isdisjoint(received)):
                _LOG.warning("%d workers are killed with their requests in flight", len(alive))
                self._workers.kill_all()
                return 0
            if alive and not readable and not warned:
                warned = True
                _LOG.info("waiting up to %g s for requests in flight; signal again to stop now", self._timeout)
        return 0


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one: every connection takes a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _final_report(app: App | None, shared: Shared) -> Report | None:
    """Return the report on all requests; None if the parent has left compiling the rules to the workers."""
    if app is None:
        return None
    app.share.join(shared.numbers, 0)
    app.store.join(shared.directory)  # findings look at the responses that a conversation goes on from
    return report_on(app, Journal(shared.ring_buffer, app.kind_of), is_final=True)


def _tell_of_reload(changes: Changes, status: int, body: dict[str, Any]) -> None:
    """Log the outcome of a reload."""
    if status == 200:
        for warning in body["warnings"]:
            _LOG.warning("%s", warning)
        _LOG.info("reloaded: the new configuration is active on every worker (rules: %d)", changes.rules)
        return
    error = body["error"]
    problems = error.get("problems", ())
    for problem in problems:
        _LOG.error("%s", ": ".join(part for part in (problem["where"], problem["path"], problem["message"]) if part))
    why = "the configuration is invalid" if problems else error["message"].removeprefix("Nothing was changed: ")
    _LOG.error("not reloaded: %s; the old configuration stays active", why.rstrip("."))
