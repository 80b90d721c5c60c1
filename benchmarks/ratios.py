"""Measure CPU time per request and throughput, as ratios against baselines measured in the same run.

Each server in turn is pinned to one core and ``wrk`` to another; rounds are interleaved, medians are taken. CPU time is
the time that the operating system charged to the server's processes. Run it with ``make bench``.
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
TICK = 1 / os.sysconf("SC_CLK_TCK")
WORDS = "This is a test response of the mock server and it has some twenty words so that a stream has twenty events too"


@dataclass
class Contender:
    """A server and the load on it; ``micros`` and ``rates`` get a value per round."""

    name: str
    command: list[str]
    load: tuple[str, ...] = ("chat.lua",)  # wrk's script and its arguments
    environment: dict[str, str] = field(default_factory=dict)
    micros: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


def patterns(count: int) -> dict[str, object]:
    """Return a configuration with ``count`` rules, of which the last matches, by regex, model and system prompt."""
    rules: list[dict[str, object]] = [
        {"match": {"model": "gpt-4", "content_regex": f"topic{i} .*word{i}"}, "content": f"answer {i}"}
        for i in range(count - 1)
    ]
    match = {"model": "gpt-4", "content_regex": ".*test.*", "system_prompt": "You are a helpful assistant"}
    rules.append({"match": match, "content": WORDS})
    rest = {"streaming": {"tokens_per_chunk": 1}, "usage": {"tokenizer": "estimate"}}
    return {**rest, "responses": {"chat_completions": {"patterns": rules}}}


def processes(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *(pid for child in children for pid in processes(int(child)))]


def cpu_seconds(parent: int) -> float:
    total = 0
    for pid in processes(parent):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * TICK


def pss(pids: Sequence[int]) -> float:
    """Return the proportional set size of the processes together, in MiB."""
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(found[1]) for text in rollups if (found := re.search(r"^Pss: +(\d+)", text, re.M))) / 1024


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def running(command: list[str], cores: str, environment: dict[str, str]) -> Iterator[tuple[int, int, float]]:
    """Start a server; yield its process, its port and the seconds until its first response."""
    port = free_port()
    words = ["taskset", "-c", cores, *(str(port) if word == "PORT" else word for word in command)]
    start = time.perf_counter()
    process = subprocess.Popen(words, env=os.environ | environment, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            except urllib.error.HTTPError:
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(f"{' '.join(words)} ended with {process.returncode}") from None
                time.sleep(0.005)
            else:
                break
        yield process.pid, port, time.perf_counter() - start
    finally:
        process.kill()
        process.wait()


def wrk(port: int, cores: str, seconds: float, load: tuple[str, ...] = ("chat.lua",)) -> float:
    """Run the load for ``seconds``; return the number of responses."""
    script, *arguments = load
    words = ["taskset", "-c", cores, "wrk", "-t1", "-c64", f"-d{seconds}s", "-s", str(HERE / script)]
    words += [f"http://127.0.0.1:{port}", "--", *arguments]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text:
        raise SystemExit(f"wrk saw errors:\n{text}")
    found = re.search(r"(\d+) requests in", text)
    return float(found[1]) if found else 0.0


def measure(contender: Contender, server_core: str, load_core: str, seconds: int) -> None:
    with running(contender.command, server_core, contender.environment) as (pid, port, _):
        wrk(port, load_core, 1, contender.load)
        cpu, clock = cpu_seconds(pid), time.perf_counter()
        requests = wrk(port, load_core, seconds, contender.load)
        contender.micros.append((cpu_seconds(pid) - cpu) / requests * 1e6)
        contender.rates.append(requests / (time.perf_counter() - clock))


def start_and_memory(config: Path, core: str) -> tuple[float, float, float]:
    """Return the seconds to the first response, the PSS of parent and one worker, and the PSS of each further worker
    (MiB).
    """
    command = [sys.executable, "-m", "fastmock", "--config", str(config), "--port", "PORT"]
    starts, sizes = [], {}
    for workers in (1, 3):
        for _ in range(3):
            with running([*command, "--workers", str(workers)], core, {}) as (pid, port, first):
                wrk(port, core, 1)
                starts.append(first)
                sizes[workers] = pss(processes(pid))
    return median(starts), sizes[1], (sizes[3] - sizes[1]) / 2


def report(contenders: list[Contender], rounds: int, seconds: int, extra: tuple[float, float, float]) -> str:
    const, fastapi = contenders[0], next(c for c in contenders if c.name.startswith("FastAPI"))
    chat = next(c for c in contenders if c.name == "fastmock, 10 patterns")
    lines = [
        "# Benchmark report",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {rounds} interleaved rounds of {seconds} s, "
        "medians. One worker pinned to one core, wrk with 64 keep-alive connections on another, every body different.",
        "",
        f"{cpu_name()}, {os.cpu_count()} cores visible, Linux {platform.release()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("robyn", "granian", "orjson", "google-re2", "fastapi")),
        "",
        "| server | CPU µs/request | × const route | × fastmock | requests/s | × const route | × FastAPI |",
        "|---|---|---|---|---|---|---|",
    ]
    for c in contenders:
        micros, rate = median(c.micros), median(c.rates)
        lines.append(
            f"| {c.name} | {micros:.1f} ({min(c.micros):.1f}–{max(c.micros):.1f}) | {micros / median(const.micros):.2f} "
            f"| {micros / median(chat.micros):.2f} | {rate:,.0f} | {rate / median(const.rates):.2f} "
            f"| {rate / median(fastapi.rates):.1f} |"
        )
    rates = {c.name: median(c.rates) for c in contenders}
    streams = [
        f"{rates[ours] / rates[theirs]:.0f} times as many streams of {count} events a second as FastAPI"
        for count in (20, 40)
        if (ours := f"fastmock, stream of {count} events without delay") in rates
        and (theirs := f"FastAPI, stream of {count} events") in rates
    ]
    first, one, more = extra
    return "\n".join(
        [
            *lines,
            "",
            f"Without delay: {', '.join(streams)}." if streams else "",
            "",
            f"First answer {first:.2f} s after the start. Proportional set size: parent and one worker {one:.0f} MiB, "
            f"each further worker {more:.1f} MiB.",
            "",
        ]
    )


def cpu_name() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


@contextmanager
def awake() -> Iterator[bool]:
    """Keep idle cores polling instead of halting, if permitted; yield whether it is.

    The load sleeps between a slow server's responses, never between a fast one's, and waking a halted core, a call into
    the hypervisor on a virtual machine, is charged to the server that wakes it: 25 µs of 110 were observed.
    """
    try:
        request = os.open("/dev/cpu_dma_latency", os.O_WRONLY)
    except OSError:
        yield False
        return
    os.write(request, bytes(4))  # at most 0 µs to wake, for as long as this file is open
    try:
        yield True
    finally:
        os.close(request)


def fake_cpus(directory: Path) -> Path | None:
    """Compile the library that simulates 64 CPUs; None without a compiler."""
    if shutil.which("cc") is None:
        return None
    library = directory / "fake_cpus.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "fake_cpus.c"], check=True)
    return library


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="seconds of each measurement")
    parser.add_argument(
        "--only", default="", help="measure only contenders whose name matches this pattern, and the baselines"
    )
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is required: install Debian's package 'wrk' (apt-get install wrk)")
    cores = sorted(os.sched_getaffinity(0))
    server_core, load_core = str(cores[0]), str(cores[-1])
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        configs = {}
        for count in (10, 1000):
            configs[count] = directory / f"{count}.json"
            configs[count].write_text(json.dumps(patterns(count)))
        forty = directory / "forty.json"
        forty.write_text(json.dumps(patterns(10)).replace(WORDS, " ".join(f"w{number}" for number in range(40))))
        mock = [sys.executable, "-m", "fastmock", "--port", "PORT", "--config"]
        ten = [*mock, str(configs[10])]
        body = directory / "body.json"
        with running(ten, server_core, {}) as (_, port, _):
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                b'{"model":"gpt-4","messages":[{"role":"system","content":"You are a helpful assistant"},'
                b'{"role":"user","content":"test"}]}',
                {"authorization": "Bearer x"},
            )
            body.write_bytes(urllib.request.urlopen(request).read())
        baseline = [sys.executable, "-m", "benchmarks.baselines.robyn_const", "PORT", str(body)]
        exactly = {"FASTMOCK_USAGE_TOKENIZER": "exact"}
        units = "REQUESTS", "TOKENS"
        limits = {f"FASTMOCK_LIMITS_{unit}_PER_MINUTE": "1000000000" for unit in units}  # counted, and never reached
        contenders = [
            Contender("Robyn const route, same bytes", baseline),
            Contender("fastmock, 10 patterns", ten),
            Contender("fastmock, 1,000 patterns", [*mock, str(configs[1000])]),
            Contender("fastmock, stream of 20 events without delay", ten, ("chat.lua", "stream")),
            Contender("fastmock, stream of 40 events without delay", [*mock, str(forty)], ("chat.lua", "stream")),
            Contender("fastmock, a tool call with generated arguments", ten, ("chat.lua", "tool")),
            Contender("fastmock, JSON generated from a schema", ten, ("chat.lua", "schema")),
            Contender("fastmock, prompt of 200 characters, tokens estimated", ten, ("chat.lua", "long")),
            Contender("fastmock, the same prompt, tokens counted exactly", ten, ("chat.lua", "long"), exactly),
            Contender("fastmock, a response, stored", ten, ("chat.lua", "", "responses")),
            Contender("fastmock, stream of a response, stored", ten, ("chat.lua", "stream", "responses")),
            Contender("fastmock, an Anthropic message", ten, ("chat.lua", "", "messages")),
            Contender("fastmock, stream of an Anthropic message", ten, ("chat.lua", "stream", "messages")),
            Contender("fastmock, 10 patterns, requests and tokens limited", ten, environment=limits),
            Contender("fastmock, 10 patterns, with metrics", ten, environment={"FASTMOCK_METRICS_ENABLED": "true"}),
            Contender("fastmock, 10 patterns, with the journal", ten, environment={"FASTMOCK_JOURNAL_ENABLED": "true"}),
            Contender("fastmock, embedding of 20 unseen words", ten, ("embeddings.lua", "1")),
            Contender("fastmock, 100 such texts in a request", ten, ("embeddings.lua", "100")),
            Contender("fastmock on Granian, 10 patterns", [*ten, "--runtime", "granian"]),
            Contender(
                "FastAPI, pydantic, `re` loop, 10 patterns",
                [sys.executable, "-m", "benchmarks.baselines.fastapi_app", "PORT", str(configs[10])],
            ),
        ]
        base = contenders[-1].command
        contenders.append(Contender("FastAPI, stream of 20 events", base, ("chat.lua", "stream")))
        contenders.append(Contender("FastAPI, stream of 40 events", [*base[:-1], str(forty)], ("chat.lua", "stream")))
        if library := fake_cpus(directory):
            fake = {"LD_PRELOAD": str(library)}
            contenders.insert(4, Contender("fastmock, 10 patterns, 64 CPUs shown", ten, environment=fake))
        keep = re.compile("const|FastAPI, pydantic|^fastmock, 10 patterns$")
        contenders = [c for c in contenders if re.search(arguments.only, c.name) or keep.search(c.name)]
        with awake() as polling:
            for round_ in range(arguments.rounds):
                for contender in contenders:
                    measure(contender, server_core, load_core, arguments.seconds)
                    done = f"{round_ + 1}/{arguments.rounds} {contender.name}"
                    print(f"{done}: {contender.micros[-1]:.1f} µs", flush=True)
        print(
            "idle cores were", "kept awake" if polling else "left to halt: no permission to write /dev/cpu_dma_latency"
        )
        text = report(contenders, arguments.rounds, arguments.seconds, start_and_memory(configs[10], server_core))
    print(text)
    if not arguments.only:
        (HERE / "report.md").write_text(text)


if __name__ == "__main__":
    main()
