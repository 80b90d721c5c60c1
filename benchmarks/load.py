"""Run a locust scenario against a server started for it, and write an HTML report.

Run it with ``make locust``. With ``--processes N`` the load is distributed: one master and N workers.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.contenders import HERE
from benchmarks.ratios import free_port, running

REPORT = HERE / "locust.html"


def locust(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), *words])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", help="a class of locustfile.py")
    parser.add_argument(
        "--processes", type=int, default=0, help="worker processes of a distributed load; 0 is one process"
    )
    parser.add_argument("--config", type=Path, default=HERE.parent / "config.json", help="the server's configuration")
    arguments, load = parser.parse_known_args()
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    server = [sys.executable, "-m", "fastmock", "--port", "PORT", "--config", str(arguments.config)]
    with running(server, cores, {}) as (_, port, _):
        words = ["--headless", "--only-summary", "--html", str(REPORT), "--host", f"http://127.0.0.1:{port}", *load]
        if arguments.processes == 0:
            return locust(arguments.scenario, *words).wait()
        master = str(free_port())
        workers = [locust(arguments.scenario, "--worker", "--master-port", master) for _ in range(arguments.processes)]
        expected = ("--expect-workers", str(arguments.processes))
        code = locust(arguments.scenario, "--master", "--master-bind-port", master, *expected, *words).wait()
        for worker in workers:
            worker.wait(30)
        return code


if __name__ == "__main__":
    sys.exit(main())
