"""The listening socket, shared by all workers."""

import ctypes
import errno
import socket
import struct
import time
from contextlib import suppress

BACKLOG = 16_384
_ATTACH_FILTER, _RETURN = 26, 0x06  # SO_ATTACH_FILTER, and the instruction of BPF
_LAST_ACCEPTS = 0.05  # seconds in which waiting connections are accepted before the socket is closed


class ListenError(Exception):
    """The socket cannot be opened; the message gives the reason and a remedy, in one line."""


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen on a name or an address; port 0 takes a free one.

    Of a name's addresses the first is used, IPv4 before IPv6: ``localhost`` is 127.0.0.1 if both exist.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(f"no address is known for the host {host!r} ({error})") from None
    family, kind, proto, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    try:
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by accepted connections
        if family == socket.AF_INET6 and host in ("::", ""):
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(_advice(host, port, error)) from None
    listener.setblocking(False)
    return listener


def _advice(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; choose another with --port, or --port 0 for a free one"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission to listen on port {port}; ports below 1024 often need it, choose another with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; choose one with --host, or 0.0.0.0 for all"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def url(listener: socket.socket, host: str, scheme: str) -> str:
    """Return the URL at which ``listener`` is reached from this machine."""
    port = listener.getsockname()[1]
    if host in ("0.0.0.0", ""):  # noqa: S104 - compared with, not bound to
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def close_listeners(*listeners: socket.socket | None) -> None:
    """Close listening sockets that workers still accept from; None stands for no socket.

    The kernel resets connections that wait to be accepted when the last descriptor is closed. So it is told first to
    ignore further attempts to connect, which clients repeat until they are refused, and the workers accept those that
    wait. Without it a burst of 150 connections lost 68.
    """
    found = [listener for listener in listeners if listener is not None]
    instruction = ctypes.create_string_buffer(struct.pack("=HBBI", _RETURN, 0, 0, 0))  # keeps no byte of any packet
    for listener in found:
        with suppress(OSError):
            program = struct.pack("@HP", 1, ctypes.addressof(instruction))
            listener.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    time.sleep(_LAST_ACCEPTS)
    for listener in found:
        listener.close()
