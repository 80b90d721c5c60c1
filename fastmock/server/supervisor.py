"""The parent: forks the workers on one listening socket, replaces those that die, reloads the configuration, and stops
them without loss.

It stays single-threaded, for it forks. It is right as PID 1: it reaps whatever ends, and passes signals on.
"""

import ctypes
import gc
import logging
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import cast

from fastmock.app import App
from fastmock.config.load import Config
from fastmock.config.model import Settings
from fastmock.config.problems import ConfigError
from fastmock.server.live import Live
from fastmock.state.block import GENERATION, RESTARTS, SINCE, Share, clear_gauges, shared_numbers
from fastmock.state.gate import Gate

_LOG = logging.getLogger("fastmock")
_STOP = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGQUIT))
_WATCHED = _STOP | {signal.SIGCHLD, signal.SIGHUP}
_PR_SET_PDEATHSIG = 1

_EARLY = 1.0  # seconds; a worker that dies younger counts as an early death
_FREE_EARLY_DEATHS = 20  # early deaths in a row that are replaced at once: one bad client can cause that many
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 5.0  # seconds
_TRIES = 5  # workers in a row that die before they were ready, after which none can live
_PREPARING = 60.0  # seconds the workers are given to prepare a new configuration
_PREPARING_POLL = 0.1  # seconds between looks at whether the server is to stop
_GRACE = 2.0  # seconds beyond the workers' own deadline before they are killed

Work = Callable[[Live, Callable[[], None]], None]
"""What a worker does; it is given what to serve and a function to call when it is ready, and returns when it has
stopped."""
Compile = Callable[[], App]
"""Compile the configuration as it stands now; raises ConfigError."""


@dataclass
class _Worker:
    number: int
    pid: int = 0
    born: float = 0.0
    ready: int = -1
    early_deaths: int = 0
    due: float | None = None
    control: Connection | None = None


