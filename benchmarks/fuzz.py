"""Send generated and mutated requests to a server and report every failure: ``make fuzz``.

Failures are: a 5xx that was not requested, a response that takes longer than five seconds or never ends, a dead worker,
and a traceback on standard error. The exit code is 1 if there is any.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import orjson

from benchmarks.fuzz_requests import RequestGenerator
from benchmarks.http_client import HttpConnection, HttpRequest, HttpResponse, ResponseCutError
from benchmarks.request_types import COMPLETION_ID, CONVERSATION_ID, ITEM_ID, RESPONSE_ID
from benchmarks.shrink import shrunk
from benchmarks.target import RICH_CONFIG, Target

SLOW = 5.0  # seconds after which a request is a finding
GIVE_UP = 20.0  # seconds without a byte after which its connection is abandoned
CONNECTIONS = 8
MEMORY_LIMIT = 8 << 30  # address space of each process, so that a costly request does not take the machine down
MAX_EXAMPLES = 20  # failures that are shown with their requests
MAX_KNOWN_IDS = 50
_SAMPLING = 0.5  # seconds between samples of the workers
_PREFIXES = {"resp_": RESPONSE_ID, "conv_": CONVERSATION_ID, "chatcmpl-": COMPLETION_ID, "msg_": ITEM_ID}


@dataclass
class Finding:
    """A request and the failure of its response."""

    kind: str
    request: HttpRequest
    detail: str


@dataclass
class Report:
    """The findings of a run."""

    requests: int = 0
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    examples: list[Finding] = field(default_factory=list)  # one of each form, the 5xx shrunk
    dead_workers: list[int] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    peak_pss: dict[int, float] = field(default_factory=dict)
    slowest: float = 0.0
    slowest_request: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def failed(self) -> bool:
        return bool(self.findings or self.dead_workers or self.tracebacks)

    def __str__(self) -> str:
        statuses = ", ".join(f"{status} × {count}" for status, count in sorted(self.statuses.items()))
        sizes = ", ".join(f"{pid}: {size:.1f}" for pid, size in self.peak_pss.items())
        lines = [
            f"{self.requests} requests in {self.seconds:.0f} s ({self.requests / max(self.seconds, 0.001):.0f} a second)",
            f"statuses: {statuses}",
            f"slowest: {self.slowest:.2f} s ({self.slowest_request})",
            f"peak PSS in MiB: {sizes}",
            f"findings: {len(self.findings)}; dead workers: {self.dead_workers}; tracebacks: {len(self.tracebacks)}",
        ]
        kinds = Counter(f"{finding.kind} {finding.detail[:100]}" for finding in self.findings)
        lines += [f"  {count} × {kind}" for kind, count in kinds.most_common(30)]
        for finding in self.examples:
            request = finding.request
            lines += [
                f"--- {finding.kind}: {request.method} {request.target[:200]}",
                f"    {request.headers} chunks of {request.chunk_size}",
                f"    {request.body[:1500]!r}",
                f"    -> {finding.detail[:500]}",
            ]
        return "\n".join([*lines, *self.tracebacks[:10]])


class KnownIds:
    """Ids issued by the server, which later requests use in place of the placeholders."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)
        self._ids: dict[str, list[str]] = {placeholder: [] for placeholder in _PREFIXES.values()}

    def learn(self, body: bytes) -> None:
        """Keep the id in a response's body."""
        if not body.startswith(b'{"id":"'):
            return
        issued = body[7 : body.find(b'"', 7)].decode("latin-1")
        for prefix, placeholder in _PREFIXES.items():
            if issued.startswith(prefix):
                known = self._ids[placeholder]
                if len(known) >= MAX_KNOWN_IDS:
                    known.pop(self._random.randrange(len(known)))
                known.append(issued)

    def fill(self, request: HttpRequest) -> None:
        """Replace the placeholders in a request."""
        if "@" in request.target:
            for placeholder, known in self._ids.items():
                if placeholder in request.target:
                    request.target = request.target.replace(placeholder, self._one(known))
        if b"@" in request.body:
            for placeholder, known in self._ids.items():
                name = placeholder.encode()
                if name in request.body:
                    request.body = request.body.replace(name, self._one(known).encode())

    def _one(self, known: list[str]) -> str:
        return self._random.choice(known) if known else "unknown"


def judge(request: HttpRequest, response: HttpResponse, seconds: float) -> str:
    """Name the failure of a response; empty without one."""
    if seconds > SLOW:
        return "slow"
    asked = any(name in ("x-fastmock-fault", "x-fastmock-status") for name, _ in request.headers)
    if response.status >= 500 and not (asked and "x-fastmock-fault" in response.headers):
        return "5xx"
    return ""


