"""The Granian runtime: Granian's threads handle HTTP, one Python thread answers requests, and one paces answers.

Neither Granian's process manager nor asyncio is used, but the worker and the callback scheduler below them, which are
not public. The version is pinned, and tests check the pin.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any
from urllib.parse import parse_qs

from fastmock.app import App
from fastmock.control.api import PREFIX
from fastmock.core import errors
from fastmock.core.capabilities import Capability, Runtime
from fastmock.core.http import Forward, MoveApart, Reply, Request, ResponseHead, Stream
from fastmock.latency.pacer import UNCOUNTED, Pacer, nothing
from fastmock.latency.scheduler import Scheduler
from fastmock.server import signals
from fastmock.server.runtimes.bodies import Bodies
from fastmock.server.runtimes.connections import (
    FLUSHED,
    MOST_UNREAD,
    TRUSTED,
    ClosingTask,
    Connections,
    ReadingProgress,
    most_connections,
)
from fastmock.server.runtimes.handed_over import HandedOver
from fastmock.server.runtimes.relaying import Relaying, RelaySender
from fastmock.server.sockets import BACKLOG
from fastmock.server.worker import WorkerContext
from fastmock.shared.block import GENERATION

RUNTIME = Runtime("granian", frozenset(Capability))

_MANAGER_THREADS = 64  # concurrent calls of a response manager
_BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
# Seconds; a disconnect is noticed at the next frame, but at once during a wait longer than this or in the queue.
_LONG_WAIT = 1.0
_READER_PAUSE = 0.05  # seconds between checks whether the client has read
_SHORTEST_PAUSE = 0.001
_LOST_PATIENCE = 2.0  # seconds for which a connection may be missing
_UNREAD = errors.RequestTimeout, errors.BuffersFull  # are sent although a body was not read to its end
_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 1 << 20  # of mallopt, and bytes
_TRIM_THRESHOLD, _KEPT = -1, 16 << 20  # likewise
_MOST_QUEUED = 256  # requests that wait for a separate thread: hundreds of clients may embed many texts at once
_MOST_IN_GRANIAN = 131_072  # bytes of a large answer that Granian has not handed to the kernel
_LARGE_ANSWER = 262_144  # bytes
_AT_ONCE = 1 << 20  # bytes of a large answer that is handed to Granian in one piece
_SMALL_DIGITS = 5  # of the length of a body; shorter ones, up to 9,999 bytes, are received in one piece
_LARGE = 65_536  # bytes of a body, large enough to answer it in a separate thread
_BOUNDS_PAUSE = 0.25  # seconds between checks of the bounds
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_LOG = logging.getLogger("fastmock")


def preload() -> tuple[Any, Any]:
    """Import the parts of Granian that are used, before the workers are forked; return them.

    The package itself would import its own server, asyncio and uvloop, which take 14 MB and 70 ms.
    """
    known, spec = sys.modules.get("granian"), find_spec("granian")
    assert spec is not None  # noqa: S101 - it is required
    sys.modules["granian"] = known or module_from_spec(spec)  # its code is not run
    parts = import_module("granian._granian"), import_module("granian.http")  # their stubs are incomplete
    if known is None:  # so that it is complete for others
        del sys.modules["granian"]
    return parts


def _return_memory() -> None:
    """Make freed memory of large bodies and answers return to the system.

    Otherwise the C library learns from the first large block that is freed to keep such blocks: 100 bodies of 30 MB
    left a worker with 900 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of GNU's C library
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK)
        # Else each response of some 100 kB returns its memory, and the next one has it cleared page by page again.
        mallopt(_TRIM_THRESHOLD, _KEPT)


