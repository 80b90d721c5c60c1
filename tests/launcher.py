"""Starts servers by forking a process that has imported fastmock already; the imports take each a second of CPU.

The process reads requests from a socket, its standard input: the arguments, the directory and the environment of a
``fastmock`` command, with its standard output, its standard error and a pipe for the process ID and the exit code.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_REQUEST = 1 << 17  # bytes, at most
_NUMBER = struct.Struct("i")


class ForkedServer:
    """A ``fastmock`` command in a process that a launcher forked, with what tests use of ``subprocess.Popen``."""

    def __init__(self, pid: int, status: int, stdout: IO[str], stderr: IO[str]) -> None:
        """Take a process over; its exit code is read from the descriptor ``status``."""
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended and return the exit code."""
        with self._lock:
            if self.returncode is None:
                poll = select.poll()
                poll.register(self._status, select.POLLIN)
                if not poll.poll(None if timeout is None else timeout * 1000):
                    raise subprocess.TimeoutExpired("fastmock", timeout or 0)
                [self.returncode] = _NUMBER.unpack(os.read(self._status, _NUMBER.size))
                os.close(self._status)
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that forks servers; those that still run when it is closed are killed."""

    def __init__(self, root: Path) -> None:
        """Start it; fastmock is imported from ``root``."""
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.launcher"],
                cwd=root,
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self, arguments: Sequence[str], cwd: Path, env: dict[str, str], prelude: str = "") -> ForkedServer:
        """Start ``fastmock`` with these arguments, in this directory and environment; ``prelude`` is executed first."""
        pipes = [os.pipe() for _ in range(3)]
        (stdout, _), (stderr, _), (status, _) = pipes
        request = json.dumps([arguments, str(cwd), env, prelude]).encode()
        socket.send_fds(self._requests, [request], [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        [pid] = _NUMBER.unpack(os.read(status, _NUMBER.size))
        return ForkedServer(pid, status, os.fdopen(stdout), os.fdopen(stderr))

    def close(self) -> None:
        """End it."""
        self._requests.close()
        self._process.wait(10)


def _become_command(data: bytes, output: list[int], inherited: list[int]) -> None:
    """Make a process that was just forked what a shell would have started."""
    arguments, directory, environ, prelude = json.loads(data)
    for descriptor in inherited:
        os.close(descriptor)
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), *output)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["fastmock", *arguments]
    sys.path[0] = directory
    exec(prelude, {})


def _fork_on_request() -> bool:
    """Fork a process for each request, until there are no more; return whether this is one of them."""
    requests = socket.socket(fileno=os.dup(0))
    running: dict[int, tuple[int, int]] = {}  # by a descriptor of each process: its ID, and the pipe for its exit code
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        for descriptor in running.keys() & ready:
            poll.unregister(descriptor)
            pid, status = running.pop(descriptor)
            with suppress(BrokenPipeError):  # nobody waits for it
                os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
            os.close(status)
            os.close(descriptor)
        if requests.fileno() not in ready:
            continue
        data, descriptors, *_ = socket.recv_fds(requests, _REQUEST, 3)
        if not data:
            break
        *output, status = descriptors
        pid = os.fork()
        if pid == 0:
            others = [one for descriptor, (_, pipe) in running.items() for one in (descriptor, pipe)]
            _become_command(data, output, [requests.detach(), status, *others])
            return True
        os.write(status, _NUMBER.pack(pid))
        for descriptor in output:
            os.close(descriptor)
        descriptor = os.pidfd_open(pid)
        running[descriptor] = pid, status
        poll.register(descriptor, select.POLLIN)
    for pid, _ in running.values():
        os.kill(pid, signal.SIGKILL)
    return False


def _exit_with(command: Callable[[], None]) -> None:
    """Run a command and exit with its code, without the interpreter's teardown: 50 ms for all that was imported."""
    code = 0
    try:
        command()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def serve_requests() -> None:
    """Serve requests; in a process that one of them is for, do what ``python -m fastmock`` does."""
    from fastmock import __main__
    from fastmock.build import Layers
    from fastmock.cli import main  # noqa: F401
    from fastmock.core import yaml_documents  # noqa: F401
    from fastmock.server import supervisor, worker  # noqa: F401
    from fastmock.server.runtimes import granian, robyn

    granian.preload()
    robyn.preload()
    Layers({}, {}, {}).load()  # which reads the vocabularies of the tokenizers
    gc.collect()
    gc.freeze()
    if _fork_on_request():
        _exit_with(__main__.run)


if __name__ == "__main__":
    serve_requests()
