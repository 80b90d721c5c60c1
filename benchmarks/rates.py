"""Measure the highest rate at which the 99th percentile of latency stays within a bound, by an open-loop load.

The load (``openloop.c``) sends at a constant rate, whatever the server does, and counts each latency from the time that
the request was due. The rate grows step by step until the widest bound is exceeded. Run it with ``make rates``.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contenders import HERE, rules
from benchmarks.ratios import awake, machine, running

BOUNDS = 1, 5, 10, 50
"""Bounds of the p99, in milliseconds."""
STEP, FIRST, CONNECTIONS, SECONDS = 1.25, 1000, 256, 2.0

HEAD = "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer sk-x\r\n"
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant"},
    {"role": "user", "content": "please test this with number NNNNNNNN"},
]
CHAT: dict[str, object] = {"model": "gpt-4", "messages": MESSAGES}
EMBEDDING: dict[str, object] = {
    "model": "text-embedding-3-small",
    "input": "a text NNNNNNNN of some words",
    "encoding_format": "base64",
}
LIMITED = {f"FASTMOCK_LIMITS_{unit}_PER_MINUTE": "1000000000" for unit in ("REQUESTS", "TOKENS")}

KINDS: dict[str, tuple[str, dict[str, object], dict[str, str], int]] = {
    "plain reply": ("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": "NNNNNNNN"}]}, {}, 0),
    "reply of a rule, of 10": ("/v1/chat/completions", CHAT, {}, 0),
    "the same, 500 bodies repeated": ("/v1/chat/completions", CHAT, {}, 500),
    "stream of 20 events without delay": ("/v1/chat/completions", CHAT | {"stream": True}, {}, 0),
    "embedding": ("/v1/embeddings", EMBEDDING, {}, 0),
    "reply of a rule, limits and journal": (
        *("/v1/chat/completions", CHAT),
        *(LIMITED | {"FASTMOCK_JOURNAL_ENABLED": "true"}, 0),
    ),
}
"""The path, body and environment of each kind of request, and the number of bodies that are repeated."""


def compiled(directory: Path) -> Path:
    """Compile the load."""
    program = directory / "openloop"
    subprocess.run(["cc", "-O2", "-o", program, HERE / "openloop.c"], check=True)
    return program


def p99(program: Path, port: int, rate: float, request: Path, repeat: int, core: str) -> float:
    """Return the 99th percentile of latency at a rate, in milliseconds; infinite if a request was refused or failed."""
    words = ["taskset", "-c", core, program, port, int(rate), SECONDS, CONNECTIONS, request, repeat]
    done = subprocess.run([str(word) for word in words], check=False, capture_output=True, text=True)
    if done.returncode:
        return float("inf")
    _, _, refused, _, found, _ = done.stdout.split()
    return float("inf") if int(refused) else int(found) / 1000


def highest(program: Path, port: int, request: Path, repeat: int, core: str) -> dict[int, float]:
    """Return the highest rate within each of ``BOUNDS``."""
    found = dict.fromkeys(BOUNDS, 0.0)
    within = list(BOUNDS)
    rate = float(FIRST)
    while within:
        seen = p99(program, port, rate, request, repeat, core)
        if seen > within[0]:  # the machine may have hiccuped
            seen = min(seen, p99(program, port, rate, request, repeat, core))
        within = [bound for bound in within if seen <= bound]
        found |= dict.fromkeys(within, rate)
        rate *= STEP
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="measure only kinds whose name contains this text")
    arguments = parser.parse_args()
    if shutil.which("cc") is None:
        raise SystemExit("a C compiler is required to compile the load")
    cores = sorted(os.sched_getaffinity(0))
    lines = [
        "# Highest rates within a bound of latency",
        "",
        f"Written by `make rates` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: requests/s at which the p99 stays within a "
        f"bound, by an open-loop load over {CONNECTIONS} connections, {SECONDS:.0f} s at each rate, which grows by "
        f"{STEP - 1:.0%} at a time. Every body different, unless it says repeated. The load has a core of its own; two "
        "workers share the other with nobody if there are three cores, else with each other.",
        "",
        f"{machine()}.",
        "",
        "| requests | workers | " + " | ".join(f"p99 ≤ {bound} ms" for bound in BOUNDS) + " |",
        "|---" * (2 + len(BOUNDS)) + "|",
    ]
    with tempfile.TemporaryDirectory() as name, awake():
        directory = Path(name)
        program, config = compiled(directory), directory / "config.json"
        config.write_text(json.dumps(rules(10)))
        for kind, (path, body, environment, repeat) in KINDS.items():
            if arguments.only not in kind:
                continue
            text = json.dumps(body)
            request = directory / "request"
            request.write_text(f"{HEAD.format(path)}content-length: {len(text)}\r\n\r\n{text}", newline="")
            for workers in (1, 2):
                command = [sys.executable, "-m", "fastmock", "--port", "PORT", "--config", str(config)]
                command += ["--workers", str(workers)]
                servers = ",".join(map(str, cores[: max(1, len(cores) - 1)][:workers]))
                with running(command, servers, environment) as (_, port, _):
                    found = highest(program, port, request, repeat, str(cores[-1]))
                rates = " | ".join(f"{found[bound]:,.0f}" for bound in BOUNDS)
                lines.append(f"| {kind} | {workers} | {rates} |")
                print(lines[-1], flush=True)
    if not arguments.only:
        (HERE / "rates.md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
