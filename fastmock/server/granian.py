"""The Granian runtime: Granian's threads do the HTTP, one thread of Python answers, and one paces.

Granian's own process manager is not used, nor asyncio: the worker and the scheduler below them are, which are not
public. The version is pinned, and tests hold the pin.
"""

import ctypes
import fcntl
import logging
import os
import signal
import socket
import sys
import termios
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from fastmock.api import errors
from fastmock.app import App
from fastmock.control.admin import PREFIX
from fastmock.server.listen import BACKLOG
from fastmock.server.live import Live
from fastmock.state.block import GENERATION
from fastmock.timing.pace import UNCOUNTED, Pacer, nothing
from fastmock.timing.wheel import Wheel
from fastmock.wire import Ending, Head, Reply, Request, Stream

_MANAGER_THREADS = 64  # calls of a response manager at a time
_BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
# Seconds; who hangs up is noticed at the next frame, but at once in a wait longer than this or in the queue.
_LONG_WAIT = 1.0
_TRUSTED = 65_536  # bytes of a stream, after which its reader is watched: Granian would buffer without bound
_MOST_UNREAD = 131_072  # bytes in the kernel's buffer, above which a reader is waited for
_READER_PAUSE = 0.05  # seconds between looks at whether it has read
_SEARCH_PAUSE = 0.5  # seconds between searches for a connection, which look at all of them
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_LOG = logging.getLogger("fastmock")


def preload() -> None:
    """Import Granian before the workers are forked."""
    from granian import _granian, http  # noqa: F401


def serve(live: Live, listener: socket.socket, ready: Callable[[], None], timeout: float) -> None:
    """Serve on ``listener`` until a signal asks to stop and what is in flight has ended.

    Args:
        live: what answers.
        listener: the listening socket.
        ready: called once the worker can answer.
        timeout: seconds that streams in flight are given to end.
    """
    private: Any = import_module("granian._granian")  # its stubs describe less than there is
    http: Any = import_module("granian.http")
    logging.getLogger("_granian").setLevel(logging.WARNING)
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # threads inherit the mask
    # Threads that wake each other, here for every frame, shall not throw each other off the CPU.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    stop = private.WorkerSignal()
    ended = threading.Event()
    stop.add_cb(ended.set)
    settings = live.app.config.settings
    server = settings.server
    tls = (True, server.tls_cert, server.tls_key) if server.tls_cert else (False, None, None)
    worker = private.RSGIWorker(
        1,
        (None, private.SocketHolder(listener.fileno(), False, BACKLOG)),
        None,
        1,  # runtime threads
        1,  # runtime blocking threads
        1,  # threads of Python
        30,  # their idle time-out
        settings.streaming.max_concurrent,
        "auto" if server.http2 else "1",
        http.HTTP1Settings(),
        http.HTTP2Settings() if server.http2 else None,
        False,
        None,
        *tls,
        None,  # the key's password
        "tls1.2",
        None,
        [],
        False,
        (None, None),
    )
    wheel = Wheel()
    wheel.start()
    loop = _AtOnce()
    scheduler = private.CallbackScheduler(loop, None, None, None, None)
    scheduler._schedule_fn = _Adapter(live, wheel).begin
    worker.serve_str(scheduler, loop, stop)
    ready()
    signal.sigwait(_STOP)
    live.stop()
    stop.set()
    ended.wait(timeout)
    live.close()


class _AtOnce:
    """What Granian takes for an event loop: it runs callbacks at once, in Granian's thread of Python.

    Granian would hand them to asyncio's thread: two more wake-ups a request.
    """

    def call_soon(self, callback: Callable[[Any], None], future: Any, context: Any = None) -> None:
        """Run a callback."""
        callback(future)

    call_soon_threadsafe = call_soon