class _Driver(threading.Thread):
    """Sends requests over one keep-alive connection."""

    def __init__(self, port: int, requests: RequestGenerator, seed: str, count: int, report: Report) -> None:
        super().__init__(daemon=True)
        self._port, self._requests, self._count, self._report = port, requests, count, report
        self._ids = KnownIds(seed)
        self._statuses: Counter[str] = Counter()
        self._slowest, self._slowest_request = 0.0, HttpRequest("", "")
        self.sent = 0

    def run(self) -> None:
        connection: HttpConnection | None = None
        for _ in range(self._count):
            request = next(self._requests)
            self._ids.fill(request)
            started = time.monotonic()
            try:
                connection, response = self._exchange(connection, request)
            except (OSError, ResponseCutError, ValueError) as error:
                self._failed(request, error, time.monotonic() - started)
                self._close(connection)
                connection = None
                continue
            seconds = time.monotonic() - started
            if seconds > self._slowest:
                self._slowest, self._slowest_request = seconds, request
            self.sent += 1
            self._statuses[str(response.status)] += 1
            self._ids.learn(response.body)
            if kind := judge(request, response, seconds):
                detail = f"{response.status} after {seconds:.1f} s {response.body[:300]!r}"
                self._found(Finding(kind, request, detail))
            if not connection.keeps_alive:
                self._close(connection)
                connection = None
        self._close(connection)
        with self._report.lock:
            self._report.statuses += self._statuses
            if self._slowest > self._report.slowest:
                request = self._slowest_request
                self._report.slowest = self._slowest
                self._report.slowest_request = f"{request.method} {request.target[:100]} {request.body[:300]!r}"

    def _exchange(self, connection: HttpConnection | None, request: HttpRequest) -> tuple[HttpConnection, HttpResponse]:
        """Send a request; if the server has closed the kept connection meanwhile, send it again on a new one."""
        if connection is not None:
            try:
                return connection, connection.exchange(request)
            except (ConnectionError, ResponseCutError):
                if connection.has_received:
                    raise
                connection.close()
                self._statuses["reconnected"] += 1
        connection = HttpConnection(self._port, GIVE_UP)
        return connection, connection.exchange(request)

    def _failed(self, request: HttpRequest, error: Exception, seconds: float) -> None:
        """Record a request without a complete response, unless it requested a fault or could not be understood."""
        name = type(error).__name__
        self._statuses[name] += 1
        self.sent += 1
        if seconds < SLOW and any(name.startswith("x-fastmock-fault") for name, _ in request.headers):
            return
        self._found(Finding("no response", request, f"{name} {error} after {seconds:.1f} s"))

    @staticmethod
    def _close(connection: HttpConnection | None) -> None:
        if connection is not None:
            connection.close()

    def _found(self, finding: Finding) -> None:
        with self._report.lock:
            self._report.findings.append(finding)


def fuzz(directory: Path, runtime: str, workers: int, requests: int, seed: int, costly: float = 0.0) -> Report:
    """Start a server, send it ``requests`` requests and report the failures.

    Args:
        directory: the directory for the server's configuration and output.
        runtime: the server's runtime.
        workers: the number of its workers.
        requests: the number of requests, over all connections.
        seed: the same seed sends the same requests, except for the ids issued by the server.
        costly: share of requests for as much work as possible.
    """
    report = Report(requests)
    flags = ("--runtime", runtime, "--workers", str(workers))
    with Target(directory, RICH_CONFIG, *flags, memory_limit=MEMORY_LIMIT) as target:
        first = _started_workers(target, workers)
        share, rest = divmod(requests, CONNECTIONS)
        drivers = []
        for number in range(CONNECTIONS):
            own_seed = f"{seed}:{number}"
            generator = RequestGenerator(own_seed, runtime, costly=costly)
            drivers.append(_Driver(target.port, generator, own_seed, share + (number < rest), report))
        started = time.monotonic()
        for driver in drivers:
            driver.start()
        ended = threading.Event()
        sampler = threading.Thread(target=_sample, args=(target, report, ended))
        sampler.start()
        for driver in drivers:
            driver.join()
        if (sent := sum(driver.sent for driver in drivers)) != requests:
            raise RuntimeError(f"only {sent} of {requests} requests were sent")
        report.seconds = time.monotonic() - started
        ended.set()
        sampler.join()
        report.dead_workers = [pid for pid in first if pid not in target.workers()]
        report.examples = list(_examples(target.port, report.findings))
        report.tracebacks = target.tracebacks()
    return report


def _started_workers(target: Target, count: int) -> list[int]:
    deadline = time.monotonic() + 10
    while len(workers := target.workers()) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return workers


def _sample(target: Target, report: Report, ended: threading.Event) -> None:
    """Record the peak memory of each process."""
    while not ended.wait(_SAMPLING):
        for pid, size in target.pss().items():
            report.peak_pss[pid] = max(size, report.peak_pss.get(pid, 0.0))


def _examples(port: int, findings: list[Finding]) -> Iterator[Finding]:
    """Yield one finding of each kind, endpoint and detail; a 5xx that recurs when sent alone is shrunk."""
    seen: set[tuple[str, str, str, str]] = set()
    for finding in findings:
        request = finding.request
        path = request.target.partition("?")[0]
        form = finding.kind, request.method, "/".join(path.split("/")[:3]), finding.detail[:30]
        if form in seen or len(seen) >= MAX_EXAMPLES:
            continue
        seen.add(form)

        def fails(request: HttpRequest) -> bool:
            try:
                with HttpConnection(port, SLOW) as connection:
                    return judge(request, connection.exchange(request), 0) == "5xx"
            except (OSError, ResponseCutError, ValueError):
                return False

        if finding.kind == "5xx":
            request = shrunk(request, fails)
        yield Finding(finding.kind, request, finding.detail)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000, help="number of requests (200,000)")
    parser.add_argument(
        "--runtime", choices=("granian", "robyn"), default="granian", help="runtime of the server (granian)"
    )
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server (2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the requests (0)")
    parser.add_argument("--costly", type=float, default=0.0, help="share of costly requests (0)")
    parser.add_argument("--json", type=Path, help="write the examples to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fastmock-fuzz-") as directory:
        options = (arguments.runtime, arguments.workers, arguments.requests, arguments.seed, arguments.costly)
        report = fuzz(Path(directory), *options)
    print(report)
    if arguments.json:
        found = [
            {"kind": one.kind, "detail": one.detail, "request": one.request.encode().decode("latin-1")}
            for one in report.examples
        ]
        arguments.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
