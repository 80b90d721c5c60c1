"""A lock that is shared by the processes of a server and by their threads, to be held for microseconds.

It is the kernel's lock of a file's byte: whoever dies holding it has let go of it. Taking it and letting go take 2 µs.
"""

import fcntl
import os
import tempfile
import threading
from types import TracebackType


class SharedLock:
    """One lock, for the process that makes it and all that are forked from it."""

    def __init__(self) -> None:
        self._descriptor = _file()
        self._here = threading.Lock()  # the kernel's is for processes: threads of one would not exclude each other

    def __enter__(self) -> None:
        self._here.acquire()
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._here.release()


def _file() -> int:
    """Open a file that has no name and needs no disk, where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("fastmock")
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)  # noqa: PTH108
    return descriptor
