"""Send requests whose values are all new, for a long time, and measure memory growth: ``make soak``.

After the first minutes, in which bounded caches fill up, a line is fitted to the memory of each process: its
proportional set size without the pages of files (a worker keeps the last 16 MiB of responses in one). The exit code is
1 if a process grows faster than the limit, a worker has died or a request has failed.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import orjson

from benchmarks.http_client import HttpConnection, HttpRequest, HttpResponse, ResponseCutError
from benchmarks.target import RICH_CONFIG, Target

CONNECTIONS = 4
TIMEOUT = 10.0
SAMPLE_INTERVAL = 10.0
SETTLE_MINUTES = 5.0
LIMIT = 0.1  # MiB a minute
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class Report:
    """The measurements of a run."""

    minutes: float
    settle_minutes: float
    limit: float
    samples: dict[int, list[tuple[float, float]]] = field(default_factory=dict)  # minutes and MiB by process
    statuses: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    dead_workers: list[int] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    parent: int = 0

    def growth(self, pid: int) -> float:
        """Fit a line to the memory of a process after the first minutes; return its slope in MiB a minute."""
        return slope([sample for sample in self.samples[pid] if sample[0] >= self.settle_minutes])

    @property
    def failed(self) -> bool:
        grows = any(self.growth(pid) > self.limit for pid in self.samples)
        return grows or bool(self.failures or self.dead_workers or self.tracebacks)

    def __str__(self) -> str:
        total = self.statuses.total()
        lines = [f"{total} requests in {self.minutes:g} minutes: {dict(sorted(self.statuses.items()))}"]
        for pid, samples in self.samples.items():
            name = "parent" if pid == self.parent else "worker"
            settled = [size for minute, size in samples if minute >= self.settle_minutes]
            span = f"{settled[0]:.1f} to {settled[-1]:.1f} MiB" if settled else "no samples"
            lines.append(f"{name} {pid}: {span}, {self.growth(pid):+.3f} MiB a minute (limit {self.limit:g})")
        lines.append(f"failures: {dict(self.failures)}; dead workers: {self.dead_workers}")
        return "\n".join([*lines, *self.tracebacks[:5]])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a line fitted by least squares; 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0


class NewRequests:
    """Draws requests that were never sent before: each has its own model, words, key, session, tools and schema."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)
        self._seed, self._number = seed, 0
        self._makers: list[tuple[float, Callable[[], HttpRequest]]] = [
            (4, self._chat),
            (2, self._chat_with_tools),
            (2, self._chat_with_schema),
            (3, self._response),
            (1, self._conversation),
            (2, self._message),
            (1, self._completion),
            (1, self._embedding),
            (1, self._moderation),
            (1, self._unknown_path),
            (1, self._list),
        ]

    def __next__(self) -> HttpRequest:
        self._number += 1
        make = self._random.choices(self._makers, [weight for weight, _ in self._makers])[0][1]
        return make()

    def word(self) -> str:
        """Draw a word that has almost certainly not occurred before."""
        return "".join(self._random.choices(_ALPHABET, k=12))

    def post(self, path: str, body: dict[str, Any]) -> HttpRequest:
        """Complete a request with its own key, session and control headers."""
        name = f"{self._seed}-{self._number}"
        headers = [("authorization", f"Bearer s{name}:sk-{name}"), ("x-request-id", name), ("user-agent", self.word())]
        if self._random.random() < 0.3:
            headers.append(("x-fastmock-session", name))
        if self._random.random() < 0.1:
            headers.append(("x-fastmock-ttft-ms", f"{self._random.random():.6f}"))
        return HttpRequest("POST", path, headers, orjson.dumps(body))

    def _text(self) -> str:
        return " ".join(self.word() for _ in range(self._random.randint(1, 20)))

    def _model(self) -> str:
        return self._random.choice(("gpt-4o", f"model-{self.word()}", "paced-model"))

    def _chat_body(self) -> dict[str, Any]:
        body = {"model": self._model(), "messages": [{"role": "user", "content": self._text()}]}
        extra = {
            "stream": True,
            "store": True,
            "user": self.word(),
            "metadata": {self.word(): self.word()},
            "stop": [self.word()],
        }
        return body | {name: value for name, value in extra.items() if self._random.random() < 0.4}

    def _chat(self) -> HttpRequest:
        return self.post("/v1/chat/completions", self._chat_body())

    def _schema(self) -> dict[str, Any]:
        names = [self.word() for _ in range(self._random.randint(1, 5))]
        properties = {name: {"type": self._random.choice(("string", "integer", "boolean"))} for name in names}
        return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}

    def _chat_with_tools(self) -> HttpRequest:
        tool = {"type": "function", "function": {"name": self.word(), "parameters": self._schema()}}
        return self.post("/v1/chat/completions", self._chat_body() | {"tools": [tool], "tool_choice": "required"})

    def _chat_with_schema(self) -> HttpRequest:
        schema = {"name": self.word(), "strict": True, "schema": self._schema()}
        form = {"type": "json_schema", "json_schema": schema}
        return self.post("/v1/chat/completions", self._chat_body() | {"response_format": form})

    def _response(self) -> HttpRequest:
        body = {"model": self._model(), "input": self._text(), "metadata": {self.word(): "1"}}
        return self.post("/v1/responses", body | {"stream": self._random.random() < 0.3})

    def _conversation(self) -> HttpRequest:
        item = {"type": "message", "role": "user", "content": self._text()}
        return self.post("/v1/conversations", {"items": [item], "metadata": {self.word(): "1"}})

    def _message(self) -> HttpRequest:
        messages = [{"role": "user", "content": self._text()}]
        return self.post("/v1/messages", {"model": self._model(), "max_tokens": 100, "messages": messages})

    def _completion(self) -> HttpRequest:
        return self.post("/v1/completions", {"model": self._model(), "prompt": self._text()})

    def _embedding(self) -> HttpRequest:
        return self.post("/v1/embeddings", {"model": self._model(), "input": [self._text()], "dimensions": 64})

    def _moderation(self) -> HttpRequest:
        return self.post("/v1/moderations", {"input": self._text()})

    def _unknown_path(self) -> HttpRequest:
        return self.post(f"/v1/{self.word()}/{self.word()}?{self.word()}=1", {})

    def _list(self) -> HttpRequest:
        target = self._random.choice(
            ("/metrics", "/v1/chat/completions?limit=5", "/fastmock/requests?limit=5", "/v1/models")
        )
        return HttpRequest("GET", target, [("authorization", f"Bearer sk-{self.word()}")])