class _Adapter:
    """Turns RSGI's requests into ours and our answers into RSGI's.

    Everything here runs in Granian's thread of Python; an exception would be lost in it, so that none may leave.
    """

    def __init__(self, live: Live, wheel: Wheel) -> None:
        self._live = live
        self._wheel = wheel
        self._connections = _Connections()
        self._threads = ThreadPoolExecutor(_MANAGER_THREADS, "manager")  # its threads are made when they are needed
        self._heads: dict[Head, list[tuple[str, str]]] = {}
        self._watched = False

    def begin(self, watcher: Any) -> None:
        """Take a request; its body is still to come."""
        if not self._watched:
            self._watched = True
            self._live.heartbeat.watch()
        start = time.monotonic()
        self._wheel.begun += 1
        scope, proto = watcher.scope, watcher.proto
        try:
            if self._live.numbers[GENERATION] != self._live.generation:
                self._live.obey()
            app = self._live.app
            answer = partial(self._answer, app, scope, proto, start)
            if scope.method in _BODILESS:
                answer(b"")
                return
            limit = app.config.settings.server.max_body_bytes
            length = scope.headers.get("content-length")
            if length is None:
                _Body(proto, limit, answer).read()
            elif len(length) > 18 or int(length) > limit:
                answer(errors.too_large(limit))
            else:
                proto().add_done_callback(partial(_whole_body, answer))
        except Exception:
            _LOG.exception("a request could not be taken; this is a defect of fastmock")

    def _answer(self, app: App, scope: Any, proto: Any, start: float, body: bytes | errors.ApiError) -> None:
        """Answer a request whose body was read, or could not be."""

        def respond() -> None:
            try:
                if isinstance(body, errors.ApiError):
                    request = Request(scope.method, scope.path, scope.headers, b"")
                    answer: Reply | Stream = app.refused(body, request)
                else:
                    request = Request(scope.method, scope.path, scope.headers, body)
                    if request.method in _BODILESS and scope.query_string:
                        request.query = parse_qs(scope.query_string, keep_blank_values=True)
                    if request.path.startswith(PREFIX):
                        request.client, request.host = scope.client, scope.authority or ""
                    answer = app.handle(request)
                self._send(app, scope, proto, start, answer)
            except Exception:
                _LOG.exception("an answer could not be sent; this is a defect of fastmock")

        if app.manager is None:
            respond()
        else:  # it may block, which harms no other request here
            self._threads.submit(respond)

    def _send(self, app: App, scope: Any, proto: Any, start: float, answer: Reply | Stream) -> None:
        status, constant = answer.head.status, self._constant(answer.head)
        headers = [*constant, (answer.head.id_name, answer.request_id), *answer.more]
        if answer.values:
            headers += zip(answer.head.varying, answer.values, strict=True)
        play: _Play
        if isinstance(answer, Reply):
            respond = partial(proto.response_bytes, status, headers, answer.body)
            if answer.ending != "whole" or answer.unsent:
                respond = partial(self._break_off, scope, proto, headers, answer)
            if answer.dues is None:
                respond()
                return
            if answer.control:
                respond = partial(self._respond, proto, answer)
            pacer = Pacer(answer.dues, nothing, start, UNCOUNTED if answer.control else app.share)
            play = _Waiting(self._wheel, proto, pacer, respond)
        else:
            transport = proto.response_stream(status, headers)
            late = UNCOUNTED if answer.control else app.share
            pacer = Pacer(answer.dues, answer.cut, start, late, answer.failed)
            play = _Streaming(self._wheel, proto, pacer, transport, self._connections, scope.client, answer)
        due = play.step(time.monotonic())
        if due is not None:
            self._wheel.add(due, play)

    def _respond(self, proto: Any, answer: Reply) -> None:
        """Send what has become of a reply."""
        headers = [*self._constant(answer.head), (answer.head.id_name, answer.request_id), *answer.more]
        proto.response_bytes(answer.head.status, headers, answer.body)

    def _break_off(self, scope: Any, proto: Any, headers: list[tuple[str, str]], answer: Reply) -> None:
        """Reset the connection instead of answering, or send less than is promised, upon which Granian closes it."""
        if answer.ending != "whole":
            self._connections.end(scope.client, answer.ending)
            return
        length = str(len(answer.body) + answer.unsent)
        transport = proto.response_stream(answer.head.status, [*headers, ("content-length", length)])
        for _ in transport.send_bytes(answer.body):
            pass

    def _constant(self, head: Head) -> list[tuple[str, str]]:
        known = self._heads.get(head)
        if known is None:
            if len(self._heads) >= 256:
                self._heads.clear()
            known = self._heads[head] = list(head.headers)
        return known


Answer = Callable[[bytes | errors.ApiError], None]
"""Goes on with a body, or with what was wrong with it."""


def _whole_body(answer: Answer, reading: Any) -> None:
    try:
        body: bytes | errors.ApiError = reading.result()
    except RuntimeError:  # as which Granian's own errors come: the body was cut short, or malformed
        body = errors.bad_json()
    answer(body)


class _Body:
    """A body of unknown length, read part by part, but not beyond a limit."""

    def __init__(self, proto: Any, limit: int, answer: Answer) -> None:
        self._parts = aiter(proto)
        self._limit = limit
        self._answer = answer
        self._body = bytearray()

    def read(self) -> None:
        """Ask for the next part."""
        try:
            anext(self._parts).add_done_callback(self._take)
        except StopAsyncIteration:
            self._answer(bytes(self._body))

    def _take(self, reading: Any) -> None:
        try:
            self._body += reading.result()
        except RuntimeError:
            self._answer(errors.bad_json())
            return
        if len(self._body) > self._limit:
            self._answer(errors.too_large(self._limit))
        else:
            self.read()


