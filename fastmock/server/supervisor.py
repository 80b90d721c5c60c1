"""The parent: forks the workers on one listening socket, replaces those that die, reloads the configuration, and stops
them without loss.

It stays single-threaded, for it forks. It is right as PID 1: it reaps whatever ends, and passes signals on.
"""

import ctypes
import gc
import logging
import os
import pickle
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, cast

from fastmock.api.errors import ApiError
from fastmock.app import App
from fastmock.config.load import Config
from fastmock.config.model import Settings
from fastmock.config.overlay import NotThereError, Overlay
from fastmock.config.problems import ConfigError, Problem
from fastmock.control.journal import HEAD_SIZE
from fastmock.server.live import ASKED, Live, Place, Shared
from fastmock.server.watch import Watcher
from fastmock.state.block import GENERATION, RESTARTS, SINCE, Share, clear_gauges, shared_numbers
from fastmock.state.gate import Gate
from fastmock.state.tape import Tape, memory_file

_LOG = logging.getLogger("fastmock")
_STOP = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGQUIT))
_URGENT = _STOP | {signal.SIGCHLD}
_WATCHED = _STOP | {signal.SIGCHLD, signal.SIGHUP, ASKED}
_PR_SET_PDEATHSIG = 1

_EARLY = 1.0  # seconds; a worker that dies younger counts as an early death
_FREE_EARLY_DEATHS = 20  # early deaths in a row that are replaced at once: one bad client can cause that many
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.1, 5.0  # seconds
_TRIES = 5  # workers in a row that die before they were ready, after which none can live
_PREPARING = 60.0  # seconds the workers are given to prepare a new configuration
_PREPARING_POLL = 0.1  # seconds between looks at whether the server is to stop
_ASKING = 0.2  # seconds for which it is waited for what a worker asks
_GRACE = 2.0  # seconds beyond the workers' own deadline before they are killed

Work = Callable[[Live, Callable[[], None]], None]
"""What a worker does; it is given what to serve and a function to call when it is ready, and returns when it has
stopped."""
Compile = Callable[[Overlay, Config | None], App]
"""Compile the configuration under what was changed while the server runs: as it stands now, or as it was when another
was read; raises ConfigError."""


class NotPreparedError(Exception):
    """A worker could not prepare a configuration."""


@dataclass
class _Worker:
    number: int
    pid: int = 0
    born: float = 0.0
    ready: int = -1
    early_deaths: int = 0
    due: float | None = None
    control: Connection | None = None
    changes: Connection | None = None
    only_controls: bool = False


