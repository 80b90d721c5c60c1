"""A change tried in a process of its own, where compiling can die, hang or eat memory without harm."""

import gc
import os
import pickle
import resource
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastmock.server.processes import die_with_parent
from fastmock.state.tape import memory_file

_MEMORY = 2 << 30  # bytes that a trial may take beyond what the parent has


class TrialError(Exception):
    """A trial ended without an outcome; the message says how."""


class Trial:
    """A call that runs in a forked process.

    Attributes:
        pid: the process.
        status: its exit status, as ``os.waitpid`` gives it; None while it runs. Whoever reaps it may set it.
    """

    def __init__(self, call: Callable[[], Any], in_child: Callable[[], None]) -> None:
        """Begin.

        Args:
            call: returns the outcome, which has to be picklable.
            in_child: called first in the new process, in which all signals are blocked.
        """
        self._outcome = memory_file()
        self._told, tell = os.pipe()
        self.status: int | None = None
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _run(call, in_child, parent, self._outcome, tell)
        os.close(tell)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when it is over. Its outcome is there before its process ends."""
        return self._told

    @property
    def is_over(self) -> bool:
        """Whether there is a result."""
        return self.status is not None or bool(select.select([self._told], [], [], 0)[0])

    def result(self) -> Any:
        """Return the outcome; ask when it is over.

        Raises:
            TrialError: there is none.
        """
        done = self.status is None and os.read(self._told, 1)
        if not done and self.status is None:
            with suppress(ChildProcessError):
                self.status = os.waitpid(self.pid, 0)[1]
        data = os.pread(self._outcome, os.fstat(self._outcome).st_size, 0)
        self._close()
        code = os.waitstatus_to_exitcode(self.status or 0)
        if data and code == 0:
            return pickle.loads(data)  # noqa: S301 - our own
        if code < 0:
            raise TrialError(f"compiling it was ended by {signal.Signals(-code).name}")
        raise TrialError(f"compiling it ended the process with exit code {code}")

    def cancel(self) -> None:
        """End it without an outcome."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
        self._close()

    def _close(self) -> None:
        os.close(self._outcome)
        os.close(self._told)


def _run(call: Callable[[], Any], in_child: Callable[[], None], parent: int, outcome: int, tell: int) -> None:
    """Call it and leave the outcome, in the child; never return."""
    code = 1
    try:
        die_with_parent(parent)
        in_child()
        gc.disable()  # what was inherited stays shared, and the process is soon over
        with open("/proc/self/statm") as file:  # noqa: PTH123 - no path is made of it
            pages = int(file.read().split()[0])
        most = pages * resource.getpagesize() + _MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.pwrite(outcome, pickle.dumps(call()), 0)
        os.write(tell, b"1")
        code = 0
    except BaseException as error:
        sys.stderr.write(f"fastmock: compiling a change failed: {type(error).__name__}: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(code)