class _Play(ABC):
    """An answer that takes its time; see ``wheel.Play``."""

    __slots__ = ("_gone", "_pacer", "_proto", "_watch", "_wheel")

    def __init__(self, wheel: Wheel, proto: Any, pacer: Pacer) -> None:
        self._wheel = wheel
        self._proto = proto
        self._pacer: Pacer | None = pacer
        self._watch: Any = None
        self._gone = False

    def step(self, now: float) -> float | None:
        """Send what is due; return when the next is, or None at the end."""
        pacer = self._pacer
        if pacer is None:  # it was left when the client hung up, and this is the step that was planned before
            return None
        if self._gone:
            self._leave()
            return None
        if self._reads_slowly():
            return now + _READER_PAUSE
        planned, data = pacer.due or now, pacer.take(now)
        following = pacer.due
        if self._send(data):
            if following is None:
                self._end()
            else:
                queues = not data and planned <= now
                if self._watch is not None or not (queues or following - now > _LONG_WAIT) or self._watched():
                    return following
        self._leave()
        return None

    def _watched(self) -> bool:
        """Watch for a hang-up; return False where there is nobody any more."""
        watch = self._proto.client_disconnect()
        if not hasattr(watch, "add_done_callback"):
            return False
        watch.add_done_callback(self._hung_up)
        self._watch = watch
        return True

    def _hung_up(self, watch: Any) -> None:
        """Have the answer left now, in the wheel's own thread."""
        if not watch.cancelled():
            self._gone = True
            self._wheel.add(0.0, self)

    def _leave(self) -> None:
        """Let go of everything; a step that is planned still holds this object."""
        if self._watch is not None:
            self._watch.cancel()
        self._pacer = self._proto = self._watch = None

    def _reads_slowly(self) -> bool:
        return False

    @abstractmethod
    def _send(self, data: bytes) -> bool:
        """Send a part; return whether there is anyone to read it."""

    @abstractmethod
    def _end(self) -> None:
        """Do what is left to do when everything has been sent."""


class _Waiting(_Play):
    """A whole answer, which is sent when its time has passed."""

    __slots__ = ("_respond",)

    def __init__(self, wheel: Wheel, proto: Any, pacer: Pacer, respond: Callable[[], None]) -> None:
        super().__init__(wheel, proto, pacer)
        self._respond: Callable[[], None] | None = respond

    def _send(self, data: bytes) -> bool:
        return True

    def _end(self) -> None:
        if self._respond is not None:
            self._respond()

    def _leave(self) -> None:
        self._respond = None
        super()._leave()


class _Streaming(_Play):
    """A stream."""

    __slots__ = ("_client", "_connections", "_sent", "_stream", "_transport")

    def __init__(
        self,
        wheel: Wheel,
        proto: Any,
        pacer: Pacer,
        transport: Any,
        connections: "_Connections",
        client: str,
        stream: Stream,
    ) -> None:
        super().__init__(wheel, proto, pacer)
        self._transport = transport
        self._connections = connections
        self._client = client
        self._stream: Stream | None = stream
        self._sent = 0

    def _reads_slowly(self) -> bool:
        return self._sent > _TRUSTED and self._connections.unread(self._client) > _MOST_UNREAD

    def _send(self, data: bytes) -> bool:
        if data:
            self._sent += len(data)
            try:
                # Nothing is waited for: Granian only queues it, and what it returns tells whether the client hung up.
                for _ in self._transport.send_bytes(data):
                    pass
            except RuntimeError:  # as which RSGIProtocolClosed comes
                return False
        return True

    def _end(self) -> None:
        """End the body, by letting go of what it is sent with; or the connection, before that could be done."""
        if self._stream is not None and self._stream.ending != "whole":
            self._connections.end(self._client, self._stream.ending)

    def _leave(self) -> None:
        self._transport = self._stream = None
        super()._leave()


class _Connections:
    """Reaches for the connections themselves; they are Granian's, and found by their peer, an ``address:port``."""

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}
        self._searched = 0.0

    def unread(self, client: str) -> int:
        """Return the bytes that a client has not read and that wait in the kernel; 0 where it is not found."""
        descriptor = self._descriptors.get(client)
        if descriptor is None or _peer(descriptor) != client:
            now = time.monotonic()
            if now < self._searched + _SEARCH_PAUSE:
                return 0
            self._searched = now
            descriptor = self._find(client)
        if descriptor is None:
            return 0
        waiting = bytearray(4)
        with suppress(OSError):
            fcntl.ioctl(descriptor, termios.TIOCOUTQ, waiting)
        return int.from_bytes(waiting, sys.byteorder)

    def end(self, client: str, ending: Ending) -> None:
        """Close or reset a connection."""
        descriptor = self._descriptors.get(client)
        if descriptor is None or _peer(descriptor) != client:
            descriptor = self._find(client)
        if descriptor is None:  # it is gone already
            return
        if ending == "closed":
            connection = socket.socket(fileno=descriptor)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.detach()
        else:  # to connect it to nobody resets it
            nobody = (ctypes.c_char * 16)()  # a sockaddr of the family AF_UNSPEC, which is 0
            ctypes.CDLL(None).connect(descriptor, nobody, len(nobody))

    def _find(self, client: str) -> int | None:
        self._descriptors = {_peer(int(name)): int(name) for name in os.listdir("/proc/self/fd")}  # noqa: PTH208
        return self._descriptors.get(client)


def _peer(descriptor: int) -> str:
    """Return ``address:port`` of who is connected to a descriptor; empty where nobody is."""
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
