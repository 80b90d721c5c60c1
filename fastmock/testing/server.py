"""A fastmock server in a process of its own, for tests and for commands."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

START_TIMEOUT = 10.0
"""Seconds after which a server that does not listen has failed to start."""

_STOP_TIMEOUT = 10.0  # seconds
_LOOK = 0.01  # seconds between looks at the output
_FILE_VARIABLES = "FASTMOCK_CONFIG", "MOCK_OPENAI_CONFIG"
_listening = re.compile(r"^ +listening on +(\S+)/v1", re.MULTILINE).search


class StartError(Exception):
    """The server did not start; the message contains its output."""


class Server:
    """A server that listens on a free port of 127.0.0.1, on Granian, which can simulate every fault.

    It ends with the process that ``owner`` names, even if that is killed; as a context manager, when its block ends.

    Attributes:
        url: the URL of the server, without a path.
        process: its process.
        log: the file with its output.
    """

    def __init__(
        self,
        *options: str,
        config: str | Path | Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        owner: int | None = None,
        log: Path | None = None,
        timeout: float = START_TIMEOUT,
    ) -> None:
        """Start the server, and wait until it listens.

        Args:
            options: options of ``fastmock serve``, or of another command that serves, after its name.
            config: its configuration, or the file with it; by default that of the environment, else none, since a
                ``config.json`` in the working directory may be of another program.
            environ: its environment, by default that of this process.
            owner: the process id of the owner, by default this process.
            log: the file for its output, by default a temporary one.
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
        command, options = (options[0], options[1:]) if options[:1] == ("record",) else ("serve", options)
        named = () if config is None or isinstance(config, Mapping) else ("--config", str(config))
        if isinstance(config, Mapping):
            defaults["FASTMOCK_CONFIG_JSON"] = json.dumps(config)
            environ = {name: value for name, value in environ.items() if name not in _FILE_VARIABLES}
        elif config is None and not any(environ.get(name) for name in _FILE_VARIABLES):
            environ = {"FASTMOCK_CONFIG_JSON": "{}", **environ}
        self._directory = tempfile.TemporaryDirectory(prefix="fastmock-") if log is None else None
        self.log = Path(self._directory.name) / "log" if self._directory else log or Path()
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "fastmock", command, *named, *options],
                env={**environ, **defaults},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # signals of the terminal are not for it
            )
        self.url = self._wait(timeout)

    def _wait(self, timeout: float) -> str:
        """Return the URL as soon as the server listens."""
        until = time.monotonic() + timeout
        while (found := _listening(self.output())) is None:
            code = self.process.poll()
            if code is not None or time.monotonic() > until:
                why = f"did not listen within {timeout:g} s" if code is None else f"ended with exit code {code}"
                output = self.output()
                self.kill()
                self._remove_log()
                raise StartError(f"fastmock {why}; its output:\n{output}")
            time.sleep(_LOOK)
        return found[1]

    def output(self) -> str:
        """Return what the server has printed so far."""
        return self.log.read_text(errors="replace")

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

    def __enter__(self) -> "Server":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server, and remove its log."""
        self.stop()
        self._remove_log()

    def _remove_log(self) -> None:
        if self._directory is not None:
            self._directory.cleanup()
