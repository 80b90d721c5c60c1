"""Change the configuration of a server under load, thousands of times, in valid and in broken ways: ``make changes``.

The server must survive every change, answer all plain requests meanwhile, answer each control call in time, refuse
broken changes and apply valid ones. Otherwise the exit code is 1. After a change that the server did not survive or
answer, another server is started, so that one run reports all failing kinds.
"""

import argparse
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks.change_cases import Change, ChangeGenerator
from benchmarks.change_files import base_config, dumped, prepare_directory, writes
from benchmarks.http_client import HttpConnection, HttpRequest, HttpResponse, ResponseCutError
from benchmarks.target import Target

CALL_LIMIT = 15.0  # maximum seconds for a control call
REQUEST_LIMIT = 5.0  # maximum seconds for a plain request
RELOAD_LIMIT = 15.0  # maximum seconds from SIGHUP until a valid file is active
CONNECTIONS = 4
RESET_EVERY = 40  # changes, so that the number of rules stays small
MEMORY_LIMIT = 4 << 30  # of each process, so that an endless file does not take the machine down
RECURSION_LIMIT = 10_000  # enough to serialize the deepest rule
_PAUSE = 0.004  # seconds between the requests of a connection
_POLL = 0.01


@dataclass
class Report:
    """The findings of a run."""

    changes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    failed_requests: Counter[str] = field(default_factory=Counter)
    before: str = ""  # the kind of the change before this one
    slowest_call: float = 0.0
    slowest_kind: str = ""
    slowest_request: float = 0.0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return bool(self.failures or self.failed_requests)

    def fail(self, change: Change, what: str, detail: str = "") -> None:
        """Count a failure, and keep one example of each kind."""
        name = f"{change.kind}: {what}"
        self.failures[name] += 1
        self.examples.setdefault(
            name, f"{change.method} {change.path} {change.body[:300]!r} {detail[:300]}; before it: {self.before}"
        )

    def __str__(self) -> str:
        statuses = ", ".join(f"{status} × {count}" for status, count in sorted(self.statuses.items()))
        lines = [
            f"{self.changes.total()} changes of {len(self.changes)} kinds in {self.seconds:.0f} s; calls: {statuses}",
            f"slowest call: {self.slowest_call:.2f} s ({self.slowest_kind})",
            f"plain requests: {self.requests}, slowest {self.slowest_request:.2f} s, failed: {dict(self.failed_requests)}",
            f"failures: {self.failures.total()}",
        ]
        for name, count in self.failures.most_common():
            lines += [f"  {count} × {name}", f"      {self.examples[name]}"]
        return "\n".join(lines)


class Load:
    """Plain requests over several keep-alive connections; failures can be ignored for a while."""

    def __init__(self, report: Report) -> None:
        self._report, self._lock = report, threading.Lock()
        self._ended = threading.Event()
        self._port = 0
        self._change = "the start"
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CONNECTIONS)]

    def start(self, port: int) -> None:
        """Send to a port from now on."""
        self._port = port
        if not self._threads[0].is_alive():
            for thread in self._threads:
                thread.start()

    def pause(self) -> None:
        """Send nothing and count no failures until the next ``start``: the server is known to be down."""
        self._port = 0

    def during(self, change: Change) -> None:
        """Set the change that failures are attributed to from now on."""
        self._change = change.kind

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self) -> None:
        body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "ping"}]})
        request = HttpRequest("POST", "/v1/chat/completions", [("authorization", "Bearer sk-load")], body)
        connection: HttpConnection | None = None
        used_port = 0
        while not self._ended.wait(_PAUSE):
            port, change = self._port, self._change
            if port != used_port and connection is not None:
                connection.close()
                connection = None
            if port == 0:
                continue
            used_port = port
            started, failure = time.monotonic(), ""
            try:
                connection = connection or HttpConnection(port, REQUEST_LIMIT)
                response = connection.exchange(request)
                if response.status != 200 or b"pong" not in response.body:
                    failure = f"status {response.status}"
            except (OSError, ResponseCutError, ValueError) as error:
                failure = type(error).__name__
                if connection is not None:
                    connection.close()
                connection = None
            self._count(time.monotonic() - started, f"{failure} during {change}" if failure else "", port)

    def _count(self, seconds: float, failure: str, port: int) -> None:
        with self._lock:
            self._report.requests += 1
            if failure and self._port == port:
                self._report.failed_requests[failure] += 1
            elif not failure:
                self._report.slowest_request = max(self._report.slowest_request, seconds)


class ServerLostError(Exception):
    """The server is down or no longer responds."""


