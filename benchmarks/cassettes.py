"""Measure recording and replaying, each as a ratio to a baseline of the same run.

- ``load``: the time to load 100,000 recordings, and the memory of four workers with them.
- ``replay``: CPU time of a replayed reply over that of a rule's, and with 100,000 recordings over that with 100.
- ``pace``: 500 replayed streams, and the lateness of their events.
- ``proxy``: the time that the recorder adds to a reply.
- ``streams``: 1,000 streams of a chunk every 100 ms through the recorder, and the lateness of their chunks.

Run it with ``python -m benchmarks.cassettes``; arguments choose parts. Server and client are pinned to a core each.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any, cast

import orjson

from benchmarks.ratios import awake, cpu_seconds, processes, pss, running
from benchmarks.streams import CLIENT_CORE, CORES, SERVER_CORE, Seen, load, percentile
from fastmock.cassettes.canonical import Canonical
from fastmock.cassettes.library import Library
from fastmock.cassettes.recorder import Exchange
from fastmock.cassettes.settings import COMPONENTS
from fastmock.content.filler import counter
from fastmock.core.http import Request
from fastmock.server.supervisor import raise_open_files

MANY, FEW, ROUNDS = 100_000, 100, 5
CONNECTIONS, REQUESTS = 32, 12_000
CANONICAL = Canonical()
EMPTY = Path(tempfile.gettempdir()) / "fastmock-empty.json"  # for servers without rules
PATH = "/v1/chat/completions"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
REPLY = orjson.dumps({"id": "chatcmpl-1", "choices": [{"message": {"role": "assistant", "content": "recorded " * 60}}]})


def body(number: int, **more: Any) -> bytes:
    text = f"question {number} " + "of many words that a user might send to a model " * 8
    return orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more})


def line(sent: bytes, frames: Sequence[tuple[float, bytes]], content_type: str) -> bytes:
    """Return the line of a cassette; frames have milliseconds."""
    exchange = Exchange(Request("POST", PATH, {"content-type": "application/json"}, sent), 0.0)
    exchange.begin(200, [("content-type", content_type)])
    for at, data in frames:
        exchange.add(data, at / 1000)
    return exchange.line(frames[-1][0] / 1000, CANONICAL)


def write(directory: Path, count: int) -> Path:
    place = directory / f"{count}.jsonl"
    with place.open("wb") as file:
        for number in range(count):
            file.write(line(body(number), [(10.0, REPLY)], "application/json"))
    return place


def fastmock(*arguments: str, config: Path | None = None) -> list[str]:
    """Return the command of a server."""
    command = [arguments[0]] if arguments[:1] == ("record",) else []
    named = ["--config", str(config or EMPTY)]
    rest = arguments[len(command) :]
    return [sys.executable, "-m", "fastmock", *command, "--port", "PORT", *named, "--log-level", "error", *rest]


class Client(asyncio.Protocol):
    """Sends requests over one connection, one after the other; notes the time of each in seconds."""

    def __init__(self, bodies: Iterator[bytes], done: asyncio.Future[None]) -> None:
        self._bodies, self._done = bodies, done
        self._buffer = b""
        self._missing = 0
        self._sent = 0.0
        self.times: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        sent = next(self._bodies, None)
        if sent is None:
            self._transport.close()
            self._done.set_result(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(sent) + sent)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"unexpected response: {self._buffer[:500]!r}")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) >= length:
            self.times.append(time.perf_counter() - self._sent)
            self._buffer = b""
            self._next()


async def send(port: int, bodies: Iterator[bytes], connections: int) -> list[float]:
    """Send all bodies; return the times."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        client = Client(bodies, done)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        clients.append((client, done))
    await asyncio.gather(*(done for _, done in clients))
    return [taken for client, _ in clients for taken in client.times]


def on_client_core(call: Callable[[], Any]) -> Any:
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    try:
        return call()
    finally:
        os.sched_setaffinity(0, set(CORES))


