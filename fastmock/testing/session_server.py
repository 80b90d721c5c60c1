"""The server of a run of pytest: a running one, or one that all workers of pytest-xdist share."""

import fcntl
import json
import os
import select
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastmock.testing.control import Control, ControlError
from fastmock.testing.environment import base_url
from fastmock.testing.server import Server, StartError

_SHARED = "fastmock_shared"
_STOP_TIMEOUT = 10_000  # milliseconds


@dataclass
class SessionServer:
    """A server of a run.

    Attributes:
        url: the URL, without a path.
        token: the token of its control API; None if it needs none.
        log: the file with its output; None if it was running before.
        strict: whether it is in strict mode.
        ended: the sessions that are still to be removed.
        next: the number in the journal from which the next report begins.
    """

    url: str
    token: str | None = None
    log: Path | None = None
    strict: bool = False
    ended: list[str] = field(default_factory=list)
    next: int = 0

    def output(self) -> str:
        """Return what the server has printed; empty if it was running before."""
        return self.log.read_text(errors="replace") if self.log is not None else ""


@contextmanager
def session_server(config: pytest.Config) -> Iterator[SessionServer]:
    """Return the server of a run; it is stopped when the run ends."""
    url = config.getoption("--fastmock-url") or os.environ.get("FASTMOCK_URL")
    token = config.getoption("--fastmock-token") or os.environ.get("FASTMOCK_ADMIN_TOKEN")
    if url:
        server = SessionServer(base_url(url), token)
        control = Control(server.url, token)
        try:
            control.call("PUT", "config", {"journal": {"enabled": True}})
        except ControlError as error:
            pytest.exit(f"fastmock: {error}", 3)
        yield server
        if server.ended:
            with suppress(ControlError):  # it may be gone before
                control.call("POST", "reset", {"sessions": server.ended})
        control.close()
        return
    if hasattr(config, "workerinput"):
        directory = directory_of_run(config)
        yield SessionServer(_shared(directory, config), token, directory / "log", config.getini("fastmock_strict"))
        return
    with tempfile.TemporaryDirectory(prefix="fastmock-") as own:
        started = _start(Path(own), config, os.getpid())
        try:
            yield SessionServer(started.url, token, started.log, config.getini("fastmock_strict"))
        finally:
            started.stop()


def _start(directory: Path, config: pytest.Config, owner: int) -> Server:
    """Start a server; end the run if it does not start."""
    file = config.getoption("--fastmock-config")
    options = ("--strict",) if config.getini("fastmock_strict") else ()
    try:
        timeout = config.getoption("--fastmock-timeout")
        environ = {**os.environ, "FASTMOCK_ADMIN_FILES": "true"}  # sessions may name the cassettes of their tests
        return Server(*options, config=file, environ=environ, owner=owner, log=directory / "log", timeout=timeout)
    except StartError as error:
        pytest.exit(str(error), 3)


def _shared(directory: Path, config: pytest.Config) -> str:
    """Return the URL of the server that all workers share; the first that needs it starts it."""
    found = directory / "server.json"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            server = _start(directory, config, int((directory / "owner").read_text()))
            found.write_text(json.dumps({"url": server.url, "pid": server.process.pid}))
    url: str = json.loads(found.read_text())["url"]
    return url


def shared_of(config: Any) -> Path:
    """Return the directory of the shared server, made by the controller of pytest-xdist."""
    if not hasattr(config, _SHARED):
        directory = tempfile.TemporaryDirectory(prefix="fastmock-")
        (Path(directory.name) / "owner").write_text(str(os.getpid()))
        setattr(config, _SHARED, directory)
    return Path(getattr(config, _SHARED).name)


def directory_of_run(config: Any) -> Path:
    """Return a directory that all workers of pytest-xdist share, and that is removed when the run ends."""
    workerinput = getattr(config, "workerinput", None)
    return Path(workerinput[_SHARED]) if workerinput is not None else shared_of(config)


def stop_shared(config: Any) -> None:
    """Stop the shared server, if one was started, and remove its directory."""
    directory: tempfile.TemporaryDirectory[str] = getattr(config, _SHARED)
    with suppress(FileNotFoundError, ProcessLookupError):
        pid = json.loads((Path(directory.name) / "server.json").read_text())["pid"]
        process = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGTERM)
            poll = select.poll()
            poll.register(process, select.POLLIN)
            if not poll.poll(_STOP_TIMEOUT):
                os.kill(pid, signal.SIGKILL)
        finally:
            os.close(process)
    directory.cleanup()
