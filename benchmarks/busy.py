"""Keep the last-level cache busy, as neighbours on a shared host do: sweep memory of several times its size.

Usage: ``python -m benchmarks.busy CORE DUTY``, where DUTY is the share of time to sweep, from 0 to 1. A signal
``SIGSTOP`` pauses it, ``SIGCONT`` continues it.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

_TIMES = 4  # the size of the cache
_CHUNK = 1 << 18  # numbers swept between two looks at the clock: 2 MiB


def cache_bytes() -> int:
    """Return the size of the last-level cache."""
    sizes = [text.read_text() for text in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max((int(found[1]) << 10 for text in sizes if (found := re.match(r"(\d+)K", text))), default=32 << 20)


def sweep(duty: float) -> None:
    """Sweep for ever."""
    numbers = np.zeros(_TIMES * cache_bytes() // 8, np.uint64)
    while True:
        for place in range(0, len(numbers), _CHUNK):
            start = time.perf_counter()
            numbers[place : place + _CHUNK] += 1
            if duty < 1:
                time.sleep((time.perf_counter() - start) * (1 - duty) / duty)


@contextmanager
def sweeping(core: str, duty: float) -> Iterator[None]:
    """Sweep in another process on one core."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.busy", core, str(duty)])
    time.sleep(0.3)  # to fill the memory
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    sweep(float(sys.argv[2]))