def cpu_of(command: list[str], bodies: Callable[[], Iterator[bytes]], count: int) -> float:
    """Return the CPU time of a request in µs."""
    import uvloop

    with running(command, SERVER_CORE, {}) as (pid, port, _):
        on_client_core(lambda: uvloop.run(send(port, bodies(), CONNECTIONS)))
        before = cpu_seconds(pid)
        on_client_core(lambda: uvloop.run(send(port, bodies(), CONNECTIONS)))
        return (cpu_seconds(pid) - before) / count * 1e6


def measure_load(directory: Path) -> None:
    place = write(directory, MANY)
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        Library([place], CANONICAL, COMPONENTS)
        times.append(time.perf_counter() - begin)
    print(f"load: {MANY:,} recordings, {place.stat().st_size / 1e6:.0f} MB, in {median(times):.2f} s")
    sizes = {}
    for count in (FEW, MANY):
        place = write(directory, count)
        with running(fastmock("--cassettes", str(place), "--workers", "4"), ",".join(map(str, CORES)), {}) as (pid, *_):
            sizes[count] = pss(processes(pid))
    print(f"memory of 4 workers and the parent: {sizes[MANY]:.0f} MiB, with {FEW} recordings {sizes[FEW]:.0f} MiB")


def measure_replay(directory: Path) -> None:
    few, many = write(directory, FEW), write(directory, MANY)
    config = directory / "rules.json"
    answer = {"match": {"content_contains": "question"}, "content": "recorded " * 60}
    config.write_bytes(orjson.dumps({"responses": {"chat_completions": {"rules": [answer]}}}))
    new = config.with_name("new.json")
    new.write_bytes(orjson.dumps({**orjson.loads(config.read_bytes()), "cache": {"max_bytes": 0}}))
    cases = {
        "rule, new bodies": (fastmock(config=new), MANY, {}),
        "replay, new bodies": (fastmock("--cassettes", str(many)), MANY, {}),
        "rule, repeated bodies": (fastmock(config=config), FEW, {}),
        "replay, repeated bodies": (fastmock("--cassettes", str(few)), FEW, {}),
        "replay with drift, repeated bodies": (fastmock("--cassettes", str(few)), FEW, {"temperature": 0.5}),
        "100,000 recordings, repeated bodies": (fastmock("--cassettes", str(many)), FEW, {}),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(ROUNDS):
        for name, (command, variety, more) in cases.items():
            step = MANY // REQUESTS if variety == MANY else 1
            sent = [body(number * step % variety, **more) for number in range(REQUESTS if variety == MANY else FEW)]
            bodies = lambda sent=sent: iter([sent[at % len(sent)] for at in range(REQUESTS)])  # noqa: E731
            found[name].append(cpu_of(command, bodies, REQUESTS))
        print(f"{round_ + 1}/{ROUNDS} " + ", ".join(f"{name} {taken[-1]:.1f}" for name, taken in found.items()))
    pairs = [
        ("replay, new bodies", "rule, new bodies"),
        ("replay, repeated bodies", "rule, repeated bodies"),
        ("replay with drift, repeated bodies", "rule, repeated bodies"),
        ("100,000 recordings, repeated bodies", "replay, repeated bodies"),
    ]
    for one, other in pairs:
        ratio = median(mine / theirs for mine, theirs in zip(found[one], found[other], strict=True))
        print(f"replay: {one} over {other}: {ratio:.3f} ({median(found[one]):.1f} µs)")


def lateness(streams: Sequence[Seen | None], gap: float, first: float) -> str:
    """Describe how late the chunks of streams came; ``gap`` and ``first`` in seconds."""
    seen = [one for one in streams if one is not None]
    if not seen:
        return f"all of {len(streams)} streams were lost"
    late = []
    for one in seen:
        at = accumulate([one.ttft, *one.gaps])
        late += [(time - first - number * gap) * 1000 for number, time in enumerate(at)]
    ideal = first + gap * len(seen[0].gaps)
    total = (percentile([one.total for one in seen], 0.99) / ideal - 1) * 100
    lost = len(streams) - len(seen)
    return (
        f"{len(streams)} streams, lost {lost}, chunks late by {median(late):.1f} ms, p99 {percentile(late, 0.99):.1f} ms, "
        f"p99 of the total {total:+.2f} %"
    )


def measure_pace(directory: Path) -> None:
    import uvloop

    from benchmarks.streams import BODY

    count = 40
    chunks = [f'data: {{"choices":[{{"delta":{{"content":"{word}"}}}}]}}\n\n' for word in counter(count).split()]
    frames = [(100.0 + 50 * place, chunk.encode()) for place, chunk in enumerate(chunks)]
    frames.append((frames[-1][0], b"data: [DONE]\n\n"))
    place = directory / "paced.jsonl"
    place.write_bytes(line(BODY, frames, "text/event-stream"))
    for runtime in ("granian", "robyn"):
        command = fastmock("--cassettes", str(place), "--replay-speed", "1", "--runtime", runtime)
        with running(command, SERVER_CORE, {}) as (_, port, _):
            for round_ in range(4):
                seen = on_client_core(lambda port=port: uvloop.run(load(port, 500, count, lambda: None)))  # type: ignore[misc]
                if round_:  # the first one has the first request of a new worker, which takes 10 ms
                    print(f"pace, {runtime}: {lateness(seen, 0.05, 0.1)}")


def measure_proxy(directory: Path) -> None:
    import uvloop

    with running(fastmock(), CLIENT_CORE, {}) as (_, upstream, _):
        command = fastmock("record", "--upstream", f"http://127.0.0.1:{upstream}", "--to", str(directory / "c"))
        with running([*command, "--allow-record"], SERVER_CORE, {}) as (_, recorder, _):
            found: dict[int, list[float]] = {upstream: [], recorder: []}
            for round_ in range(2 * ROUNDS):
                for port, times in found.items():
                    bodies = (body(round_ * 1000 + number) for number in range(300))
                    times.append(median(on_client_core(lambda: uvloop.run(send(port, bodies, 1)))) * 1000)  # noqa: B023
    direct, through = (median(times[1:]) for times in found.values())
    print(f"proxy: {direct:.2f} ms directly, {through:.2f} ms through the recorder: it adds {through - direct:.2f} ms")


def measure_streams(directory: Path) -> None:
    import uvloop

    config = directory / "upstream.json"
    config.write_text(json.dumps({"latency": {"itl": 100}, "output": {"kind": "counter", "tokens": 60}}))
    with running(fastmock(config=config), CLIENT_CORE, {}) as (_, upstream, _):
        command = fastmock("record", "--upstream", f"http://127.0.0.1:{upstream}", "--to", str(directory / "s"))
        with running([*command, "--allow-record"], SERVER_CORE, {}) as (pid, recorder, _):
            for round_ in range(4):
                for name, port in (("directly", upstream), ("through the recorder", recorder)):
                    before, clock = cpu_seconds(pid), time.perf_counter()
                    seen = on_client_core(lambda port=port: uvloop.run(load(port, 1000, 60, lambda: None)))  # type: ignore[misc]
                    share = (cpu_seconds(pid) - before) / (time.perf_counter() - clock) * 100
                    if round_:  # likewise
                        print(f"streams, {name}: {lateness(seen, 0.1, 0.0)}; CPU of the recorder {share:.0f} %")


PARTS = {
    "load": measure_load,
    "replay": measure_replay,
    "pace": measure_pace,
    "proxy": measure_proxy,
    "streams": measure_streams,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[*PARTS], metavar="PART", help="parts to run")
    arguments = parser.parse_args()
    raise_open_files()
    EMPTY.write_text("{}")
    with awake():
        for part in arguments.parts:
            with tempfile.TemporaryDirectory() as name:
                PARTS[part](Path(name))


if __name__ == "__main__":
    main()
