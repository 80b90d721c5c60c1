"""Servers started the way the README says, and a configured App without any."""

import functools
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from fastmock.app import App
from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Reply, Request, Stream
from fastmock.server import trial
from fastmock.server.runtimes.select import RUNTIMES

ROOT = Path(__file__).parent.parent
KEY = {"authorization": "Bearer sk-test"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m unit`` leave modules alone that need sockets throughout: their SDKs take seconds to import."""
    if config.option.markexpr == "unit" and collection_path.suffix == ".py":
        return "pytestmark = pytest.mark.integration" in collection_path.read_text() or None
    return None


class Server:
    """A running ``fastmock`` command."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: dict[str, str] | None = None,
        started: Callable[[int], None] = lambda pid: None,
    ) -> None:
        """Start it; ``started`` is called with its process, long before it listens."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("FASTMOCK_", "MOCK_OPENAI_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fastmock", "--port", "0", *arguments],
            cwd=cwd,
            env=clean | {"PYTHONPATH": str(ROOT)} | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started(self.process.pid)
        self.errors: list[str] = []
        self.lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._error_reader = threading.Thread(target=self._read_errors, daemon=True)
        self._error_reader.start()
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
                self.stop()
                raise RuntimeError(f"the server did not start: {self.greeting}{''.join(self.errors)}")
            self.greeting += line
        found = re.search(r"listening on +(http\S+)/v1", self.greeting)
        assert found
        self.url = found[1]
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
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(40)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                self._error_reader.join(5)
                stream.close()
        return code


@contextmanager
def serving(directory: Path, config: dict[str, Any], *arguments: str) -> Iterator[Server]:
    """Start a server, for the tests of a whole module."""
    (directory / "config.json").write_bytes(orjson.dumps(config))
    server = Server(*arguments, cwd=directory)
    yield server
    assert server.stop() == 0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers; they are stopped when the test ends."""
    servers: list[Server] = []

    def start(config: dict[str, Any] | None = None, *arguments: str, **options: Any) -> Server:
        if config is not None:
            file = tmp_path / f"config{len(servers)}.json"
            file.write_bytes(orjson.dumps(config))
            arguments = ("--config", str(file), *arguments)
        servers.append(Server(*arguments, **{"cwd": tmp_path} | options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


Call = Callable[..., Reply | Stream]


def make_app(config: dict[str, Any] | None = None, directory: Path | None = None) -> App:
    """Compile a configuration given as a dictionary."""
    if config is None:
        loaded, problems = load(None, {}, {}, directory or Path("/nonexistent"))
    else:
        assert directory
        file = directory / "config.json"
        file.write_bytes(orjson.dumps(config))
        loaded, problems = load(file, {}, {})
    assert problems == []
    name = loaded.settings.server.runtime
    return build(replace(loaded, runtimes=(RUNTIMES[name],) if name in RUNTIMES else ()))


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., Call]:
    """Return a function that compiles a configuration into a function that posts to it."""

    def configured(config: dict[str, Any] | None = None) -> Call:
        app = make_app(config, tmp_path)

        def post(path: str, body: Any = b"", method: str = "POST", headers: dict[str, str] = KEY) -> Reply | Stream:
            sent = body if isinstance(body, str | bytes) else orjson.dumps(body)
            return app.handle(Request(method, path, headers, sent))

        return post

    return configured


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Poll until something is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.01)
    return true()


_HICCUP = 0.05  # seconds that a thread which only sleeps comes late by, where the machine did something else
_ATTEMPTS = 4


def undisturbed(test: Callable[..., None]) -> Callable[..., None]:
    """Have a test of times judged only where the machine kept time itself.

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
            finally:
                ended.set()
                thread.join()

    return judged


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run ``fastmock`` until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "fastmock", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
