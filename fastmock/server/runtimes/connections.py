"""Granian's connections, found by their peer, an ``address:port``, among the process's file descriptors."""

import ctypes
import fcntl
import os
import resource
import socket
import struct
import sys
import termios
import time
from contextlib import suppress
from typing import Any, NamedTuple

from fastmock.core.http import Ending
from fastmock.shared.block import Share
from fastmock.shared.connection_counts import CLOSED_IDLE, OPENED, REUSED

DEFAULT_MOST = 16_384  # connections
FLUSHED = 0.02
"""Seconds after which an answer has left the process."""
TRUSTED = 65_536
"""Bytes of a stream, after which its reader is monitored: Granian would buffer without limit."""
MOST_UNREAD = 131_072
"""Bytes in the kernel's buffer, above which sending pauses."""
_OWN_FILES = 48  # needed by the process for other purposes
_FEWEST = 8
_SEARCH_SHARE = 0.05  # of the time, spent on searches for a connection, each of which scans all of them
_FULL, _ROOMY = 0.9, 0.8  # shares of the maximum: above the first idle connections are closed, down to the second
_LEAST_IDLE = 0.2  # seconds; a connection that received data, or whose answer ended, since then is not idle
_TCP_INFO = struct.Struct("=B51xI")  # the state and the milliseconds since data arrived, in Linux's struct tcp_info
_BYTES_ACKED = struct.Struct("=120xQ")  # the number of acknowledged bytes, in the same struct
_ESTABLISHED = 1
_MOST_LET_GO = 4096  # clients whose last answer is remembered, before the older ones are dropped
_FEWEST_SEEN = 64  # clients that are remembered before disconnected ones are searched for


