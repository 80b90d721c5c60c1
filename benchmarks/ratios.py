"""Measure CPU time per request and throughput, as ratios against baselines measured in the same run.

Each server in turn is pinned to one core and ``wrk`` to another; rounds are interleaved, medians are taken. CPU time is
the time that the operating system charged to the server's processes. With ``--busy`` everything is measured a second
time beside a process that sweeps the last-level cache, see ``benchmarks.busy``. Run it with ``make bench``.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.busy import sweeping
from benchmarks.contenders import BARE, CHAT, CONST, FASTAPI, HERE, REQUEST, Contender, Measured, contenders

TICK = 1 / os.sysconf("SC_CLK_TCK")
BUSY = 1.7, 2.5
"""The bounds of the bare handler's CPU time in the busy regime, as a multiple of the quiet one."""
DUTIES = 1.0, 0.6, 0.35, 0.2, 0.1


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
    process = subprocess.Popen(words, env=os.environ | environment, stdout=subprocess.DEVNULL, start_new_session=True)
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
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
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


def measure(contender: Contender, server_core: str, load_core: str, seconds: float) -> tuple[float, float]:
    """Return the CPU time of a request in µs, and the requests per second."""
    with running(contender.command, server_core, contender.environment) as (pid, port, _):
        wrk(port, load_core, 1, contender.load)
        cpu, clock = cpu_seconds(pid), time.perf_counter()
        requests = wrk(port, load_core, seconds, contender.load)
        return (cpu_seconds(pid) - cpu) / max(requests, 1) * 1e6, requests / (time.perf_counter() - clock)


def calibrated(bare: Contender, server_core: str, load_core: str) -> float:
    """Return the duty of the sweep at which the bare handler costs most within ``BUSY``; the nearest, if there is none."""
    found = []
    for duty in DUTIES:
        quiet, _ = measure(bare, server_core, load_core, 2)
        with sweeping(load_core, duty):
            busy, _ = measure(bare, server_core, load_core, 2)
        found.append((busy / quiet, duty))
        print(
            f"sweeping {duty:.0%} of the time: the bare handler costs {busy / quiet:.2f} of its quiet CPU", flush=True
        )
        if BUSY[0] <= busy / quiet <= BUSY[1]:
            return duty
    return min(found, key=lambda one: abs(one[0] - sum(BUSY) / 2))[1]


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


def micros(measured: Measured) -> float:
    return median(cpu for cpu, _ in measured)


def row(contender: Contender, base: dict[str, Contender]) -> str:
    """Return the line of a contender in the table."""
    cells = [contender.name]
    cpu = [cpu for cpu, _ in contender.quiet]
    quiet, rate = median(cpu), median(rate for _, rate in contender.quiet)
    cells.append(f"{quiet:.1f} ({min(cpu):.1f}–{max(cpu):.1f})")
    cells += [f"{quiet / micros(base[name].quiet):.2f}" for name in (CONST, BARE)]
    if contender.busy:
        busy = micros(contender.busy)
        cells += [f"{busy:.1f}", f"{busy / micros(base[BARE].busy):.2f}"]
    cells += [f"{rate:,.0f}", f"{rate / median(rate for _, rate in base[FASTAPI].quiet):.1f}"]
    return f"| {' | '.join(cells)} |"


def report(found: list[Contender], rounds: int, seconds: int, extra: tuple[float, float, float]) -> str:
    base = {contender.name: contender for contender in found}
    titles = ["server", "CPU µs/request", "× const route", "× bare handler"]
    is_busy = bool(found[0].busy)
    titles += ["busy: CPU µs/request", "busy: × bare handler"] if is_busy else []
    titles += ["requests/s", "× FastAPI"]
    libraries = ("robyn", "granian", "orjson", "google-re2", "fastapi")
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    lines = [
        "# Benchmark report",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {rounds} interleaved rounds of {seconds} s, "
        "medians. One worker pinned to one core, wrk with 64 keep-alive connections on another; every body different, "
        "unless it says repeated.",
        "",
        f"{machine()} (built {'with' if optimized else 'without'} profile-guided optimization), "
        + ", ".join(f"{name} {version(name)}" for name in libraries),
        "",
        f"| {' | '.join(titles)} |",
        "|---" * len(titles) + "|",
        *(row(contender, base) for contender in found),
        "",
    ]
    if is_busy:
        ratio = micros(base[BARE].busy) / micros(base[BARE].quiet)
        verdict = "as intended" if BUSY[0] <= ratio <= BUSY[1] else f"**outside of {BUSY[0]}–{BUSY[1]}: void**"
        lines += [
            f"Busy: a process on the load's core sweeps memory of four times the last-level cache. The bare handler "
            f"costs {ratio:.2f} × its quiet CPU ({verdict}).",
            "",
        ]
    first, one, more = extra
    lines += [
        f"First answer {first:.2f} s after the start. Proportional set size: parent and one worker {one:.0f} MiB, "
        f"each further worker {more:.1f} MiB.",
        "",
    ]
    return "\n".join(lines)


def machine() -> str:
    """Return the machine and the Python of a report."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    cpu = found[1] if found else platform.machine()
    return f"{cpu}, {os.cpu_count()} cores visible, Linux {platform.release()}, Python {platform.python_version()}"


def server_and_load_core() -> tuple[str, str]:
    """Return the cores of the server and of the load."""
    cores = sorted(os.sched_getaffinity(0))
    return str(cores[0]), str(cores[-1])


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


def answer_of(command: list[str], core: str) -> bytes:
    """Return a server's response to ``REQUEST``."""
    with running(command, core, {}) as (_, port, _):
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        request = urllib.request.Request(url, REQUEST, {"authorization": "Bearer x"})
        body: bytes = urllib.request.urlopen(request).read()
        return body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="seconds of each measurement")
    parser.add_argument("--busy", action="store_true", help="measure on a busy machine too, which takes twice as long")
    parser.add_argument(
        "--only", default="", help="measure only contenders whose name matches this pattern, and the baselines"
    )
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is required: install Debian's package 'wrk' (apt-get install wrk)")
    server_core, load_core = server_and_load_core()
    with tempfile.TemporaryDirectory() as name, awake() as polling:
        directory = Path(name)
        found = contenders(directory, lambda command: answer_of(command, server_core))
        config = Path(next(one for one in found if one.name == CHAT).command[-1])
        baselines = (CONST, BARE, CHAT, FASTAPI)
        found = [one for one in found if one.name in baselines or re.search(arguments.only, one.name)]
        bare = next(one for one in found if one.name == BARE)
        duty = calibrated(bare, server_core, load_core) if arguments.busy else 0.0
        for round_ in range(arguments.rounds):
            for contender in found:
                contender.quiet.append(measure(contender, server_core, load_core, arguments.seconds))
                if duty:
                    with sweeping(load_core, duty):
                        contender.busy.append(measure(contender, server_core, load_core, arguments.seconds))
                done = f"{round_ + 1}/{arguments.rounds} {contender.name}: {contender.quiet[-1][0]:.1f} µs"
                print(f"{done}, busy {contender.busy[-1][0]:.1f} µs" if duty else done, flush=True)
        print("idle cores were", "kept awake" if polling else "left to halt: /dev/cpu_dma_latency cannot be written")
        text = report(found, arguments.rounds, arguments.seconds, start_and_memory(config, server_core))
    print(text)
    if not arguments.only:
        (HERE / "report.md").write_text(text)
        rounds = {one.name: {"quiet": one.quiet, "busy": one.busy} for one in found}
        (HERE / "report.json").write_text(json.dumps({"columns": ["micros", "per_second"], "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
