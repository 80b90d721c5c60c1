"""Hold thousands of connections to one Granian worker and measure the waiting times of new clients: ``make
connections``.

The exit code is 1 if a trial misses its bound. The server runs on one core and the clients on another if there are two.
Clients that hold connections are separate processes, because a process may hold 20,000 files or fewer.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson

from benchmarks.http_client import HOST, HttpConnection, HttpRequest, ResponseCutError
from benchmarks.target import Target

PATH = "/v1/chat/completions"
PER_PROCESS = 5000  # connections
PROBE_PAUSE = 0.05  # seconds between two new clients
HOLD = 10.0  # seconds for which all connections are held
LONGEST_WAIT = 1.0  # maximum seconds until a new client is answered
REUSE_SECONDS = 600.0
HEARTBEAT_SECONDS = 20.0
HEARTBEAT_SHARE = 0.1  # of a core
LARGEST_PSS = 400.0  # MiB
_HEADERS = [("authorization", "Bearer sk-load"), ("content-type", "application/json")]


def chat(text: str = "Hello", **more: Any) -> HttpRequest:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}
    return HttpRequest("POST", PATH, list(_HEADERS), orjson.dumps(body))


@dataclass
class Trial:
    """A trial: its name, its findings, and whether they are within bounds."""

    name: str
    found: str
    passed: bool

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'MISS'} {self.name}: {self.found}"


class Probe:
    """Sends a small request as a new client again and again, from a separate process that nothing delays.

    Attributes:
        waits: the duration of each request, in seconds.
        failures: the number of failures by kind.
    """

    def __init__(self, port: int) -> None:
        self.waits: list[float] = []
        self.failures: Counter[str] = Counter()
        fork = multiprocessing.get_context("fork")
        self._pipe, theirs = fork.Pipe()
        fork.Process(target=_probe, args=(port, theirs), daemon=True).start()

    def end(self) -> None:
        self._pipe.send(None)
        self.waits, self.failures = self._pipe.recv()

    def share(self, part: float) -> float:
        """Return the wait that the given share of the clients did not exceed."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(part * len(self.waits)))]

    def __str__(self) -> str:
        shares = f"median {self.share(0.5):.3f}, p99 {self.share(0.99):.3f}, longest {max(self.waits):.3f} s"
        failed = f", failures {dict(self.failures)}" if self.failures else ""
        return f"{len(self.waits)} new clients: {shares}{failed}"


def _probe(port: int, told: Connection) -> None:
    waits, failures = [], Counter[str]()
    while not told.poll(PROBE_PAUSE):
        begun = time.monotonic()
        try:
            with HttpConnection(port, 10) as connection:
                response = connection.exchange(chat())
            if response.status != 200:
                failures[str(response.status)] += 1
        except (OSError, ResponseCutError) as error:
            failures[type(error).__name__] += 1
        waits.append(time.monotonic() - begun)
    told.send((waits, failures))
    told.close()
    os._exit(0)


def _hold(port: int, count: int, beginning: bytes, answered: bool, told: Connection) -> None:
    """Open connections, send the same bytes on each, report the refused ones, and hold the others until stopped."""
    held = []
    refused = 0
    for _ in range(count):
        try:
            connection = socket.create_connection((HOST, port), 20)
            connection.sendall(beginning)
            if answered:
                connection.recv(65536)
        except OSError:
            refused += 1
            continue
        held.append(connection)
    told.send(refused)
    told.recv()
    os._exit(0)


@contextmanager
def held(port: int, count: int, beginning: bytes, answered: bool = False) -> Iterator[int]:
    """Hold connections, from several processes; yield the number of refused ones."""
    fork = multiprocessing.get_context("fork")
    pipes = []
    for begin in range(0, count, PER_PROCESS):
        ours, theirs = fork.Pipe()
        number = min(PER_PROCESS, count - begin)
        fork.Process(target=_hold, args=(port, number, beginning, answered, theirs), daemon=True).start()
        theirs.close()
        pipes.append(ours)
    try:
        yield sum(pipe.recv() for pipe in pipes)
    finally:
        for pipe in pipes:
            pipe.close()