class _Driver(threading.Thread):
    """Sends new requests at a rate over one connection, and follow-ups for the objects they create."""

    def __init__(self, port: int, seed: str, rate: float, end: float, report: Report, lock: threading.Lock) -> None:
        super().__init__(daemon=True)
        self._port, self._pause, self._end = port, 1 / rate, end
        self._requests, self._random = NewRequests(seed), Random(seed)
        self._seed, self._report, self._lock = seed, report, lock
        self._connection: HttpConnection | None = None
        self._rules = 0

    def run(self) -> None:
        due = time.monotonic()
        while due < self._end:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._pause, time.monotonic() - 1)
            draw = self._random.random()
            try:
                if draw < 0.02:
                    self._abort_stream()
                elif draw < 0.023:
                    self._add_and_remove_rule()
                else:
                    self._follow(self._send(next(self._requests)))
            except (OSError, ResponseCutError, ValueError) as error:
                self._connection = None
                with self._lock:
                    self._report.failures[f"{type(error).__name__} {error}"] += 1

    def _send(self, request: HttpRequest) -> HttpResponse:
        if self._connection is None or not self._connection.keeps_alive or self._random.random() < 0.01:
            if self._connection is not None:
                self._connection.close()
            self._connection = HttpConnection(self._port, TIMEOUT)
        response = self._connection.exchange(request)
        with self._lock:
            self._report.statuses[str(response.status)] += 1
            if response.status >= 500 or response.status == 400:
                self._report.failures[f"{request.target[:40]} {response.status} {response.body[:200]!r}"] += 1
        return response

    def _follow(self, response: HttpResponse) -> None:
        """Retrieve a new object, and delete half of them."""
        if not response.body.startswith((b'{"id":"resp_', b'{"id":"conv_')):
            return
        created = response.body[7 : response.body.find(b'"', 7)].decode()
        path = f"/v1/{'responses' if created.startswith('resp_') else 'conversations'}/{created}"
        headers = [("authorization", "Bearer sk-soak")]
        self._send(HttpRequest("GET", path, headers))
        if self._random.random() < 0.5:
            self._send(HttpRequest("DELETE", path, headers))

    def _abort_stream(self) -> None:
        """Start to read a stream and disconnect."""
        messages = [{"role": "user", "content": self._requests.word()}]
        body = {"model": "paced-model", "messages": messages, "stream": True}
        request = self._requests.post("/v1/chat/completions", body)
        request.headers += [("x-fastmock-itl-ms", "20"), ("x-fastmock-output-tokens", "50")]
        with HttpConnection(self._port, TIMEOUT) as connection:
            connection.send(request)
            connection.read_until(200)

    def _add_and_remove_rule(self) -> None:
        self._rules += 1
        name = f"soak-{self._seed}-{self._rules}"
        rule = {"id": name, "match": {"content": self._requests.word()}, "content": self._requests.word()}
        headers: list[tuple[str, str]] = []
        self._send(HttpRequest("POST", "/fastmock/rules", headers, orjson.dumps(rule)))
        self._send(HttpRequest("DELETE", f"/fastmock/rules/{name}", headers))