def most_connections(wanted: int | None) -> int:
    """Return the maximum number of open connections of a worker, which the limit of open files bounds too."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(_FEWEST, min(wanted or DEFAULT_MOST, files - _OWN_FILES))


class Flow(NamedTuple):
    """Bytes of a connection: those not read by the client, and all that were ever handed to the kernel."""

    unread: int
    written: int


class _Idle(NamedTuple):
    """An idle connection: the seconds since data arrived, and its descriptor."""

    seconds: float
    descriptor: int


class Connections:
    """The connections of one worker; all methods but ``seen`` may be called from any thread.

    Attributes:
        searched: the time of the last search for a connection, a reading of ``time.monotonic``.
    """

    def __init__(self, most: int, share: Share) -> None:
        """``most``: the maximum number of open connections; ``share``: the block in which they are counted."""
        self._most = most
        self._share = share
        self._seen: set[str] = set()
        self._most_seen = _FEWEST_SEEN
        self._descriptors: dict[str, int] = {}
        self.searched = 0.0
        self._next_search = 0.0
        self._answered: dict[str, int] = {}
        self._let_go: dict[str, float] = {}  # clients by the time of their last answer

    def seen(self, client: str) -> None:
        """Count a request as the first of its connection or as a further one.

        Disconnected clients are removed before a new one can reuse their port: whenever twice as many are known as were
        connected at the last check.
        """
        share = self._share
        if client in self._seen:
            share.numbers[share.row + REUSED] += 1
            return
        share.numbers[share.row + OPENED] += 1
        if len(self._seen) >= self._most_seen:
            self._seen &= {_peer(int(name)) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
            self._most_seen = max(_FEWEST_SEEN, 2 * len(self._seen))
        self._seen.add(client)

    def close_idle(self, client: str, idle: float) -> None:
        """Close a client's connection if it has been idle for ``idle`` seconds."""
        descriptor = self._find(client)
        seconds = None if descriptor is None else _seconds_idle(descriptor)
        if descriptor is not None and seconds is not None and seconds >= idle and client not in self._answered:
            _shut_down(descriptor)
            self._share.numbers[self._share.row + CLOSED_IDLE] += 1

    def hold(self, client: str) -> None:
        """Record that an answer to a client is in progress: its connection is not idle."""
        self._answered[client] = self._answered.get(client, 0) + 1

    def let_go(self, client: str) -> None:
        """Record that the answer has ended."""
        left = self._answered.get(client, 0) - 1
        if left > 0:
            self._answered[client] = left
        else:
            self._answered.pop(client, None)
            self._let_go[client] = now = time.monotonic()
            if len(self._let_go) >= _MOST_LET_GO:
                self._let_go = {one: at for one, at in self._let_go.items() if at > now - _LEAST_IDLE}

    def _is_answered(self, client: str) -> bool:
        """Return whether an answer to a client is in progress, or ended so recently that it may not have left the
        process.
        """
        return client in self._answered or self._let_go.get(client, 0.0) > time.monotonic() - _LEAST_IDLE

    def make_room(self) -> None:
        """Close the connections that have been idle longest when the maximum is nearly reached."""
        names = os.listdir("/proc/self/fd")  # noqa: PTH208 - a plain listing
        if len(names) - _OWN_FILES < self._most * _FULL:
            return
        count = 0
        idle: list[_Idle] = []
        for name in names:
            seconds = _seconds_idle(int(name))
            if seconds is not None:
                count += 1
                if seconds >= _LEAST_IDLE:
                    idle.append(_Idle(seconds, int(name)))
        if count < self._most * _FULL:
            return
        idle.sort(reverse=True)
        excess = count - int(self._most * _ROOMY)
        for connection in idle:
            if excess <= 0:
                break
            if not self._is_answered(_peer(connection.descriptor)):
                _shut_down(connection.descriptor)
                self._share.numbers[self._share.row + CLOSED_IDLE] += 1
                excess -= 1

    def close_unanswered(self, others: set[str]) -> None:
        """Close the connections without an answer in progress or recent data, as the worker stops; ``others`` are
        clients to spare.
        """
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            seconds = _seconds_idle(int(name))
            if seconds is not None and seconds >= _LEAST_IDLE:
                client = _peer(int(name))
                if not self._is_answered(client) and client not in others:
                    _shut_down(int(name))

    def unread(self, client: str) -> int | None:
        """Return the number of bytes in the kernel that a client has not read; None if the client is not found."""
        flow = self.flow(client)
        return None if flow is None else flow.unread

    def flow(self, client: str) -> Flow | None:
        """Return the kernel's counters of the bytes sent to a client; None if the client is not found."""
        descriptor = self._descriptors.get(client)
        if descriptor is None or _peer(descriptor) != client:
            if time.monotonic() < self._next_search:
                return None
            descriptor = self._find(client)
        return None if descriptor is None else _flow(descriptor)

    def end(self, client: str, ending: Ending) -> None:
        """Close or reset a connection."""
        descriptor = self._descriptors.get(client)
        if descriptor is None or _peer(descriptor) != client:
            descriptor = self._find(client)
        if descriptor is None:  # already closed
            return
        if ending == "closed":
            _shut_down(descriptor)
        else:  # connecting to AF_UNSPEC resets it
            nobody = (ctypes.c_char * 16)()  # a sockaddr of the family AF_UNSPEC, which is 0
            ctypes.CDLL(None).connect(descriptor, nobody, len(nobody))

    def _find(self, client: str) -> int | None:
        self.searched = begin = time.monotonic()
        self._descriptors = {_peer(int(name)): int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
        now = time.monotonic()
        self._next_search = now + (now - begin) / _SEARCH_SHARE
        return self._descriptors.get(client)


class ClosingTask:
    """The closing of an idle connection; see ``scheduler.ScheduledTask``."""

    __slots__ = ("_client", "_connections", "_idle", "_transport")

    def __init__(self, connections: Connections, client: str, idle: float | None, transport: Any = None) -> None:
        """``idle``: seconds for which it must have been idle; None to close it in any case. ``transport`` is kept until
        then, since its release would complete an answer.
        """
        self._connections, self._client, self._idle, self._transport = connections, client, idle, transport

    def step(self, now: float) -> None:
        """Close the connection, unless it was used since."""
        if self._idle is None:
            self._connections.end(self._client, "closed")
        else:
            self._connections.close_idle(self._client, self._idle)


class ReadingProgress:
    """Tracks whether a client reads at all."""

    __slots__ = ("_mark", "_patience", "_since")

    def __init__(self, patience: float) -> None:
        """``patience``: seconds for which it may read nothing."""
        self._patience = patience
        self._since = time.monotonic()
        self._mark = -1

    def is_over(self, mark: int) -> bool:
        """Return whether a client has read nothing for too long; ``mark`` changes when it reads."""
        now = time.monotonic()
        if mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since > self._patience


def _seconds_idle(descriptor: int) -> float | None:
    """Return the seconds since data arrived on a connection; None if the descriptor is not an established
    connection.
    """
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        state, milliseconds = _TCP_INFO.unpack(
            connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        )
        return milliseconds / 1000 if state == _ESTABLISHED else None
    except (OSError, struct.error):
        return None
    finally:
        connection.detach()


def _flow(descriptor: int) -> Flow | None:
    waiting = bytearray(4)
    try:
        connection = socket.socket(fileno=descriptor)
        try:
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        finally:
            connection.detach()
        fcntl.ioctl(descriptor, termios.TIOCOUTQ, waiting)
        unread = int.from_bytes(waiting, sys.byteorder)
        return Flow(unread, _BYTES_ACKED.unpack(info)[0] + unread)
    except (OSError, struct.error):
        return None


def _shut_down(descriptor: int) -> None:
    with suppress(OSError):
        connection = socket.socket(fileno=descriptor)
        try:
            connection.shutdown(socket.SHUT_RDWR)
        finally:
            connection.detach()


def _peer(descriptor: int) -> str:
    """Return ``address:port`` of a descriptor's peer; empty without one."""
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        return ""
    try:
        address = connection.getpeername()
        return f"[{address[0]}]:{address[1]}" if len(address) == 4 else f"{address[0]}:{address[1]}"
    except (OSError, IndexError):
        return ""
    finally:
        connection.detach()
