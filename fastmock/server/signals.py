"""The parent's signals, as a descriptor to wait for along with connections."""

import os
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOP = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGQUIT))
"""Signals that stop the server; a second one ends it at once."""
WATCHED = STOP | {signal.SIGCHLD, signal.SIGHUP}
"""All signals that the parent handles."""
DEFERRED = frozenset((signal.SIGHUP,))
"""Blocked from the very start, so that an early reload request is handled as soon as the server listens."""

FORWARDED = frozenset(
    (
        *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
        *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT, signal.SIGWINCH),
    )
)
"""Signals that ``fastmock run`` forwards to its command."""

_AT_ONCE = 4096  # bytes read at a time, each a signal


def defer(forwards: bool = False) -> None:
    """Hold signals back until the parent can handle them; call it before any heavy import.

    ``forwards``: hold back all that are forwarded: a library's thread, started by an import, would take one otherwise.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD} if forwards else DEFERRED)


def deliver() -> None:
    """Restore the usual effect of the signals held back; for commands that do not serve."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, DEFERRED)


@contextmanager
def blocked() -> Iterator[None]:
    """Block all signals in the calling thread, and in threads or processes it starts meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Signals:
    """Collects the signals of the main thread: wait for ``fileno`` to become readable, then call ``received``."""

    def __enter__(self) -> "Signals":
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._handlers: dict[signal.Signals, Any] = {number: signal.signal(number, _note) for number in WATCHED}
        self._wakeup = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers; the signals stay blocked, so that late ones have no effect."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._read.close()
        self._write.close()

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._read.fileno()

    def wait(self, seconds: float) -> bool:
        """Wait for a signal; return whether one arrived."""
        return bool(select.select([self._read], [], [], seconds)[0])

    def received(self) -> list[int]:
        """Return the numbers of the signals received since the last call."""
        try:
            return list(self._read.recv(_AT_ONCE))
        except BlockingIOError:
            return []

    def forget_in_child(self) -> None:
        """Restore the usual effects of the signals, in a newly forked process with all of them blocked."""
        signal.set_wakeup_fd(-1)
        for number in WATCHED:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.close(self._read.detach())
        os.close(self._write.detach())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def _note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the interpreter has written the number for ``received``."""
