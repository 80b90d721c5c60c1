"""Paced streams by the thousand: how late they end, what gaps a client sees, and whether anything is lost.

A client of our own (asyncio, one process, one connection a stream) opens the streams over a second and stamps what
arrives; it looks into it only when all is over. Server and client are pinned to a core each. Run it with
``make streams``.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import cast

from benchmarks.ratios import awake, running
from fastmock.server.supervisor import raise_open_files

CHUNKS = 40
GAP = 0.05  # seconds
IDEAL = (CHUNKS - 1) * GAP
PATIENCE = 60.0  # seconds, after which a stream is lost
CASES = [("robyn", 500), ("robyn", 1000), ("robyn", 2000)]
CASES += [("granian", count) for count in (500, 1000, 2000, 5000)]

WORDS = [f"w{number}" for number in range(CHUNKS)]
BODY = json.dumps({"model": "gpt-4", "stream": True, "messages": [{"role": "user", "content": "go"}]}).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(BODY), BODY)
)


class Probe(asyncio.Protocol):
    """One stream: what arrived, and when."""

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
    """One whole stream, in seconds."""

    first: float
    total: float
    gaps: list[float]


def read(probe: Probe) -> Seen | None:
    """Return what a probe saw; None where anything is lost, out of order or doubled."""
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
    if words != WORDS or b"data: [DONE]" not in whole:
        return None
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return Seen(times[0] - probe.sent, times[-1] - probe.sent, gaps)


async def load(port: int, count: int) -> list[Seen | None]:
    """Open ``count`` streams over one second and wait until all have ended."""
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
    await asyncio.wait([probe.done for probe in probes], timeout=PATIENCE)
    return [read(probe) for probe in probes]


def client(port: int, count: int, core: str) -> list[Seen | None]:
    """Run the load on ``core``."""
    import uvloop

    os.sched_setaffinity(0, {int(core)})
    seen: list[Seen | None] = uvloop.run(load(port, count))
    return seen


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="only cases whose name, such as 'granian 500', contains this")
    arguments = parser.parse_args()
    raise_open_files()
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = str(cores[0]), str(cores[-1])
    print("| runtime | streams | lost | first token, ms | gap p50, ms | gap p99, ms | total p99, s | over the ideal |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, awake():
        config = Path(name) / "config.json"
        settings = {
            "streaming": {"chunk_delay_ms": GAP * 1000, "tokens_per_chunk": 1},
            "responses": {"chat_completions": {"default": {"content": " ".join(WORDS)}}},
        }
        config.write_text(json.dumps(settings))
        for runtime, count in CASES:
            if arguments.only not in f"{runtime} {count}":
                continue
            totals: list[float] = []
            firsts: list[float] = []
            gaps: list[float] = []
            lost = 0
            for _ in range(arguments.rounds):
                command = [
                    sys.executable,
                    "-m",
                    "fastmock",
                    "--port",
                    "PORT",
                    "--config",
                    str(config),
                    "--runtime",
                    runtime,
                ]
                with running(command, server_core, {}) as (_, port, _):
                    seen = client(port, count, load_core)
                os.sched_setaffinity(0, set(cores))
                whole = [stream for stream in seen if stream]
                lost += len(seen) - len(whole)
                totals += [stream.total for stream in whole]
                firsts += [stream.first for stream in whole]
                gaps += [gap for stream in whole for gap in stream.gaps]
            late = (percentile(totals, 0.99) / IDEAL - 1) * 100
            print(
                f"| {runtime} | {count:,} | {lost} | {median(firsts) * 1000:.1f} | {percentile(gaps, 0.5) * 1000:.1f} "
                f"| {percentile(gaps, 0.99) * 1000:.1f} | {percentile(totals, 0.99):.3f} | +{late:.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