def serve(live: WorkerContext, listener: socket.socket, ready: Callable[[], None], timeout: float) -> None:
    """Serve on ``listener`` until a stop signal, then let requests in flight finish.

    Args:
        live: the worker's context, with the active App.
        listener: the listening socket.
        ready: called once the worker can answer.
        timeout: seconds that streams in flight have to finish.
    """
    private, http = preload()
    logging.getLogger("_granian").setLevel(logging.WARNING)
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # threads inherit the mask
    # Threads that wake each other, here for every frame, must not preempt each other.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    _return_memory()
    stop = private.WorkerSignal()
    ended = threading.Event()
    stop.add_cb(ended.set)
    settings = live.app.config.settings
    server = settings.server
    tls = (True, server.tls_cert, server.tls_key) if server.tls_cert else (False, None, None)
    most = most_connections(server.max_connections)
    worker = private.RSGIWorker(
        1,
        (None, private.SocketHolder(listener.fileno(), False, BACKLOG)),
        None,
        1,  # runtime threads
        1,  # runtime blocking threads
        1,  # Python threads
        30,  # their idle timeout
        most,
        "auto" if server.http2 else "1",
        http.HTTP1Settings(header_read_timeout=int(server.keep_alive * 1000)),
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
    pacing = Scheduler()
    pacing.start()
    loop = _AtOnce()
    scheduler = private.CallbackScheduler(loop, None, None, None, None)
    adapter = _Adapter(live, pacing, Connections(most, live.app.share))
    scheduler._schedule_fn = adapter.begin
    worker.serve_str(scheduler, loop, stop)
    ready()
    signal.sigwait(_STOP)
    live.stop()
    stop.set()
    deadline = time.monotonic() + timeout
    while not ended.wait(min(_BOUNDS_PAUSE, max(0.0, deadline - time.monotonic()))) and time.monotonic() < deadline:
        adapter.close_unanswered()  # for which Granian would wait
    live.close(deadline)


class _AtOnce:
    """A replacement for the event loop: runs callbacks at once, in Granian's Python thread.

    Granian would hand them to asyncio's thread: two more wakeups per request.
    """

    def call_soon(self, callback: Callable[[Any], None], future: Any, context: Any = None) -> None:
        """Run a callback."""
        callback(future)

    call_soon_threadsafe = call_soon


class _Adapter:
    """Converts RSGI requests to ``Request``, and answers to RSGI responses.

    All methods run in Granian's Python thread, where an exception would be lost, so none may escape.
    """

    def __init__(self, live: WorkerContext, scheduler: Scheduler, connections: Connections) -> None:
        self._live = live
        self._scheduler = scheduler
        server = live.app.config.settings.server
        self._connections = connections
        self._bodies = Bodies(live.app.buffers, server.request_timeout)
        self._handed_over = HandedOver(connections, server.request_timeout)
        live.app.buffers.reclaim = self._handed_over.settle
        self._patience = server.request_timeout
        self._keep_alive = () if server.http2 else (("keep-alive", f"timeout={server.keep_alive:.0f}"),)
        # Their threads are started on demand.
        self._threads = ThreadPoolExecutor(_MANAGER_THREADS, "manager")
        # One at a time: each takes memory, and the GIL. Large bodies do not delay other requests that were moved.
        self._large = ThreadPoolExecutor(1, "large")
        self._moved = ThreadPoolExecutor(1, "moved")
        self._queued, self._counting = 0, threading.Lock()
        self._heads: dict[ResponseHead, list[tuple[str, str]]] = {}
        with signals.blocked():
            threading.Thread(target=self._keep_bounds, name="bounds", daemon=True).start()
        self._watched = False
        self._small: dict[Any, float] = {}  # the requests whose small bodies are being received, by start time

    def close_unanswered(self) -> None:
        """Close the connections without a request in flight."""
        small = {watcher.scope.client for watcher in list(self._small)}
        self._connections.close_unanswered(self._bodies.clients | small)

    def _keep_bounds(self) -> None:
        """Enforce the limits of time and number, in a loop."""
        while True:
            time.sleep(_BOUNDS_PAUSE)
            try:
                self._expire_small()
                self._handed_over.settle()
                self._bodies.expire()
                self._connections.make_room()
            except Exception:
                _LOG.exception("the bounds of connections could not be kept; this is a defect of fastmock")

    def begin(self, watcher: Any) -> None:
        """Accept a request; its body has yet to arrive."""
        if not self._watched:
            self._watched = True
            self._live.heartbeat.watch()
        start = time.monotonic()
        self._scheduler.begun += 1
        scope = watcher.scope
        try:
            if self._live.numbers[GENERATION] != self._live.generation:
                self._live.obey()
            app = self._live.app
            if app.counts_connections:
                self._connections.seen(scope.client)
            headers = scope.headers
            length = headers.get("content-length")
            if scope.method in _BODILESS and length in (None, "0"):
                self._answer(app, scope, watcher.proto, start, b"")
                return
            if length is not None and len(length) < _SMALL_DIGITS:
                self._small[watcher] = start
                watcher.proto().add_done_callback(partial(self._take_small, app, watcher, scope, headers, start))
            else:
                answer = partial(self._answer, app, scope, watcher.proto, start)
                most = app.config.settings.server.max_body_bytes
                self._bodies.receive(watcher.proto, scope.client, length, most, answer)
        except Exception:
            _LOG.exception("a request could not be taken; this is a defect of fastmock")

    def _take_small(self, app: App, watcher: Any, scope: Any, headers: Any, start: float, reading: Any) -> None:
        """Answer a request with a small body, as nearly all are: skipping the steps of others saves 15 µs."""
        if self._small.pop(watcher, None) is None:  # it timed out
            return
        try:
            request = Request(scope.method, scope.path, headers, reading.result())
        except RuntimeError:  # raised for Granian's own errors: the body was truncated or malformed
            self._answer(app, scope, watcher.proto, start, errors.InvalidJson())
            return
        if app.manager is not None or request.path.startswith(PREFIX):
            self._answer(app, scope, watcher.proto, start, request.body)
            return
        if query := scope.query_string:
            request.query = parse_qs(query, keep_blank_values=True)
        if app.names_connections:
            request.client = scope.client
        request.can_move = True
        try:
            self._send(app, scope, watcher.proto, start, app.handle(request))
        except MoveApart:
            request.can_move = False
            self._apart(self._moved, app, request, scope, watcher.proto, start, 0)
        except Forward:
            self._forward(app, request, scope, watcher.proto, start, 0)
        except Exception:
            _LOG.exception("an answer could not be sent; this is a defect of fastmock")

    def _expire_small(self) -> None:
        """Refuse the requests whose small bodies have not arrived in time."""
        too_old = time.monotonic() - self._patience
        for watcher, start in list(self._small.items()):
            if start < too_old and self._small.pop(watcher, None) is not None:
                self._answer(self._live.app, watcher.scope, watcher.proto, start, errors.RequestTimeout())

    def _answer(
        self, app: App, scope: Any, proto: Any, start: float, body: str | bytes | errors.ApiError, taken: int = 0
    ) -> None:
        """Answer a request whose body was read, or failed; ``taken`` is the number of bytes reserved in the buffers for
        it.
        """
        if isinstance(body, errors.ApiError):
            request = Request(scope.method, scope.path, scope.headers, b"")
            self._respond_to(partial(app.reject, body), app, request, scope, proto, start, taken)
            if isinstance(body, _UNREAD):  # the rest of the body may never arrive, and Granian would wait for it
                self._scheduler.add(time.monotonic() + FLUSHED, ClosingTask(self._connections, scope.client, None))
            return
        request = Request(scope.method, scope.path, scope.headers, body)
        if query := scope.query_string:
            request.query = parse_qs(query, keep_blank_values=True)
        if app.names_connections:
            request.client = scope.client
        if request.path.startswith(PREFIX):
            request.client, request.host = scope.client, scope.authority or ""
        if app.manager is not None:  # it may block, without delaying other requests
            self._apart(self._threads, app, request, scope, proto, start, taken)
        elif len(body) > _LARGE:
            self._apart(self._large, app, request, scope, proto, start, taken)
        else:
            request.can_move = True
            self._respond_to(app.handle, app, request, scope, proto, start, taken)

    def _apart(
        self, pool: ThreadPoolExecutor, app: App, request: Request, scope: Any, proto: Any, start: float, taken: int
    ) -> None:
        """Answer in a separate thread, so that other requests do not wait."""
        if pool is not self._threads and self._queued >= _MOST_QUEUED:
            self._respond_to(partial(app.reject, errors.BuffersFull()), app, request, scope, proto, start, taken)
            return
        self._connections.hold(scope.client)
        with self._counting:
            self._queued += 1

        def respond() -> None:
            with self._counting:
                self._queued -= 1
            try:
                self._respond_to(app.handle, app, request, scope, proto, start, taken)
            finally:
                self._connections.let_go(scope.client)

        pool.submit(respond)

    def _respond_to(
        self,
        handle: Callable[[Request], Reply | Stream],
        app: App,
        request: Request,
        scope: Any,
        proto: Any,
        start: float,
        taken: int,
    ) -> None:
        try:
            self._send(app, scope, proto, start, handle(request))
        except MoveApart:
            request.can_move = False
            self._apart(self._moved, app, request, scope, proto, start, taken)
            return
        except Forward:
            self._forward(app, request, scope, proto, start, taken)
            return
        except Exception:
            _LOG.exception("an answer could not be sent; this is a defect of fastmock")
        if taken:
            self._bodies.buffers.release(taken)

    def _forward(self, app: App, request: Request, scope: Any, proto: Any, start: float, taken: int) -> None:
        """Have an upstream answer."""
        assert self._live.forwarder is not None  # noqa: S101 - else nothing is forwarded
        self._connections.hold(scope.client)
        handle, send = partial(app.handle, request), partial(self._send, app, scope, proto, start)
        release = partial(self._bodies.buffers.release, taken)
        sender = RelaySender(
            self._connections, self._scheduler, handle, send, release, self._patience, int(start * 1e9)
        )
        self._live.forwarder.forward(request, Relaying(request, scope, proto, sender), start)

    def _send(self, app: App, scope: Any, proto: Any, start: float, answer: Reply | Stream) -> None:
        status, constant = answer.head.status, self._heads.get(answer.head) or self._constant(answer.head)
        headers = [*constant, (answer.head.id_name, answer.request_id), *answer.more]
        if answer.values:
            headers += zip(answer.head.varying, answer.values, strict=True)
        if isinstance(answer, Reply):
            if answer.ending != "whole" or answer.unsent:
                respond = partial(_break_off, self._connections, scope.client, proto, headers, answer)
            elif answer.size <= _LARGE_ANSWER or scope.method == "HEAD":
                respond = partial(proto.response_bytes, status, headers, answer.body)
            else:
                if not self._bodies.buffers.take_for(answer, answer.held):
                    refused = Request(scope.method, scope.path, scope.headers, b"")
                    self._respond(proto, app.error_reply(errors.BuffersFull(), refused))
                    return
                send = self._handed_over.send if answer.size <= _AT_ONCE else self._send_large
                respond = partial(send, scope.client, proto, headers, answer)
            if answer.close_idle is not None:
                respond = partial(self._respond_and_close, scope.client, answer.close_idle, respond)
            if answer.due_times is None:
                respond()
                return
            if answer.control:
                respond = partial(self._respond, proto, answer)
            pacer = Pacer(answer.due_times, nothing, start, UNCOUNTED if answer.control else app.lateness)
            play: _Play = _Waiting(self._scheduler, proto, pacer, scope.client, self._connections, respond)
        else:
            transport = proto.response_stream(status, headers)
            lateness = UNCOUNTED if answer.control else app.lateness
            pacer = Pacer(answer.due_times, answer.cut, start, lateness, answer.failed)
            play = _Streaming(
                self._scheduler, proto, pacer, scope.client, self._connections, transport, answer, self._patience
            )
        due = play.step(time.monotonic())
        if due is not None:
            self._scheduler.add(due, play)

    def _send_large(self, client: str, proto: Any, headers: list[tuple[str, str]], answer: Reply) -> None:
        """Send an answer as fast as it is read: Granian would buffer all of it for a client that reads nothing."""
        transport = proto.response_stream(answer.head.status, [*headers, ("content-length", str(answer.size))])
        download = _Download(transport, client, self._connections, answer, self._patience)
        self._scheduler.add(time.monotonic(), download)

    def _respond_and_close(self, client: str, idle: float, respond: Callable[[], None]) -> None:
        respond()
        self._scheduler.add(time.monotonic() + idle + FLUSHED, ClosingTask(self._connections, client, idle))

    def _respond(self, proto: Any, answer: Reply) -> None:
        """Send a delayed reply in its final form."""
        headers = [*self._constant(answer.head), (answer.head.id_name, answer.request_id), *answer.more]
        proto.response_bytes(answer.head.status, headers, answer.body)

    def _constant(self, head: ResponseHead) -> list[tuple[str, str]]:
        known = self._heads.get(head)
        if known is None:
            if len(self._heads) >= 256:
                self._heads.clear()
            known = self._heads[head] = [*head.headers, *self._keep_alive]
        return known


def _break_off(
    connections: Connections, client: str, proto: Any, headers: list[tuple[str, str]], answer: Reply
) -> None:
    """Reset the connection instead of answering, or send less than ``content-length``: then Granian closes it."""
    if answer.ending != "whole":
        connections.end(client, answer.ending)
        return
    length = str(len(answer.body) + answer.unsent)
    transport = proto.response_stream(answer.head.status, [*headers, ("content-length", length)])
    for _ in transport.send_bytes(answer.body):
        pass


class _Play(ABC):
    """A delayed or streaming answer; see ``scheduler.ScheduledTask``."""

    __slots__ = ("_client", "_connections", "_gone", "_pacer", "_proto", "_scheduler", "_watch")

    def __init__(self, scheduler: Scheduler, proto: Any, pacer: Pacer, client: str, connections: Connections) -> None:
        self._client = client
        self._connections = connections
        connections.hold(client)
        self._scheduler = scheduler
        self._proto = proto
        self._pacer: Pacer | None = pacer
        self._watch: Any = None
        self._gone = False

    def step(self, now: float) -> float | None:
        """Send the due steps; return the time of the next, or None at the end."""
        pacer = self._pacer
        if pacer is None:  # abandoned after a disconnect; this is the step that was scheduled before
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
        """Watch for a disconnect; return False if the client is already gone."""
        watch = self._proto.client_disconnect()
        if not hasattr(watch, "add_done_callback"):
            return False
        watch.add_done_callback(self._hung_up)
        self._watch = watch
        return True

    def _hung_up(self, watch: Any) -> None:
        """Abandon the answer now, in the scheduler's thread."""
        if not watch.cancelled():
            self._gone = True
            self._scheduler.add(0.0, self)

    def _leave(self) -> None:
        """Release all resources; a scheduled step still holds this object."""
        if self._watch is not None:
            self._watch.cancel()
        if self._pacer is not None:
            self._connections.let_go(self._client)
        self._pacer = self._proto = self._watch = None

    def _reads_slowly(self) -> bool:
        return False

    @abstractmethod
    def _send(self, data: bytes) -> bool:
        """Send a part; return whether the client is still connected."""

    @abstractmethod
    def _end(self) -> None:
        """Finish the answer once everything has been sent."""


class _Waiting(_Play):
    """A non-streaming answer, sent when its delay has passed."""

    __slots__ = ("_respond",)

    def __init__(
        self,
        scheduler: Scheduler,
        proto: Any,
        pacer: Pacer,
        client: str,
        connections: Connections,
        respond: Callable[[], None],
    ) -> None:
        super().__init__(scheduler, proto, pacer, client, connections)
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
    """A streaming answer."""

    __slots__ = ("_progress", "_sent", "_stream", "_transport")

    def __init__(
        self,
        scheduler: Scheduler,
        proto: Any,
        pacer: Pacer,
        client: str,
        connections: Connections,
        transport: Any,
        stream: Stream,
        patience: float,
    ) -> None:
        super().__init__(scheduler, proto, pacer, client, connections)
        self._transport = transport
        self._stream: Stream | None = stream
        self._sent = 0
        self._progress = ReadingProgress(patience)

    def _reads_slowly(self) -> bool:
        if self._sent <= TRUSTED:
            return False
        unread = self._connections.unread(self._client)
        if unread is None or unread <= MOST_UNREAD:
            return False
        if self._progress.is_over(unread):
            self._connections.end(self._client, "closed")
            self._gone = True
        return True

    def _send(self, data: bytes) -> bool:
        if data:
            self._sent += len(data)
            try:
                # Does not block: Granian only queues the data, and the iteration shows whether the client has
                # disconnected.
                for _ in self._transport.send_bytes(data):
                    pass
            except RuntimeError:  # raised as RSGIProtocolClosed
                return False
        return True

    def _end(self) -> None:
        """End the body, by releasing the transport; or end the connection, before the body is complete."""
        if self._stream is not None and self._stream.ending != "whole":
            self._connections.end(self._client, self._stream.ending)
        elif self._stream is not None and self._stream.close_idle is not None:
            idle = self._stream.close_idle
            self._scheduler.add(time.monotonic() + idle + FLUSHED, ClosingTask(self._connections, self._client, idle))

    def _leave(self) -> None:
        self._transport = self._stream = None
        super()._leave()


class _Download:
    """A large answer, sent piece by piece as it is read; see ``scheduler.ScheduledTask``."""

    __slots__ = (
        *("_answer", "_at", "_before", "_client", "_connections"),
        *("_lost", "_parts", "_pause", "_progress", "_transport"),
    )

    def __init__(self, transport: Any, client: str, connections: Connections, answer: Reply, patience: float) -> None:
        self._transport = transport
        self._client = client
        self._connections = connections
        self._answer: Reply | None = answer  # its memory is released when it is dropped
        self._parts = answer.parts()
        self._at = 0
        self._pause = _SHORTEST_PAUSE
        self._progress = ReadingProgress(patience)
        self._lost = 0.0
        flow = connections.flow(client)
        self._before = None if flow is None else flow.written
        connections.hold(client)

    def step(self, now: float) -> float | None:
        """Send the next piece, if the last was read; return the time of the next step, or None at the end."""
        if self._at:
            flow = self._connections.flow(self._client)
            if flow is None:
                self._lost = self._lost or now
                if now < self._lost + _LOST_PATIENCE and self._is_connected():
                    return now + _SHORTEST_PAUSE
                self._end()
                return None
            self._lost = 0.0
            if self._before is None:
                self._before = flow.written - self._at
            queued = self._at - (flow.written - self._before)  # in Granian, not yet handed to the kernel
            if flow.unread > MOST_UNREAD or queued > _MOST_IN_GRANIAN:
                if self._progress.is_over(flow.written - flow.unread):
                    self._connections.end(self._client, "closed")
                    self._end()
                    return None
                self._pause = min(2 * self._pause, _READER_PAUSE)
                return now + self._pause
        self._pause = _SHORTEST_PAUSE
        part = next(self._parts, None)
        if part is not None:
            self._at += len(part)
            try:
                for _ in self._transport.send_bytes(part):
                    pass
            except RuntimeError:  # the client disconnected
                pass
            else:
                return now
        self._end()
        return None

    def _is_connected(self) -> bool:
        """Return whether Granian would still send to the client."""
        try:
            for _ in self._transport.send_bytes(b""):
                pass
        except RuntimeError:
            return False
        return True

    def _end(self) -> None:
        self._connections.let_go(self._client)
        self._answer = self._transport = None
        self._parts = iter(())
