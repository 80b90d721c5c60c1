"""Messages between the parent and one worker. Neither side ever blocks on the other."""

import os
import socket
from contextlib import suppress

from fastmock.shared.ring_buffer import memory_file


class ChannelClosedError(Exception):
    """The other side has ended."""


class Channel:
    """One side of a connected pair.

    A message is an in-memory file, and only its descriptor passes through the socket: messages of any length arrive
    complete, and a process stopped in the middle of sending blocks nobody.
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
        """Send a message; return False on failure: the other side does not read, or has ended."""
        try:
            descriptor = memory_file()
        except OSError:  # too many open files
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
        """Return the next message; None if there is none.

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
        if not descriptors:  # too many open files on this side: the message is lost
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
