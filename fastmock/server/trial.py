"""A process in which changes are tried, one after another: compiling can die, hang or exhaust memory there without
harm.
"""

import os
import pickle
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fastmock.server.channel import Channel, ChannelClosedError
from fastmock.server.processes import die_with_parent, name_process

_MEMORY = 2 << 30  # bytes that the process may take beyond the parent's size
_KEPT_MEMORY = 128 << 20  # bytes beyond which it ends after a trial
_KEPT_SECONDS = 5.0  # seconds it waits for the next trial: a fork takes 3 to 10 ms, its first writes as long
_MOST_TRIALS = 1000

NAME = "fastmock-trials"
"""The name of the process."""


class TrialError(Exception):
    """A trial ended without an outcome; the message gives the cause."""


class Trials:
    """A forked process that tries one argument after another; it ends after a period without use.

    Attributes:
        pid: the process id.
        status: its exit status, as from ``os.waitpid``; None while it runs. The code that reaps it may set it.
    """

    def __init__(self, call: Callable[[Any], tuple[Any, bool]], in_child: Callable[[], None]) -> None:
        """Fork the process.

        Args:
            call: tries a picklable argument; returns the outcome, picklable too, and whether the process can try more.
            in_child: called first in the new process, in which all signals are blocked.
        """
        self._channel, theirs = Channel.pair()
        self.status: int | None = None
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._channel.close()
            _run(call, in_child, parent, theirs)
        theirs.close()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is an outcome, or cannot be one."""
        return self._channel.fileno()

    def begin(self, argument: Any) -> bool:
        """Start to try an argument; return False if the process has ended."""
        return self.status is None and self._channel.send(pickle.dumps(argument))

    def outcome(self) -> Any:
        """Return the outcome of the current trial; None while it runs.

        Raises:
            TrialError: there will be none; the process has ended.
        """
        with suppress(ChannelClosedError):
            data = self._channel.receive()
            if data is not None:
                return pickle.loads(data)  # noqa: S301 - our own
            if self.status is None:
                return None
        if self.status is None:
            with suppress(ChildProcessError):
                self.status = os.waitpid(self.pid, 0)[1]
        code = os.waitstatus_to_exitcode(self.status or 0)
        if code < 0:
            raise TrialError(f"compiling it was stopped by {signal.Signals(-code).name}")
        raise TrialError(f"compiling it ended the process with exit code {code}")

    def cancel(self) -> None:
        """End the process."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                self.status = os.waitpid(self.pid, 0)[1]
        self.close()

    def close(self) -> None:
        """Release the process; it ends by itself."""
        self._channel.close()


def _run(call: Callable[[Any], tuple[Any, bool]], in_child: Callable[[], None], parent: int, channel: Channel) -> None:
    """Try the arguments sent by the parent and send the outcomes, in the child; never return."""
    code = 1
    try:
        die_with_parent(parent)
        name_process(NAME)
        in_child()
        size = _size()
        resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for _ in range(_MOST_TRIALS):
            data = _next(channel)
            if data is None:
                break
            outcome, goes_on = call(pickle.loads(data))  # noqa: S301 - our own
            channel.send(pickle.dumps(outcome))
            if not goes_on or _size() > size + _KEPT_MEMORY:
                break
        code = 0
    except BaseException as error:
        sys.stderr.write(f"fastmock: compiling a change failed: {type(error).__name__}: {error}\n")
    finally:
        sys.stderr.flush()
        os._exit(code)


def _next(channel: Channel) -> bytes | None:
    """Return the next argument; None after a period without one, or when the parent has released the process."""
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    deadline = time.monotonic() + _KEPT_SECONDS
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        try:
            data = channel.receive()
        except ChannelClosedError:
            return None
        if data is not None:
            return data
    return None


def _size() -> int:
    """Return the size of this process in bytes."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no path is made of it
        return int(file.read().split()[0]) * resource.getpagesize()
