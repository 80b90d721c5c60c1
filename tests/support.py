"""Servers started as the README says, Apps without a server, and helpers that wait."""

import functools
import itertools
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import settings

from fastmock.app import App
from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Reply, Request, Stream
from fastmock.server import trial
from fastmock.server.runtimes.select import RUNTIMES
from fastmock.shared.block import Share, shared_numbers
from tests.launcher import ForkedServer, Launcher

# To load the certificates of all authorities takes 30 ms, and every client would.
httpx._transports.default.create_ssl_context = functools.cache(httpx._transports.default.create_ssl_context)

ROOT = Path(__file__).parent.parent
KEY = {"authorization": "Bearer sk-test"}


def outer_environment(**more: str) -> dict[str, str]:
    """Return the environment for programs that start servers: without what configures fastmock, SDKs or pytest.

    Tokens are estimated: to read vocabularies is a third of the start of a server that is not forked.
    """
    names = ("FASTMOCK_", "MOCK_OPENAI_", "OPENAI_", "ANTHROPIC_", "GITHUB_", "PYTEST_", "COV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return kept | {"FASTMOCK_USAGE_TOKENIZER": "estimate"} | more


_WITHOUT = ("-pno:anyio", "-pno:cacheprovider", "-pno:hypothesispytest", "-pno:locust")  # to import them takes 0.4 s
PYTEST = [sys.executable, "-m", "pytest", *_WITHOUT, "--fastmock-timeout", "60"]
"""The command for a run of pytest of its own."""


@functools.cache
def launcher() -> Launcher:
    """Return the process that starts the servers of this session."""
    return Launcher(ROOT)


RECORD = "RECORD_SDK_TESTS"
"""The variable with a directory to record all requests in; set by tests/cassettes/test_sdk_traffic.py."""
_recorders = itertools.count()


class Server:
    """A running ``fastmock`` command."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: dict[str, str] | None = None,
        started: Callable[[int], None] | None = None,
        forked: bool = True,
        prelude: str = "",
    ) -> None:
        """Start it.

        Args:
            arguments: those of the command.
            cwd: its directory.
            env: environment variables beside those of the tests.
            started: called with the process, long before it listens.
            forked: whether it may be forked from a process that has imported fastmock.
            prelude: code that a forked one executes first.
        """
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("FASTMOCK_", "MOCK_OPENAI_"))}
        environ = clean | {"PYTHONPATH": str(ROOT)} | (env or {})
        given = [*arguments]
        command = [given.pop(0)] if given and not given[0].startswith("-") else []
        arguments = (*command, "--port", "0", *given)
        self.process: ForkedServer | subprocess.Popen[str]
        if forked and started is None:
            self.process = launcher().start(arguments, cwd, environ, prelude)
        else:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fastmock", *arguments],
                cwd=cwd,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            if started is not None:
                started(self.process.pid)
        self.errors: list[str] = []
        self.lines: queue.Queue[str | None] = queue.Queue()
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()
        self.greeting = ""
        deadline = time.monotonic() + 20
        while "-d '" not in self.greeting:
            try:
                line = self.lines.get(timeout=0.02)
            except queue.Empty:
                errors = "".join(self.errors)  # with a request log in JSON the greeting is there
                self.greeting = errors if "-d '" in errors else self.greeting
                if time.monotonic() < deadline:
                    continue
                line = None
            if line is None:
                self._recorder = None
                self.stop()
                raise RuntimeError(f"the server did not start: {self.greeting}{''.join(self.errors)}")
            self.greeting += line
        found = re.search(r"listening on +(http\S+)/v1", self.greeting)
        assert found
        self.url = found[1]
        self._recorder: Server | None = None
        if (place := os.environ.get(RECORD)) and command != ["record"]:
            to = f"{place}/{next(_recorders)}-{os.getpid()}"
            options = ("--upstream", self.url, "--to", to, "--allow-record", "--workers", "2")
            self._recorder = Server("record", *options, cwd=cwd)
            self.url = self._recorder.url
        self.port = int(self.url.rpartition(":")[2])

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr
        self.errors.extend(iter(self.process.stderr.readline, ""))

    def workers(self) -> list[int]:
        """Return the workers; other processes that the parent started have a command line or a name of their own."""

        def command_of(pid: int | str) -> bytes:
            try:
                named = Path(f"/proc/{pid}/comm").read_text().strip()
                return b"" if named == trial.NAME else Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                return b""

        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        ours = command_of(self.process.pid)
        return [int(pid) for pid in children.split() if command_of(pid) == ours]

    def control(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Ask the control API; return the status and the parsed body."""
        found = re.search(r"in a browser +(\S+)/", self.greeting)
        assert found
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx.request(method, f"{found[1]}/fastmock/{path}", json=body, headers=named, timeout=30)
        return answer.status_code, answer.json()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self._recorder is not None:
            assert self._recorder.stop() == 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(40)
        for stream, reader in zip((self.process.stdout, self.process.stderr), self._readers, strict=True):
            if stream:
                reader.join(5)
                stream.close()
        return code


@contextmanager
def serving(directory: Path, config: dict[str, Any], *arguments: str, forked: bool = True) -> Iterator[Server]:
    """Start a server, for the tests of a whole module."""
    (directory / "config.json").write_bytes(orjson.dumps(config))
    server = Server(*arguments, cwd=directory, forked=forked)
    yield server
    assert server.stop() == 0


Call = Callable[..., Reply | Stream]


def make_app(config: dict[str, Any] | None = None, directory: Path | None = None) -> App:
    """Compile a configuration; ``directory`` has the files that it names."""
    if directory is None:
        loaded, problems = load(config or {}, {}, {})
    else:
        file = directory / "config.json"
        file.write_bytes(orjson.dumps(config))
        loaded, problems = load(file, {}, {})
    assert problems == []
    name = loaded.settings.server.runtime
    return build(replace(loaded, runtimes=(RUNTIMES[name],) if name in RUNTIMES else ()))


def joined_shares(workers: int) -> list[Share]:
    """Return the views that so many workers of one server have of its shared block."""
    numbers = shared_numbers(workers)
    shares = [Share(numbers) for _ in range(workers)]
    for worker, share in enumerate(shares):
        share.join(numbers, worker)
    return shares


@functools.cache
def default_app() -> App:
    """Return the App without any configuration; a third of all Apps would be one."""
    return make_app()


def posting(app: App) -> Call:
    """Return a function that posts to an App."""

    def post(path: str, body: Any = b"", method: str = "POST", headers: dict[str, str] = KEY) -> Reply | Stream:
        sent = body if isinstance(body, str | bytes) else orjson.dumps(body)
        return app.handle(Request(method, path, headers, sent))

    return post


def examples(most: int, **options: Any) -> settings:
    """Return settings of hypothesis for a property test: up to ``most`` examples, a quarter for ``make unit``."""
    divisor = int(os.environ.get("EXAMPLES_DIVISOR", "1"))
    return settings(max_examples=max(most // divisor, 5), deadline=None, **options)


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Poll until something is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.01)
    return true()


_HICCUP = 0.05  # seconds that a thread which only sleeps comes late by, where the machine did something else
_ATTEMPTS = 6


def undisturbed(test: Callable[..., None]) -> Callable[..., None]:
    """Judge a test of times only where the machine kept time itself; ``make test`` runs these after all others.

    A thread that only sleeps is the witness: where it came late too, a failure is tried again, and the last one counts.
    """

    @functools.wraps(test)
    def judged(*args: Any, **kwargs: Any) -> None:
        for attempt in range(_ATTEMPTS):
            worst, ended = 0.0, threading.Event()

            def witness() -> None:
                nonlocal worst
                while not ended.is_set():  # noqa: B023 - it ends with its round
                    before = time.monotonic()
                    time.sleep(0.01)
                    worst = max(worst, time.monotonic() - before - 0.01)

            thread = threading.Thread(target=witness)
            thread.start()
            try:
                test(*args, **kwargs)
                return
            except AssertionError:
                if worst < _HICCUP or attempt + 1 == _ATTEMPTS:
                    raise
                time.sleep(attempt)  # what disturbed it may be over soon
            finally:
                ended.set()
                thread.join()

    return pytest.mark.timed(judged)


def command(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``fastmock`` until it ends; ``env`` is added to its environment, which is otherwise nearly empty."""
    process = launcher().start(arguments, cwd, {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | (env or {}))
    with process.stdout, process.stderr, ThreadPoolExecutor(1) as other:
        errors = other.submit(process.stderr.read)
        output = process.stdout.read()
    return subprocess.CompletedProcess(arguments, process.wait(20), output, errors.result())