def _temporary() -> Path:
    """Return the directory for what lives as long as the server; where none can be written, that shows when it is."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path("/tmp")  # noqa: S108 - it is not made here


class Supervisor:
    """Keeps ``count`` workers alive until it is told to stop."""

    def __init__(
        self,
        app: App,
        compile_: Compile,
        work: Work,
        count: int,
        listener: socket.socket,
        timeout: float,
        control: tuple[socket.socket, Work] | None = None,
    ) -> None:
        """Prepare to serve ``app``.

        Args:
            app: what is served at first.
            compile_: gives what is served after a reload.
            work: what a worker does.
            count: how many workers.
            listener: the listening socket.
            timeout: seconds the workers take at most to stop by themselves.
            control: the listening socket of the control API, and the work of whoever answers there; None where the
                workers answer it.
        """
        self._app = app
        self._compile = compile_
        self._overlay = Overlay()
        self._numbers = shared_numbers(count)
        self._gate = Gate(Share(self._numbers))
        self._directory = _temporary() / f"fastmock-{os.getpid()}-{os.urandom(4).hex()}"
        journal = app.config.settings.journal
        tape = Tape(journal.size, HEAD_SIZE + journal.max_body_bytes)
        elsewhere = listener.getsockname()[1] if control else None
        self._shared = Shared(self._numbers, tape, self._directory, os.getpid(), elsewhere, memory_file())
        self._watcher = Watcher(app.config) if app.config.settings.server.watch else None
        self._attempt = 0
        self._work = work
        self._listener = listener
        self._timeout = timeout
        self._control = control
        self._workers = [_Worker(number + 1) for number in range(count)]
        if control:
            self._workers.append(_Worker(count + 1, only_controls=True))
        self._settled = False
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
            if self._watcher:
                self._watcher.stop()
            shutil.rmtree(self._directory, ignore_errors=True)

    def _supervise(self, announce: Callable[[], None]) -> int:
        raise_open_files()
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)  # also afterwards: one that comes late changes nothing
        for worker in self._workers:
            self._spawn(worker)
        if self._watcher:
            self._watcher.start()
        if self._one_is_ready():
            announce()
        while True:
            waits = [worker.due - time.monotonic() for worker in self._workers if worker.due is not None]
            info = signal.sigtimedwait(_URGENT, 0)  # before all others, which may come without end
            if info is None:
                info = signal.sigtimedwait(_WATCHED, max(0.0, min(waits))) if waits else signal.sigwaitinfo(_WATCHED)
            if info is not None and info.si_signo in _STOP:
                return self._stop()
            if info is not None and info.si_signo == signal.SIGHUP:
                self._reload()
            if info is not None and info.si_signo == ASKED:
                self._answer_changes()
            if not self._bury():
                self._kill_all()
                return 1
            for worker in self._workers:
                if worker.due is not None and worker.due <= time.monotonic():
                    self._spawn(worker)

    def _spawn(self, worker: _Worker) -> None:
        """Fork a worker."""
        if not self._settled:  # what the workers inherit is not walked again, so that it stays shared
            self._settled = True
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        receive, send = os.pipe()
        os.set_blocking(receive, False)
        (ours, theirs), (asked, asks) = Pipe(), Pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(receive)
            others = [end for other in self._workers for end in (other.control, other.changes)]
            for connection in (ours, asked, *others):
                if connection:
                    connection.close()  # so that each is held by its worker and the parent alone
            controls = worker.only_controls or (self._control is None and self._app.config.settings.admin.enabled)
            number = 0 if worker.only_controls else worker.number - 1  # it has no numbers of its own to write
            self._be_worker(Place(number, theirs, asks, not worker.only_controls, controls), parent, send)
        os.close(send)
        theirs.close()
        asks.close()
        worker.control, worker.changes = ours, asked
        worker.pid, worker.born, worker.ready, worker.due = pid, time.monotonic(), receive, None

    def _be_worker(self, place: Place, parent: int, send: int) -> None:
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

            work = self._work if place.answers or self._control is None else self._control[1]
            work(Live(self._app, self._shared, place), ready)
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
            if not worker.only_controls:
                clear_gauges(self._numbers, worker.number - 1)
                self._gate.bury(worker.number - 1)
            for connection in (worker.control, worker.changes):
                if connection:
                    connection.close()
            worker.control = worker.changes = None
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
            warnings = self._put_in_force(self._overlay, None)
        except ConfigError as error:
            for problem in error.problems:
                _LOG.error("%s", problem)
            _LOG.error("not reloaded: the configuration is wrong; the old one stays in force")
            return
        except NotPreparedError as error:
            _LOG.error("not reloaded: %s; the old configuration stays in force", error)
            return
        for warning in warnings:
            _LOG.warning("%s", warning)
        _LOG.info("reloaded: the new configuration is in force on every worker (patterns: %d)", self._app.rules)

    def _put_in_force(self, overlay: Overlay, again: Config | None) -> list[str]:
        """Put the configuration in force as it is under an overlay; return warnings.

        ``again`` is one that was read before and is not to be read anew.

        Raises:
            ConfigError: it is wrong.
            NotPreparedError: a worker could not prepare it.
        """
        app = self._compile(overlay, again)
        self._attempt += 1
        if fault := self._prepare(app.config):
            raise NotPreparedError(fault)
        old, new = self._app.config.settings, app.config.settings
        if again is None or old.faults != new.faults:  # of which some strike for a time
            self._numbers[SINCE] = time.monotonic_ns()
        self._app, self._overlay, self._settled = app, overlay, False
        self._numbers[GENERATION] = self._attempt
        if self._watcher:
            self._watcher.follow(app.config)
        fixed = [f"{name} has changed, which takes a restart" for name in _fixed_at_start(old, new)]
        return fixed + app.warnings

    def _answer_changes(self) -> None:
        """Make the changes that workers ask for, one after another, until something else has to be done."""
        asking = {worker.changes for worker in self._workers if worker.changes}
        ready = cast(list[Connection], wait(list(asking), _ASKING))
        while ready:
            for connection in ready:
                if signal.sigpending() & _URGENT:
                    os.kill(os.getpid(), ASKED)  # so that the others get their turn
                    return
                try:
                    number, how, arguments = connection.recv()
                    connection.send((number, self._change(how, arguments)))
                except (EOFError, OSError):  # it has died, and nobody waits for it any more
                    asking.discard(connection)
            ready = cast(list[Connection], wait(list(asking), 0))

    def _refuse_changes(self) -> None:
        """Take what workers ask for while they stop, so that none waits to be heard."""
        for worker in self._workers:
            with suppress(EOFError, OSError):
                while worker.changes and worker.changes.poll():
                    number, *_ = worker.changes.recv()
                    worker.changes.send((number, _refusal(503, "The server is told to stop.", "not_changed")))

    def _change(self, how: str, arguments: tuple[Any, ...]) -> tuple[int, dict[str, Any]]:
        """Make one change; return the status and the body of its answer."""
        before = self._overlay
        try:
            overlay: Overlay = getattr(before, how)(*arguments)
            warnings = self._put_in_force(overlay, self._app.config)
        except NotThereError:
            return _refusal(404, f"No rule has the id {arguments[0]!r}.", "not_found")
        except ConfigError as error:
            return _refusal(400, "; ".join(map(str, error.problems)), "invalid_configuration", error.problems)
        except NotPreparedError as error:
            return _refusal(503, f"Nothing was changed: {error}.", "not_changed")
        changed = [rule.named for rule in overlay.rules if rule not in before.rules]
        return 200, {"generation": self._attempt, "rules": changed, "warnings": warnings}

    def _prepare(self, config: Config) -> str:
        """Have every living worker prepare ``config``; return what went wrong, or nothing."""
        data = pickle.dumps(replace(config, data={}))
        os.ftruncate(self._shared.configuration, 0)
        os.pwrite(self._shared.configuration, data, 0)
        waiting: set[Connection] = set()
        for worker in self._workers:
            if worker.control:
                with suppress(OSError):  # it has died; its successor begins with what is in force then
                    worker.control.send((self._attempt, len(data)))
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
        if self._control:
            self._control[0].close()
        alive = {worker.pid for worker in self._workers if worker.pid}
        _send(alive, signal.SIGTERM)
        deadline = time.monotonic() + self._timeout + _GRACE
        told = False
        while alive:
            left = deadline - time.monotonic()
            info = signal.sigtimedwait(_WATCHED, min(left, 0.5)) if left > 0 else None
            self._refuse_changes()
            if info is not None and info.si_signo == ASKED:
                continue
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


def _refusal(status: int, message: str, code: str, problems: Sequence[Problem] = ()) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of the answer to a change that was not made."""
    body = ApiError(status, message, None, code).envelope()
    if problems:
        body["error"]["problems"] = [asdict(problem) for problem in problems]
    return status, body


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
    names += ("tls_cert", "tls_key", "http2", "watch")
    changed = [f"server.{name}" for name in names if getattr(old.server, name) != getattr(new.server, name)]
    if old.streaming.max_concurrent != new.streaming.max_concurrent:
        changed.append("streaming.max_concurrent")
    for section, parts in (("journal", ("size", "max_body_bytes")), ("admin", ("enabled", "host", "port", "files"))):
        before, after = getattr(old, section), getattr(new, section)
        changed += [f"{section}.{part}" for part in parts if getattr(before, part) != getattr(after, part)]
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