def _temporary() -> Path:
    """Return the directory for what lives as long as the server; where none can be written, that shows when it is."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path("/tmp")  # noqa: S108 - it is not made here


class Supervisor:
    """Keeps ``count`` workers alive until it is told to stop."""

    def __init__(
        self, app: App, compile_: Compile, work: Work, count: int, listener: socket.socket, timeout: float
    ) -> None:
        """Prepare to serve ``app``.

        Args:
            app: what is served at first.
            compile_: gives what is served after a reload.
            work: what a worker does.
            count: how many workers.
            listener: the listening socket.
            timeout: seconds the workers take at most to stop by themselves.
        """
        self._app = app
        self._compile = compile_
        self._numbers = shared_numbers(count)
        self._gate = Gate(Share(self._numbers))
        self._directory = _temporary() / f"fastmock-{os.getpid()}-{os.urandom(4).hex()}"
        self._attempt = 0
        self._work = work
        self._listener = listener
        self._timeout = timeout
        self._workers = [_Worker(number + 1) for number in range(count)]
        self._never_ready = 0

    def run(self, announce: Callable[[], None]) -> int:
        """Serve until told to stop.

        Args:
            announce: called once, when the first worker is ready.

        Returns:
            The exit code: 0 after a stop that was asked for, 1 when no worker could live.
        """
        try:
            return self._supervise(announce)
        finally:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _supervise(self, announce: Callable[[], None]) -> int:
        raise_open_files()
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)  # also afterwards: one that comes late changes nothing
        gc.collect()
        gc.freeze()  # what the workers inherit is not walked again, so that it stays shared
        for worker in self._workers:
            self._spawn(worker)
        if self._one_is_ready():
            announce()
        while True:
            waits = [worker.due - time.monotonic() for worker in self._workers if worker.due is not None]
            info = signal.sigtimedwait(_WATCHED, max(0.0, min(waits))) if waits else signal.sigwaitinfo(_WATCHED)
            if info is not None and info.si_signo in _STOP:
                return self._stop()
            if info is not None and info.si_signo == signal.SIGHUP:
                self._reload()
            if not self._bury():
                self._kill_all()
                return 1
            for worker in self._workers:
                if worker.due is not None and worker.due <= time.monotonic():
                    self._spawn(worker)

    def _spawn(self, worker: _Worker) -> None:
        """Fork a worker."""
        receive, send = os.pipe()
        os.set_blocking(receive, False)
        ours, theirs = Pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(receive)
            for connection in (ours, *(other.control for other in self._workers)):
                if connection:
                    connection.close()  # so that each is held by its worker and the parent alone
            self._be_worker(worker.number - 1, parent, send, theirs)
        os.close(send)
        theirs.close()
        worker.control = ours
        worker.pid, worker.born, worker.ready, worker.due = pid, time.monotonic(), receive, None

    def _be_worker(self, number: int, parent: int, send: int, control: Connection) -> None:
        """Work, in the child; never return."""
        code = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # do not outlive the parent
            if os.getppid() != parent:
                os._exit(1)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)

            def ready() -> None:
                os.write(send, b"1")
                os.close(send)

            self._work(Live(self._app, self._numbers, number, self._directory, control), ready)
            code = 0
        except BaseException:
            _LOG.exception("a worker failed")
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _one_is_ready(self) -> bool:
        """Wait until a worker is ready, or all have died."""
        waiting = {worker.ready for worker in self._workers}
        while waiting:
            readable, _, _ = select.select(list(waiting), [], [], 30)
            if not readable:
                return True
            for descriptor in readable:
                if os.read(descriptor, 1):
                    for worker in self._workers:
                        if worker.ready == descriptor:
                            self._mark_ready(worker)
                    return True
                waiting.discard(descriptor)
        return False

    def _mark_ready(self, worker: _Worker) -> None:
        os.close(worker.ready)
        worker.ready = -1
        self._never_ready = 0

    def _was_ready(self, worker: _Worker) -> bool:
        """Whether a worker ever got ready; ask when it is dead."""
        if worker.ready == -1:
            return True
        was = bool(os.read(worker.ready, 1))
        os.close(worker.ready)
        worker.ready = -1
        return was

    def _bury(self) -> bool:
        """Reap what has died and plan its replacement; return False when none can live."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return True
            worker = next((worker for worker in self._workers if worker.pid == pid), None)
            if worker is None:
                continue  # an orphan that PID 1 inherited
            ready = self._was_ready(worker)
            now = time.monotonic()
            worker.pid = 0
            clear_gauges(self._numbers, worker.number - 1)
            self._gate.bury(worker.number - 1)
            if worker.control:
                worker.control.close()
                worker.control = None
            worker.early_deaths = worker.early_deaths + 1 if now - worker.born < _EARLY else 0
            self._never_ready = 0 if ready else self._never_ready + 1
            if self._never_ready >= _TRIES * len(self._workers):
                _LOG.error("no worker can start (%s); giving up", _cause(status))
                return False
            excess = worker.early_deaths - (_FREE_EARLY_DEATHS if ready else 0)
            delay = min(_FIRST_BACKOFF * 2.0**excess, _LONGEST_BACKOFF) if excess > 0 else 0.0
            worker.due = now + delay
            self._numbers[RESTARTS] += 1
            later = f" in {delay:.1f} s" if delay else ""
            _LOG.warning("worker %d (process %d) %s; it is replaced%s", worker.number, pid, _cause(status), later)

    def _reload(self) -> None:
        """Put the configuration as it stands now in force on all workers at once, or on none."""
        try:
            app = self._compile()
        except ConfigError as error:
            for problem in error.problems:
                _LOG.error("%s", problem)
            _LOG.error("not reloaded: the configuration is wrong; the old one stays in force")
            return
        self._attempt += 1
        if fault := self._prepare(app.config):
            _LOG.error("not reloaded: %s; the old configuration stays in force", fault)
            return
        for name in _fixed_at_start(self._app.config.settings, app.config.settings):
            _LOG.warning("%s has changed, which takes a restart", name)
        self._app = app
        self._numbers[SINCE] = time.monotonic_ns()
        self._numbers[GENERATION] = self._attempt
        gc.collect()
        gc.freeze()
        for warning in app.warnings:
            _LOG.warning("%s", warning)
        _LOG.info("reloaded: the new configuration is in force on every worker (patterns: %d)", app.rules)

    def _prepare(self, config: Config) -> str:
        """Have every living worker prepare ``config``; return what went wrong, or nothing."""
        waiting: set[Connection] = set()
        for worker in self._workers:
            if worker.control:
                with suppress(OSError):  # it has died; its successor begins with what is in force then
                    worker.control.send((self._attempt, config))
                    waiting.add(worker.control)
        deadline = time.monotonic() + _PREPARING
        while waiting:
            if signal.sigpending() & _STOP:
                return "the server is told to stop"
            answered = wait(list(waiting), _PREPARING_POLL)
            if not answered and time.monotonic() > deadline:
                return "a worker took too long to prepare"
            for connection in cast(list[Connection], answered):
                waiting.discard(connection)
                with suppress(EOFError, OSError):
                    attempt, fault = connection.recv()
                    if attempt != self._attempt:  # of an attempt that was given up
                        waiting.add(connection)
                    elif fault:
                        return f"a worker cannot prepare it ({fault})"
        return ""

    def _stop(self) -> int:
        """Stop the workers: no new connection, what is in flight ends, then they do. A second signal kills them."""
        self._listener.close()
        alive = {worker.pid for worker in self._workers if worker.pid}
        _send(alive, signal.SIGTERM)
        deadline = time.monotonic() + self._timeout + _GRACE
        told = False
        while alive:
            left = deadline - time.monotonic()
            info = signal.sigtimedwait(_WATCHED, min(left, 0.5)) if left > 0 else None
            with suppress(ChildProcessError):
                while (dead := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                    alive.discard(dead)
            if alive and (left <= 0 or (info is not None and info.si_signo in _STOP)):
                _LOG.warning("%d workers are killed with what they had in flight", len(alive))
                self._kill_all()
                return 0
            if alive and info is None and not told:
                told = True
                _LOG.info("waiting up to %g s for what is in flight; signal again to end it now", self._timeout)
        return 0

    def _kill_all(self) -> None:
        _send({worker.pid for worker in self._workers if worker.pid}, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)


def _fixed_at_start(old: Settings, new: Settings) -> list[str]:
    """Name the settings that differ and are read only at the start."""
    names: tuple[str, ...] = (
        "host",
        "port",
        "workers",
        "runtime",
        "shutdown_timeout",
        "log_level",
        "log_requests",
        "log_format",
    )
    names += ("tls_cert", "tls_key", "http2")
    changed = [f"server.{name}" for name in names if getattr(old.server, name) != getattr(new.server, name)]
    if old.streaming.max_concurrent != new.streaming.max_concurrent:
        changed.append("streaming.max_concurrent")
    return changed


def _send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _cause(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def raise_open_files() -> None:
    """Raise the limit of open files to what is allowed: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
