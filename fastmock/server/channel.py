"""Messages between the parent and one worker. Neither side ever waits for the other to read."""

import os
import socket
from contextlib import suppress

from fastmock.shared.ring_buffer import memory_file


class ChannelClosedError(Exception):
    """The other side has ended."""


class Channel:
    """One side of a pair.

    A message is a file in memory, of which only the descriptor passes through the socket: so messages of any length
    arrive whole, and a process that is stopped in the middle of sending holds up nobody.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        connection.setblocking(False)

    @classmethod
    def pair(cls) -> "tuple[Channel, Channel]":
        """Return two connected sides."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is a message, or the other side has ended."""
        return self._socket.fileno()

    def send(self, message: bytes) -> bool:
        """Send a message; return False where it could not be: the other side does not read, or has ended."""
        try:
            descriptor = memory_file()
        except OSError:  # there are too many open files
            return False
        try:
            os.pwrite(descriptor, message, 0)
            socket.send_fds(self._socket, [b"."], [descriptor])
        except OSError:  # BlockingIOError and BrokenPipeError too
            return False
        finally:
            os.close(descriptor)
        return True

    def receive(self) -> bytes | None:
        """Return the next message; None where there is none.

        Raises:
            ChannelClosedError: the other side has ended.
        """
        try:
            mark, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        except BlockingIOError:
            return None
        except OSError:
            raise ChannelClosedError from None
        if not mark:
            raise ChannelClosedError
        if not descriptors:  # there are too many open files here: the message is lost
            return None
        [descriptor] = descriptors
        try:
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close this side."""
        with suppress(OSError):
            self._socket.close()
