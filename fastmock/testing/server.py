"""A fastmock server in a process of its own, for tests and for commands."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

START_TIMEOUT = 10.0
"""Seconds after which a server that does not listen has failed to start."""

_STOP_TIMEOUT = 10.0  # seconds
_listening = re.compile(r" +listening on +(\S+)/v1").match


class StartError(Exception):
    """The server did not start; the message contains its output.

    Attributes:
        code: its exit code; None if it did not end by itself.
    """

    def __init__(self, message: str, code: int | None) -> None:
        super().__init__(message)
        self.code = code


class ServerProcess:
    """A server that listens on a free port of 127.0.0.1, on Granian, which can simulate every fault.

    It ends with the process that ``owner`` names, even if that is killed.

    Attributes:
        url: the URL of the server, without a path.
        process: its process.
    """

    def __init__(
        self,
        options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        owner: int | None = None,
        timeout: float = START_TIMEOUT,
    ) -> None:
        """Start the server, and wait until it listens.

        Args:
            options: options of ``fastmock serve``.
            environ: its environment, by default that of this process.
            owner: the process id of the owner, by default this process.
            timeout: seconds to wait.

        Raises:
            StartError: it did not start in time.
        """
        environ = os.environ if environ is None else environ
        defaults = {
            "FASTMOCK_HOST": "127.0.0.1",
            "FASTMOCK_PORT": "0",
            "FASTMOCK_RUNTIME": "granian",
            "FASTMOCK_JOURNAL_ENABLED": "true",
            "FASTMOCK_STOP_WITH": str(os.getpid() if owner is None else owner),
        }
        self._lines: list[str] = []
        self._ready = threading.Event()
        self.url = ""
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "fastmock", "serve", *options],
            env={**environ, **defaults},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # signals of the terminal are for the command alone
        )
        assert self.process.stdout is not None  # noqa: S101 - it is a pipe
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()
        if not self._ready.wait(timeout) or not self.url:
            code = self.process.poll()
            self.kill()
            why = f"did not listen within {timeout:g} s" if code is None else f"ended with exit code {code}"
            raise StartError(f"fastmock {why}; its output:\n{self.output()}", code)

    def output(self) -> str:
        """Return what the server has printed so far."""
        return "".join(self._lines)

    @property
    def is_running(self) -> bool:
        """Whether the server has not ended."""
        return self.process.poll() is None

    def stop(self) -> int:
        """Stop the server, and return its exit code; requests in flight finish first, up to 10 seconds."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill the server, and return its exit code."""
        with suppress(ProcessLookupError):
            self.process.kill()  # and the kernel kills its workers
        return self.process.wait()

    def _read(self, output: IO[str]) -> None:
        """Collect the output, and find the URL in it."""
        for line in output:
            self._lines.append(line)
            if not self.url and (found := _listening(line)):
                self.url = found[1]
                self._ready.set()
        self._ready.set()  # it has ended