class _Run:
    """One server and the changes made to it."""

    def __init__(self, target: Target, report: Report, reload_value: str) -> None:
        self._target, self._report = target, report
        self._in_force = reload_value
        self._count = 0

    def make(self, change: Change) -> None:
        """Apply a change and check the outcome.

        Raises:
            ServerLostError: the server did not survive it.
        """
        if change.write is not None:
            self._reload(change)
        else:
            self._call(change)
        if not self._target.is_alive():
            raise ServerLostError(f"the server ended with {self._target.process.returncode}")
        self._report.before = change.kind
        self._count += 1
        if self._count % RESET_EVERY == 0:
            self._call(Change("reset", "valid", "POST", "reset", b""))

    def _call(self, change: Change) -> None:
        started = time.monotonic()
        response = self._exchange(change.method, f"/fastmock/{change.path}", change.body)
        seconds = time.monotonic() - started
        report = self._report
        report.statuses[response.status] += 1
        if seconds > report.slowest_call:
            report.slowest_call, report.slowest_kind = seconds, change.kind
        detail = f"-> {response.status} {response.body.decode(errors='replace')}"
        if seconds > CALL_LIMIT:
            report.fail(change, f"took longer than {CALL_LIMIT:.0f} s", detail)
        refused = 400 <= response.status < 500 or response.status == 503
        if response.status != 200 and not refused:
            report.fail(change, f"status {response.status}", detail)
        elif change.expected == "valid" and response.status != 200:
            report.fail(change, "valid but refused", detail)
        elif change.expected == "broken" and response.status == 200:
            report.fail(change, "broken but accepted", detail)
        elif response.status == 200:
            self._check_in_force(change)

    def _check_in_force(self, change: Change) -> None:
        if change.probe and (answer := self._probe(change.probe[0])) != change.probe[1]:
            self._report.fail(change, "valid but not active", f"got {answer!r}")
        if change.setting:
            path, expected = change.setting
            value: Any = orjson.loads(self._exchange("GET", "/fastmock/config").body)
            for name in path:
                value = value[name]
            if isinstance(value, dict) and value.get("distribution") == "constant":
                value = value["mean"]  # the form in which a number of milliseconds is shown
            if value != expected:
                self._report.fail(change, "valid but not active", f"got {value!r}, not {expected!r}")

    def _reload(self, change: Change) -> None:
        """Write the file and reload it; a valid one must be applied, a broken one must change nothing."""
        assert change.write is not None
        change.write(self._target.config)
        begin = self._target.errors_size()
        self._target.process.send_signal(signal.SIGHUP)
        try:
            outcome = self._reload_outcome(begin)
            if not outcome:
                self._report.fail(change, "no log line about the reload")
            answer = self._probe("reload probe")
            if change.expected == "valid" and (not change.probe or answer != change.probe[1]):
                self._report.fail(change, "valid but not active", f"{outcome!r}, got {answer!r}")
            elif change.expected == "broken" and answer != self._in_force:
                self._report.fail(change, "broken but active", f"{outcome!r}, got {answer!r}, not {self._in_force!r}")
            self._in_force = answer
        finally:
            writes(dumped(base_config(self._in_force)))(self._target.config)

    def _reload_outcome(self, begin: int) -> str:
        """Wait for the log line about the reload; return it, or an empty string if it does not come in time.

        Raises:
            ServerLostError: the server has ended.
        """
        deadline = time.monotonic() + RELOAD_LIMIT
        while time.monotonic() < deadline:
            if found := re.search(r"^.*\breloaded:.*$", self._target.errors(begin), re.M):
                return found[0]
            if not self._target.is_alive():
                raise ServerLostError(f"the server ended with {self._target.process.returncode}")
            time.sleep(_POLL)
        return ""

    def _probe(self, message: str) -> str:
        body = dumped({"model": "gpt-4o", "messages": [{"role": "user", "content": message}]})
        response = self._exchange("POST", "/v1/chat/completions", body)
        content: Any = (
            orjson.loads(response.body)["choices"][0]["message"]["content"] if response.status == 200 else None
        )
        return str(content)

    def _exchange(self, method: str, path: str, body: bytes = b"") -> HttpResponse:
        """Exchange on a new connection, because it may have to be abandoned.

        Raises:
            ServerLostError: there is no response.
        """
        try:
            with HttpConnection(self._target.port, CALL_LIMIT + 1) as connection:
                return connection.exchange(HttpRequest(method, path, [("authorization", "Bearer sk-changes")], body))
        except (OSError, ResponseCutError, ValueError) as error:
            time.sleep(0.2)  # so that a server that is ending has ended
            ended = "" if self._target.is_alive() else f"; the server ended with {self._target.process.returncode}"
            raise ServerLostError(f"{type(error).__name__} {error}{ended}") from error


@contextmanager
def _started(directory: Path, runtime: str, attempt: int) -> Iterator[Target]:
    """Start a server in a directory of its own, with a configuration file that SIGHUP makes it reread."""
    place = directory / str(attempt)
    place.mkdir()
    prepare_directory(place)
    file = place / "config.yaml"
    file.write_bytes(dumped(base_config("reload 0")))
    with Target(place, file, "--runtime", runtime, "--workers", "2", memory_limit=MEMORY_LIMIT) as target:
        yield target


def change(directory: Path, runtime: str, count: int, seed: int, kinds: str = "") -> Report:
    """Apply ``count`` changes to a server under load and report the failures.

    Args:
        directory: the directory for the server's files.
        runtime: the server's runtime.
        count: the number of changes.
        seed: the same seed makes the same changes.
        kinds: only kinds whose name contains this; all if empty.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)
    report, changes = Report(), ChangeGenerator(seed, kinds)
    load = Load(report)
    started, made, attempt = time.monotonic(), 0, 0
    while made < count:
        attempt += 1
        with _started(directory, runtime, attempt) as target:
            run = _Run(target, report, "reload 0")
            load.start(target.port)
            while made < count:
                one = next(changes)
                made += 1
                report.changes[one.kind] += 1
                load.during(one)
                try:
                    run.make(one)
                except ServerLostError as error:
                    load.pause()
                    last = (target.errors().strip().splitlines() or [""])[-1]
                    report.fail(one, "the server is lost", f"{error}; last on standard error: {last[:200]}")
                    print(f"change {made}, {one.kind}: {error}: {last[:200]}; another server starts", file=sys.stderr)
                    target.kill()
                    break
            load.pause()
    load.stop()
    report.seconds = time.monotonic() - started
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=10_000, help="number of changes (10,000)")
    parser.add_argument(
        "--runtime", choices=("granian", "robyn"), default="granian", help="runtime of the server (granian)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the changes (0)")
    parser.add_argument("--kinds", default="", help="only kinds whose names contain this, such as 'costly'")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fastmock-changes-") as directory:
        report = change(Path(directory), arguments.runtime, arguments.changes, arguments.seed, arguments.kinds)
    print(report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
