"""Measure what the isolation of tests costs, beside the plain requests of a test.

A server with two workers and 1,000 rules of other sessions; times are medians of calls over an open connection, as the
pytest plugin makes them. Run it with ``python -m benchmarks.isolation``.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from fastmock.testing import Client, Server
from fastmock.testing.client import new_session
from fastmock.testing.control import Control

OTHERS, SESSIONS = 1000, 200
BATCH = 50  # sessions that the plugin removes together


def milliseconds(call: Callable[[int], Any], count: int) -> float:
    """Return the median time of a call."""
    taken = []
    for number in range(count):
        begin = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - begin) * 1000)
    return median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="calls of each kind")
    count = parser.parse_args().count
    with Server("--workers", "2", config={}) as server:
        everything = Control(server.url)
        rules = [
            {"session": f"other-{number % SESSIONS}", "match": {"content": f"question {number}"}, "content": "x"}
            for number in range(OTHERS)
        ]
        everything.call("POST", "rules", rules)
        mock = Client(server.url, session=new_session("measured"))
        fresh = [Client(server.url, session=new_session("fault")) for _ in range(count)]
        for one in fresh:
            one.control.call("GET", "sessions")  # opens its connection
        found = {
            "GET /fastmock/sessions, the baseline": milliseconds(lambda _: mock.control.call("GET", "sessions"), count),
            "report on a test, in strict mode": milliseconds(lambda _: mock.report(), count),
            "a rule": milliseconds(lambda number: mock.on(f"hello {number}").reply("Hi"), count),
            "a fault": milliseconds(lambda number: fresh[number].on("hello").fails(503, times=1), count),
            "settings": milliseconds(lambda _: mock.configure(strict=True), count),
        }
        sessions = [f"gone-{number}" for number in range(BATCH)]
        found[f"removal of {BATCH} sessions, for each"] = (
            milliseconds(lambda _: everything.call("POST", "reset", {"sessions": sessions}), 10) / BATCH
        )
        mock.close()
    base = next(iter(found.values()))
    for name, taken in found.items():
        print(f"{name}: {taken:.2f} ms, {taken / base:.1f} × the baseline")


if __name__ == "__main__":
    main()
