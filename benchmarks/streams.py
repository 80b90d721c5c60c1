"""Measure thousands of paced streams: their lateness, the latencies that a client observes, losses, and memory per
stream.

A client of our own (asyncio, one process, one connection per stream) opens the streams over one second and records the
arrival times; it parses the data only at the end. Server and client are pinned to a core each. ``make streams`` runs
all measurements and writes ``streams.md`` and ``streams.svg``.
"""

import argparse
import asyncio
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast

from benchmarks.ratios import awake, machine, processes, running
from fastmock.content.filler import counter
from fastmock.server.supervisor import raise_open_files

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds, after which a stream is lost
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = str(CORES[0]), str(CORES[-1])

BODY = json.dumps({"model": "gpt-4", "stream": True, "messages": [{"role": "user", "content": "go"}]}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(BODY), BODY)
)


class Probe(asyncio.Protocol):
    """One stream: the data received, and when."""

    __slots__ = ("arrived", "data", "done", "sent")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.sent = 0.0
        self.data: list[bytes] = []
        self.arrived: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sent = time.perf_counter()
        cast(asyncio.Transport, transport).write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.arrived.append(time.perf_counter())
        self.data.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


@dataclass
class Seen:
    """One complete stream, in seconds."""

    ttft: float
    total: float
    gaps: list[float]


def read(probe: Probe, chunks: int) -> Seen | None:
    """Return the timing of a stream; None if a chunk is lost, reordered or duplicated, as the counted words show."""
    words = []
    times = []
    rest = b""
    for at, data in zip(probe.arrived, probe.data, strict=True):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b'data: {"') and b'"delta":{"content":"' in line:
                words.append(line.partition(b'"delta":{"content":"')[2].partition(b'"')[0].decode().strip())
                times.append(at)
    whole = b"".join(probe.data[-2:])
    if words != counter(chunks).split() or b"data: [DONE]" not in whole:
        return None
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return Seen(times[0] - probe.sent, times[-1] - probe.sent, gaps)


async def load(port: int, count: int, chunks: int, meanwhile: Callable[[], None]) -> list[Seen | None]:
    """Open ``count`` streams over one second and wait until all have ended; ``meanwhile`` is called when all
    are open.
    """
    loop = asyncio.get_running_loop()
    probes = []
    start = loop.time()
    for number in range(count):
        wait = start + number / count - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        probe = Probe(loop.create_future())
        await loop.create_connection(lambda probe=probe: probe, "127.0.0.1", port)  # type: ignore[misc]
        probes.append(probe)
    meanwhile()
    await asyncio.wait([probe.done for probe in probes], timeout=PATIENCE)
    return [read(probe, chunks) for probe in probes]