def soak(directory: Path, runtime: str, workers: int, rate: float, report: Report) -> None:
    """Fill a report: start a server, load it for the report's duration and sample its memory.

    Args:
        directory: the directory for the server's configuration and output.
        runtime: the server's runtime.
        workers: the number of its workers.
        rate: requests per second, over all connections.
        report: sets the duration.
    """
    lock = threading.Lock()
    with Target(directory, RICH_CONFIG, "--runtime", runtime, "--workers", str(workers)) as target:
        time.sleep(1)  # until all workers have started
        report.parent, first = target.process.pid, target.workers()
        started = time.monotonic()
        end = started + report.minutes * 60
        drivers = [_Driver(target.port, str(n), rate / CONNECTIONS, end, report, lock) for n in range(CONNECTIONS)]
        for driver in drivers:
            driver.start()
        due = started
        while (due := due + SAMPLE_INTERVAL) <= end:
            time.sleep(max(0.0, due - time.monotonic()))
            for pid, size in target.pss(files=False).items():
                report.samples.setdefault(pid, []).append(((time.monotonic() - started) / 60, size))
        for driver in drivers:
            driver.join(TIMEOUT * 3)
        report.dead_workers = [pid for pid in first if pid not in target.workers()]
        report.tracebacks = target.tracebacks()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="duration in minutes (30)")
    parser.add_argument(
        "--settle", type=float, default=SETTLE_MINUTES, help="minutes before the measurement starts (5)"
    )
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help="maximum growth of each process in MiB a minute (0.1)"
    )
    parser.add_argument("--rate", type=float, default=600, help="requests per second (600)")
    parser.add_argument(
        "--runtime", choices=("granian", "robyn"), default="granian", help="runtime of the server (granian)"
    )
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server (2)")
    parser.add_argument("--samples", type=Path, help="write the samples to this file, as JSON")
    arguments = parser.parse_args()
    report = Report(arguments.minutes, arguments.settle, arguments.limit)
    with tempfile.TemporaryDirectory(prefix="fastmock-soak-") as directory:
        soak(Path(directory), arguments.runtime, arguments.workers, arguments.rate, report)
    print(report)
    if arguments.samples:
        arguments.samples.write_bytes(orjson.dumps(report.samples, option=orjson.OPT_NON_STR_KEYS))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