def crowd(target: Target, name: str, count: int, beginning: bytes, answered: bool = False) -> Trial:
    """Hold connections while new clients arrive."""
    probe = Probe(target.port)
    with held(target.port, count, beginning, answered) as refused:
        time.sleep(HOLD)
        sizes = target.pss()
        probe.end()
    worker = max(sizes[pid] for pid in target.workers() if pid in sizes)
    passed = max(probe.waits) <= LONGEST_WAIT and not probe.failures
    return Trial(name, f"{count - refused} held; {probe}; PSS {worker:.0f} MiB", passed)


def idle(target: Target) -> Trial:
    return crowd(target, "20,000 idle connections", 20_000, chat().encode(), answered=True)


def heads(target: Target) -> Trial:
    return crowd(target, "5,000 half-sent heads", 5000, b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-half: ")


def bodies(target: Target) -> Trial:
    beginning = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n" + b'{"model":"gpt-4o",'
    return crowd(target, "5,000 half-sent bodies", 5000, beginning)


def readers(target: Target) -> Trial:
    request = chat("Tell me much.", stream=True, max_tokens=20_000)
    request.headers.append(("x-fastmock-output-tokens", "20000"))
    return crowd(target, "1,000 readers that read nothing", 1000, request.encode())


def reuse(target: Target, sockets: int = 10_000, each: int = 10) -> Trial:
    """Send requests over the same connections, after pauses of 1 to 90 seconds."""
    data = chat().encode()
    failures: Counter[str] = Counter()
    done = 0
    end = time.monotonic() + REUSE_SECONDS

    async def client(number: int) -> None:
        nonlocal done
        draw = random.Random(number)
        await asyncio.sleep(draw.uniform(0, 20))
        try:
            reader, writer = await asyncio.open_connection(HOST, target.port)
            for turn in range(each):
                writer.write(data)
                await writer.drain()
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                failures["status"] += not head.startswith(b"HTTP/1.1 200")
                done += 1
                pause = draw.uniform(1, 90)
                if turn == each - 1 or time.monotonic() + pause > end:
                    break
                await asyncio.sleep(pause)
            writer.close()
        except (OSError, EOFError, asyncio.IncompleteReadError) as error:
            failures[type(error).__name__] += 1

    async def all_clients() -> None:
        await asyncio.gather(*map(client, range(sockets)))

    begun = time.monotonic()
    asyncio.run(all_clients())
    failures += Counter()  # drops the zeros
    found = f"{done:,} requests over {sockets:,} sockets in {time.monotonic() - begun:.0f} s, failures {dict(failures)}"
    return Trial("requests after idle times of 1 to 90 s", found, not failures)


def _cpu(pids: Sequence[int]) -> float:
    """Return the CPU seconds used by processes."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def heartbeats(target: Target) -> Trial:
    """Let 5,000 streams wait, without heartbeats and with one a second each."""
    took = []
    for interval in (0, 1):
        request = chat(stream=True)
        request.headers += [("x-fastmock-ttft-ms", "120000"), ("x-fastmock-heartbeat", str(interval))]
        with held(target.port, 5000, request.encode()):
            time.sleep(2)
            before = _cpu(target.workers())
            time.sleep(HEARTBEAT_SECONDS)
            took.append((_cpu(target.workers()) - before) / HEARTBEAT_SECONDS)
        time.sleep(3)
    share = took[1] - took[0]
    found = f"{took[1]:.1%} of a core with one a second, {took[0]:.1%} without"
    return Trial("5,000 streams that wait with heartbeats", found, share <= HEARTBEAT_SHARE)


def _worst(largest: int) -> Sequence[HttpRequest]:
    """Return requests for as much work as the server allows, with bodies up to a size."""
    stream = chat("Count.", stream=True, max_tokens=131_000)
    stream.headers.append(("x-fastmock-output-tokens", "131000"))
    whole = chat("Count.", max_tokens=130_000)
    whole.headers.append(("x-fastmock-output-tokens", "130000"))
    properties = {f"property_{n}": {"type": "string"} for n in range(90)}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    tools = [
        {"type": "function", "function": {"name": f"f{n}", "strict": True, "parameters": schema}} for n in range(50)
    ]
    embedding = {"model": "text-embedding-3-large", "input": ["a"] * 2048}
    return (
        stream,
        whole,
        chat("x " * (largest // 2 - 200)),
        chat("x" * (largest - 400)),
        chat("Call.", tools=tools, tool_choice="required"),
        chat("Say.", n=100, max_tokens=1500, logprobs=True, top_logprobs=1),
        HttpRequest("POST", "/v1/embeddings", list(_HEADERS), orjson.dumps(embedding)),
        HttpRequest("POST", "/v1/moderations", list(_HEADERS), orjson.dumps({"input": ["a " * 50] * 2000})),
    )


def costly(target: Target, clients: int, largest: int, bound: float) -> Trial:
    """Send the most costly requests from several clients at once, each kind in turn, while small requests arrive."""
    requests = _worst(largest)
    ends = time.monotonic() + 20
    statuses: Counter[int | str] = Counter()
    slowest: dict[int, float] = {}
    lock = threading.Lock()

    def client(number: int) -> None:
        turn = number
        while time.monotonic() < ends:
            begun = time.monotonic()
            try:
                with HttpConnection(target.port, 60) as connection:
                    status: int | str = connection.exchange(requests[turn % len(requests)]).status
            except (OSError, ResponseCutError) as error:
                status = type(error).__name__
            with lock:
                statuses[status] += 1
                took = time.monotonic() - begun
                slowest[turn % len(requests)] = max(took, slowest.get(turn % len(requests), 0.0))
            turn += 1

    probe = Probe(target.port)
    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    pss = 0.0
    while any(thread.is_alive() for thread in threads):
        pss = max([pss, *(size for pid, size in target.pss().items() if pid in target.workers())])
        time.sleep(0.3)
    probe.end()
    kinds = ", ".join(f"{slowest[kind]:.1f}" for kind in sorted(slowest))
    found = f"{probe}; statuses {dict(statuses)}; PSS at most {pss:.0f} MiB; slowest by kind {kinds} s"
    passed = probe.share(0.99) <= bound and pss <= LARGEST_PSS and not probe.failures
    return Trial(f"{clients} clients with the worst requests, bodies up to {largest:,} bytes", found, passed)


TRIALS: Mapping[str, Callable[[Target], Trial]] = {
    "idle": idle,
    "heads": heads,
    "bodies": bodies,
    "readers": readers,
    "heartbeats": heartbeats,
    "one-small": lambda target: costly(target, 1, 1_000_000, 0.05),
    "one-large": lambda target: costly(target, 1, 30_000_000, 0.25),
    "hundred": lambda target: costly(target, 100, 30_000_000, 10.0),
    "reuse": reuse,
}
CONFIG = {"server": {"control_headers": True, "max_body_bytes": 32 << 20, "shutdown_timeout": 2}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", nargs="*", choices=[*TRIALS, []], help="names of the trials; all by default")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    results = []
    for name in arguments.trials or TRIALS:
        with tempfile.TemporaryDirectory(prefix="fastmock-connections-") as directory:
            os.sched_setaffinity(0, cores[:1])
            with Target(Path(directory), CONFIG, "--runtime", "granian") as target:
                os.sched_setaffinity(0, cores[-1:])
                results.append(TRIALS[name](target))
                if tracebacks := target.tracebacks():
                    results.append(Trial(name, tracebacks[0], passed=False))
                print(results[-1], flush=True)
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