@dataclass
class Case:
    """Streams on a server; ``rounds`` gets the results of all streams, one list per round."""

    runtime: str
    count: int
    most: str  # maximum p99 of the total time, relative to the ideal
    latency: dict[str, Any] = field(default_factory=lambda: {"itl": 50})
    chunks: int = 40
    workers: int = 1
    rounds: list[list[Seen | None]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name in the report."""
        return f"{self.runtime.capitalize()}, {self.workers} workers" if self.workers > 1 else self.runtime.capitalize()

    @property
    def ideal(self) -> float:
        """Seconds that a stream should take after its first token."""
        return (self.chunks - 1) * float(self.latency["itl"]) / 1000

    def run(self, meanwhile: Callable[[int], None] = lambda _: None) -> None:
        """Run one round, on a new server; ``meanwhile`` is called with its process when all streams are open."""
        import uvloop

        with self.server() as (pid, port):
            os.sched_setaffinity(0, {int(CLIENT_CORE)})
            self.rounds.append(uvloop.run(load(port, self.count, self.chunks, lambda: meanwhile(pid))))
        os.sched_setaffinity(0, set(CORES))

    @contextmanager
    def server(self) -> Iterator[tuple[int, int]]:
        """Start a server and yield its process and port."""
        with tempfile.TemporaryDirectory() as name:
            config = Path(name) / "config.json"
            output = {"kind": "counter", "tokens": self.chunks}
            # Equal requests to a new server would draw equal latencies: each round has its own seed.
            config.write_text(json.dumps({"latency": self.latency, "output": output, "seed": len(self.rounds)}))
            command = [sys.executable, "-m", "fastmock", "--port", "PORT", "--config", str(config)]
            command += ["--runtime", self.runtime, "--workers", str(self.workers), "--log-level", "error"]
            cores = SERVER_CORE if self.workers == 1 else ",".join(map(str, CORES))
            with running(command, cores, {}) as (pid, port, _):
                yield pid, port

    def whole(self) -> list[Seen]:
        """Return the complete streams of all rounds."""
        return [seen for round_ in self.rounds for seen in round_ if seen]

    def row(self) -> str:
        """Return the row of the table; percentiles are medians over the rounds."""
        lost = sum(seen is None for round_ in self.rounds for seen in round_)
        rounds = [[seen for seen in round_ if seen] for round_ in self.rounds]
        lates = [(percentile([seen.total for seen in round_], 0.99) / self.ideal - 1) * 100 for round_ in rounds]
        first = median(median(seen.ttft for seen in round_) for round_ in rounds) * 1000
        gap = median(percentile([gap for seen in round_ for gap in seen.gaps], 0.99) for round_ in rounds) * 1000
        return (
            f"| {self.name} | {self.count:,} | {lost} | {first:.1f} | {gap:.1f} "
            f"| +{median(lates):.1f} % ({min(lates):.1f}–{max(lates):.1f}) | {self.most} |"
        )


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def pss(pid: int) -> float:
    """Return the proportional set size of a server with its workers, in KiB."""
    rollups = (Path(f"/proc/{process}/smaps_rollup").read_text() for process in processes(pid))
    return sum(float(found[1]) for text in rollups if (found := re.search(r"^Pss: +(\d+)", text, re.M)))


def memory_per_stream(count: int = 2000) -> float:
    """Return the memory of one open paced stream on Granian, including its connection, in KiB."""
    case = Case("granian", count, "", {"ttft": 100, "itl": 1000}, chunks=6)
    sizes: list[float] = []
    # The first round creates everything that is created only once, so that the second shows the cost of a stream.
    import uvloop

    with case.server() as (pid, port):
        for _ in range(2):
            before = pss(pid)
            uvloop.run(load(port, count, case.chunks, lambda before=before: sizes.append(pss(pid) - before)))  # type: ignore[misc]
    return sizes[0] / count


def lognormal_cdf(value: float, mean: float, std: float) -> float:
    sigma = math.sqrt(math.log1p((std / mean) ** 2))
    mu = math.log(mean) - sigma * sigma / 2
    return 0.5 * (1 + math.erf((math.log(value) - mu) / (sigma * math.sqrt(2)))) if value > 0 else 0.0


def kolmogorov_smirnov(values: Sequence[float], cdf: Callable[[float], float]) -> tuple[float, float]:
    """Return the distance between the values and their distribution, and its limit at a significance level of 0.01."""
    ordered, count = sorted(values), len(values)
    distance = max(
        max(cdf(value) - place / count, (place + 1) / count - cdf(value)) for place, value in enumerate(ordered)
    )
    return distance, 1.628 / math.sqrt(count)


def draw(file: Path, seen: dict[str, list[Seen]], ttft: tuple[float, float], itl: tuple[float, float]) -> None:
    """Plot the observed latencies, in milliseconds, next to the configured ones (lognormal: mean and standard
    deviation).
    """
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "fastmock", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3), layout="constrained")
    panels: list[tuple[str, tuple[float, float], Callable[[Seen], list[float]]]] = [
        ("time to first token, ms", ttft, lambda stream: [stream.ttft * 1000]),
        ("inter-token latency, ms", itl, lambda stream: [gap * 1000 for gap in stream.gaps]),
    ]
    for ax, (title, (mean, std), values) in zip(axes, panels, strict=True):
        ends = (max(0.0, mean - 3 * std), mean + 4 * std)
        xs = [ends[0] + (ends[1] - ends[0]) * step / 300 for step in range(301)]
        ax.plot(xs, [lognormal_cdf(x, mean, std) for x in xs], "k--", linewidth=2.5, alpha=0.4, label="configured")
        for runtime, streams in seen.items():
            found = [value for stream in streams for value in values(stream)]
            ax.ecdf(found, label=f"{runtime.capitalize()}, as observed by a client", linewidth=1)
        ax.set(xlabel=title, xlim=ends, ylabel="share of all" if title.startswith("time") else None)
        ax.grid(alpha=0.3)
    axes[0].legend(frameon=False, loc="lower right")
    figure.savefig(file, metadata={"Date": None})


def distributions(rounds: int) -> list[str]:
    """Measure random latencies at 100 streams; draw the plot and return the report lines about it."""
    ttft, itl = (300.0, 60.0), (50.0, 20.0)
    latency = {
        name: {"distribution": "lognormal", "mean": mean, "std": std}
        for name, (mean, std) in (("ttft", ttft), ("itl", itl))
    }
    lines = [
        "## Drawn latencies",
        "",
        "100 streams, 40 chunks, lognormal TTFT (300 ms, σ 60) and inter-token latency (50 ms, σ 20). The distance is "
        "that of the Kolmogorov–Smirnov test between the gaps observed by a client and the configured distribution; at a "
        "significance level of 0.01 it may be as large as the limit.",
        "",
        "| runtime | gaps | distance | limit | median TTFT, ms | configured |",
        "|---|---|---|---|---|---|",
    ]
    seen = {}
    for runtime in ("robyn", "granian"):
        case = Case(runtime, 100, "", latency)
        for _ in range(rounds):
            case.run()
        seen[runtime] = case.whole()
        gaps = [gap * 1000 for stream in seen[runtime] for gap in stream.gaps]
        distance, limit = kolmogorov_smirnov(gaps, lambda value: lognormal_cdf(value, *itl))
        first = median(stream.ttft for stream in seen[runtime]) * 1000
        middle = ttft[0] / math.sqrt(1 + (ttft[1] / ttft[0]) ** 2)
        lines.append(f"| {case.name} | {len(gaps):,} | {distance:.4f} | {limit:.4f} | {first:.1f} | {middle:.1f} |")
        print(lines[-1], flush=True)
    draw(HERE / "streams.svg", seen, ttft, itl)
    return [*lines, "", "![Observed and configured latencies](streams.svg)", ""]


CASES = [Case("robyn", 500, "2 %"), Case("robyn", 1000, "10 %"), Case("robyn", 2000, "none lost")]
CASES += [Case("granian", 500, "1 %"), Case("granian", 1000, "1 %"), Case("granian", 2000, "2 %")]
CASES += [Case("granian", 5000, "8 %"), Case("granian", 10_000, "5 %", {"itl": 500}, chunks=8, workers=2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only cases whose name, such as 'granian 500', contains this")
    arguments = parser.parse_args()
    raise_open_files()
    cases = [case for case in CASES if arguments.only in f"{case.runtime} {case.count}"]
    with awake():
        for round_ in range(arguments.rounds):
            for case in cases:
                case.run()
                print(f"{round_ + 1}/{arguments.rounds} {case.row()}", flush=True)
        if arguments.only:
            return
        first = [Case(runtime, 500, "", {"ttft": 300, "itl": 50}) for runtime in ("robyn", "granian")]
        for case in first * arguments.rounds:
            case.run()
        drawn = distributions(arguments.rounds)
        memory = memory_per_stream()
    firsts = " and ".join(
        f"{median(seen.ttft for seen in case.whole()) * 1000:.1f} ms on {case.name}" for case in first
    )
    lines = [
        "# Streams",
        "",
        f"Written by `make streams` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {arguments.rounds} interleaved rounds, "
        "medians of their percentiles (and their range). One worker pinned to one core, the client on the other; "
        "streams are opened over 1 s. 40 content chunks, 39 gaps of 50 ms = 1.95 s; with two workers, pinned to "
        "nothing, 8 chunks 500 ms apart.",
        "",
        f"{machine()}, " + ", ".join(f"{name} {version(name)}" for name in ("robyn", "granian", "uvloop")),
        "",
        "| runtime | streams | lost | median TTFT, ms | gap p99, ms | p99 of the total over the ideal | at most |",
        "|---|---|---|---|---|---|---|",
        *(case.row() for case in cases),
        "",
        f"With a TTFT of 300 ms, 500 streams have a median TTFT of {firsts}.",
        "",
        f"An open paced stream takes {memory:.1f} KiB on Granian, its connection included.",
        "",
        *drawn,
    ]
    (HERE / "streams.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
