"""Processes: end forked ones with their parent, name them, and await the end of others."""

import ctypes
import os
import select
import signal
from contextlib import suppress
from math import ceil
from pathlib import Path

_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, whatever Python is doing; call it after a fork.

    ``parent`` is the parent's process id; if it has ended already, this process ends now.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def cores(limit: Path = _CPU_LIMIT) -> int:
    """Return the number of cores that this process may use.

    These are those of its affinity, or fewer if ``limit``, the file of its control group, allows fewer.
    """
    count = len(os.sched_getaffinity(0))
    with suppress(OSError, ValueError):
        quota, period = limit.read_text().split()
        if quota != "max":
            count = max(1, min(count, ceil(int(quota) / int(period))))
    return count


def name_process(name: str) -> None:
    """Name this process, for ``ps`` and ``top``, in up to 15 characters."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())


class Owner:
    """Another process, whose end is awaited."""

    def __init__(self, pid: int | None) -> None:
        """Watch the process ``pid``; None watches none."""
        self._descriptor: int | None = None
        self._has_ended = False
        if pid is not None:
            try:
                self._descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._has_ended = True

    def register(self, poll: select.poll) -> None:
        """Have ``poll`` return when the process ends."""
        if self._descriptor is not None:
            poll.register(self._descriptor, select.POLLIN)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        if self._descriptor is not None and not self._has_ended:
            poll = select.poll()
            self.register(poll)
            self._has_ended = bool(poll.poll(0))
        return self._has_ended

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
