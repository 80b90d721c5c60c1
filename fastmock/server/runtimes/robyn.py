"""The Robyn runtime: translates requests and answers, and keeps Robyn within limits measured to work.

Robyn's own startup is not used, but the ``Server`` below it, which is not public: the version is pinned, and tests
check the pin.
"""

import ctypes
import logging
import os
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import unquote, unquote_plus

from fastmock.control.api import PREFIX
from fastmock.core.capabilities import Runtime
from fastmock.core.http import Reply, Request, ResponseHead, Stream
from fastmock.latency.pacer import UNCOUNTED, Lateness, Pacer, nothing
from fastmock.server.worker import WorkerContext
from fastmock.shared.block import GENERATION

RUNTIME = Runtime("robyn", frozenset(), "leave 'server.runtime' at auto, or take granian")
"""A stream holds a thread while it waits, so that Robyn lacks ``HANG``; it has no access to its connections."""

MOST_STREAMS = 512
"""Paced streams that one worker serves at a time: the threads of actix's blocking pool, each occupied by one stream."""

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT")
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Seconds after which a waiting stream returns an empty piece to Robyn, which is not sent: only calls by a stream or
# request make Robyn drop the streams whose clients disconnected, and so free their places in the queue.
_CALL_PAUSE = 0.1
_POLL = 0.02  # seconds between checks for requests in flight
_QUIET_POLLS = 4  # polls in a row without a request or a stream, after which nothing is in flight


@contextmanager
def _one_cpu() -> Iterator[None]:
    """Show this thread one CPU: Robyn creates four shards per CPU in every header map, and 64 CPUs doubled its cost."""
    everything = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everything)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, everything)


@contextmanager
def _temporary_directory() -> Iterator[None]:
    """Provide the name of a directory for temporary files even if none can be written: a package that Robyn imports
    requests the name.
    """
    before = tempfile.tempdir
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.sep
    try:
        yield
    finally:
        tempfile.tempdir = before


def preload() -> None:
    """Import Robyn before the workers are forked. During the import it parses ``sys.argv`` and reads ``ROBYN_*``."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    for name in [name for name in os.environ if name.startswith("ROBYN_")]:
        del os.environ[name]
    try:
        with _one_cpu(), _temporary_directory():
            import robyn.robyn  # noqa: F401
    finally:
        sys.argv = arguments


def serve(live: WorkerContext, listener: socket.socket, ready: Callable[[], None], timeout: float) -> None:
    """Serve on ``listener`` until a stop signal, then end the process.

    Args:
        live: the worker's context, with the active App.
        listener: the listening socket.
        ready: called once the worker can answer.
        timeout: seconds that streams in flight have to finish.
    """
    from asyncio import new_event_loop, set_event_loop

    from robyn.robyn import FunctionInfo, Headers, HttpMethod, Server, SocketHeld

    # Hundreds of threads wake each other: they must not preempt each other. See also _state_keeper.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # actix's own handling cuts streams; threads inherit the mask
    logging.getLogger("actix_server").setLevel(logging.WARNING)
    every_cpu = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every_cpu)})  # until the first request, see _Adapter._settle
    set_event_loop(new_event_loop())
    before = set(_sockets().values())
    held = SocketHeld("127.0.0.1", 0)
    for descriptor, inode in _sockets().items():
        if inode not in before:
            os.dup2(listener.fileno(), descriptor)  # replaces the socket that Robyn opened
    server: Any = Server()  # the stub of "start" has arguments that do not exist
    server.apply_response_headers(Headers({}))
    adapter = _Adapter(live, every_cpu)

    def route(method: str, path: str, handler: Callable[..., Any]) -> None:
        waits = iscoroutinefunction(handler)
        server.add_route(getattr(HttpMethod, method), path, FunctionInfo(handler, waits, 1, {}, {}), False)

    for method, path in live.app.handlers:
        if method == "GET" or (method, path) in live.app.query_routes:
            continue  # may have a query, which only "anywhere" parses
        # An asynchronous handler costs twice as much per request: only where a non-streaming answer may be delayed.
        waits = live.app.delays_whole and method == "POST"
        route(method, path, adapter.waiting_at(method, path) if waits else adapter.at(method, path))
    for method in _METHODS:
        route(method, "/", adapter.anywhere)
        route(method, "/*path", adapter.anywhere)
        route(method, f"{PREFIX}*path", adapter.control)
    server.add_startup_handler(FunctionInfo(ready, False, 0, {}, {}))
    threading.Thread(target=_stop_on_signal, args=(adapter, live, listener, timeout), daemon=True).start()
    server.start(held, 1)  # one actix thread: more would contend for the GIL


def _sockets() -> dict[int, int]:
    """Return this process's sockets: descriptor and inode."""
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - a plain listing, no paths
        with suppress(OSError):
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                found[int(name)] = status.st_ino
    return found


class _Adapter:
    """Converts Robyn requests to ``Request``, and answers to Robyn responses."""

    def __init__(self, live: WorkerContext, every_cpu: set[int]) -> None:
        from robyn.robyn import Headers, Response

        self._headers, self._response = Headers, Response
        self._live = live
        self._every_cpu = every_cpu
        self._settled = self._loop_watched = False
        self._keep_state = _state_keeper()
        self._replies: dict[
            ResponseHead | tuple[ResponseHead | str, ...], tuple[Callable[[str, str], None], str, Any]
        ] = {}
        self.requests = 0
        self.streams: set[int] = set()

    def at(self, method: str, path: str) -> Callable[[Any], Any]:
        """Return the handler of one route."""
        live, numbers, replies, route = self._live, self._live.numbers, self._replies, (method, path)

        def handle(request: Any) -> Any:
            if not self._settled:
                self._settle()
            if numbers[GENERATION] != live.generation:
                live.obey()
            self.requests += 1
            answer = live.app.handlers[route](Request(method, path, request.headers, request.body))
            known = replies.get(_form(answer) if answer.more else answer.head)
            if known is None or type(answer) is not Reply or answer.due_times is not None:
                return self.translate(answer)
            # One Response per head, filled anew: Robyn copies it before it releases the GIL, and there is one actix
            # thread. Saves 2 µs of 22 over creating a Response and its headers.
            set_header, id_name, response = known
            set_header(id_name, answer.request_id)
            if answer.values:
                for name, value in zip(answer.head.varying, answer.values, strict=True):
                    set_header(name, value)
            for name, value in answer.more:
                set_header(name, value)
            response.description = answer.body
            return response

        return handle

    def waiting_at(self, method: str, path: str) -> Callable[[Any], Coroutine[Any, Any, Any]]:
        """Return the handler of a route whose non-streaming answers may be delayed; it runs in the event
        loop's thread.
        """
        live, route = self._live, (method, path)

        async def handle(request: Any) -> Any:
            start = time.monotonic()
            if not self._loop_watched:
                self._watch_loop()
            if live.numbers[GENERATION] != live.generation:
                live.obey()
            self.requests += 1
            return await self._when_due(
                live.app.handlers[route](Request(method, path, request.headers, request.body)), start
            )

        return handle

    def _watch_loop(self) -> None:
        """Watch the thread of the event loop, in which asynchronous handlers run."""
        self._loop_watched = True
        from asyncio import Handle

        self._live.heartbeat.watch(Handle._run)

    async def control(self, request: Any) -> Any:
        """Handle a request for the control API; it runs in the event loop's thread, and may have to wait."""
        start = time.monotonic()
        if not self._loop_watched:
            self._watch_loop()
        if self._live.numbers[GENERATION] != self._live.generation:
            self._live.obey()
        self.requests += 1
        translated = self._request(request)
        translated.client = request.ip_addr or ""
        return await self._when_due(self._live.app.handle(translated), start)

    async def _when_due(self, answer: Reply | Stream, start: float) -> Any:
        """Return an answer as a Robyn response; a delayed non-streaming one once its time has passed."""
        from asyncio import sleep

        if isinstance(answer, Reply) and answer.due_times is not None:
            pacer = Pacer(answer.due_times, nothing, start, self._late(answer))
            self.streams.add(id(pacer))
            try:
                while (due := pacer.due) is not None:
                    await sleep(due - time.monotonic())
                    pacer.take(time.monotonic())
            finally:
                self.streams.discard(id(pacer))
        return self._made(answer)

    def _late(self, answer: Reply | Stream) -> Lateness:
        """Return the counter for the lateness of an answer's steps."""
        return UNCOUNTED if answer.control else self._live.app.lateness

    def anywhere(self, request: Any) -> Any:
        """Handle requests for paths without a route of their own."""
        if not self._settled:
            self._settle()
        if self._live.numbers[GENERATION] != self._live.generation:
            self._live.obey()
        self.requests += 1
        return self.translate(self._live.app.handle(self._request(request)))

    def _request(self, request: Any) -> Request:
        """Convert a Robyn request of any path."""
        raw = request.query_params.to_dict()  # split, but not decoded
        query = {unquote_plus(name): [*map(unquote_plus, values)] for name, values in raw.items()}
        return Request(request.method, unquote(request.url.path), request.headers, request.body, query)

    def translate(self, answer: Reply | Stream) -> Any:
        """Return an answer as a Robyn response, and cache it for the next answer with the same header names.

        A delayed non-streaming answer, for which its route does not wait, is sent as a single chunk.
        """
        if isinstance(answer, Reply) and answer.due_times is not None:
            pacer = Pacer(answer.due_times, nothing, time.monotonic(), self._late(answer))
            return self._streaming(answer, _Frames(pacer, self.streams, self._keep_state, answer.body))
        response = self._made(answer)
        if isinstance(answer, Reply):
            if len(self._replies) >= 256:
                self._replies.clear()
            form = _form(answer) if answer.more else answer.head
            self._replies[form] = response.headers.set, answer.head.id_name, response
        return response

    def _made(self, answer: Reply | Stream) -> Any:
        if isinstance(answer, Stream):
            pacer = Pacer(answer.due_times, answer.cut, time.monotonic(), self._late(answer), answer.failed)
            return self._streaming(answer, _Frames(pacer, self.streams, self._keep_state))
        return self._response(answer.head.status, self._headers_of(answer), answer.body)

    def _streaming(self, answer: Reply | Stream, frames: "_Frames") -> "_Streaming":
        return _Streaming(answer.head.status, self._headers_of(answer), frames)

    def _headers_of(self, answer: Reply | Stream) -> Any:
        headers = self._headers(dict(answer.head.headers))
        headers.set(answer.head.id_name, answer.request_id)
        for name, value in (*zip(answer.head.varying, answer.values, strict=True), *answer.more):
            headers.set(name, value)
        return headers

    def _settle(self) -> None:
        """Finish the setup on the actix thread, in its first call.

        Let all threads use every CPU again, now that Robyn has sized itself.
        """
        self._settled = True
        self._keep_state()
        self._live.heartbeat.watch()
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208
            with suppress(OSError):
                os.sched_setaffinity(int(thread), self._every_cpu)


def _form(answer: Reply | Stream) -> tuple[ResponseHead | str, ...]:
    """Return the parts that an answer with extra headers shares with others: all but the values of these headers."""
    return (answer.head, *[name for name, _ in answer.more])


def _state_keeper() -> Callable[[], None]:
    """Return a function that keeps the calling thread's Python state alive until the thread ends.

    Otherwise the state is created and freed for every call from Rust: throughput halves, and of 500 paced streams the
    last end 2.4 % late instead of 0.5 %. The threads that drive streams come and go, so the end of a thread has to be
    noticed: by a C++ thread-exit handler. (A destructor of a POSIX thread-specific value comes too late: the
    interpreter's own value is gone by then.)
    """
    python, at_thread_end = ctypes.pythonapi, getattr(ctypes.CDLL(None), "__cxa_thread_atexit_impl", None)
    kept = threading.local()

    def let_go(_: int) -> None:
        python.PyGILState_Release(0)  # 0: the GIL stays held until this callback returns

    ended = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(let_go)

    def keep() -> None:
        if not hasattr(kept, "since"):
            kept.since = time.monotonic()
            if at_thread_end is not None:  # absent in C libraries other than GNU's
                python.PyGILState_Ensure()
                at_thread_end(ended, None, None)

    return keep


class _Streaming:
    """A stream in the form that Robyn expects: these four attributes, ``content`` an iterator."""

    media_type = ""  # "text/event-stream" would replace our own content type

    def __init__(self, status: int, headers: Any, content: "_Frames") -> None:
        self.status_code = status
        self.headers = headers
        self.content = content


class _Frames:
    """Yields each frame when it is due. Runs on threads of a pool, each of which it occupies while it sleeps."""

    def __init__(self, pacer: Pacer, live: set[int], keep_state: Callable[[], None], last: bytes = b"") -> None:
        """``last`` is sent after everything from the pacer."""
        self._pacer = pacer
        self._last = last
        self._live = live
        self._keep_state = keep_state
        live.add(id(self))

    def __iter__(self) -> "_Frames":
        return self

    def __next__(self) -> bytes:
        self._keep_state()
        begin = now = time.monotonic()
        while not (data := self._pacer.take(now)):
            due = self._pacer.due
            if due is None:
                if self._last:
                    last, self._last = self._last, b""
                    return last
                self._live.discard(id(self))
                raise StopIteration
            if now - begin >= _CALL_PAUSE:
                return b""
            time.sleep(max(0.0, min(due - now, _CALL_PAUSE)))
            now = time.monotonic()
        return data

    def __del__(self) -> None:
        """End after a disconnect too: Robyn drops the iterator and never calls ``close``."""
        self._live.discard(id(self))


def _stop_on_signal(adapter: _Adapter, live: WorkerContext, listener: socket.socket, timeout: float) -> None:
    """Wait for a signal; accept no more connections, let requests in flight finish, end the process."""
    signal.sigwait(_STOP)
    live.stop()
    _silence(listener)
    deadline = time.monotonic() + timeout
    quiet, seen = 0, adapter.requests
    while quiet < _QUIET_POLLS and time.monotonic() < deadline:
        time.sleep(_POLL)
        quiet = 0 if adapter.streams or adapter.requests != seen else quiet + 1
        seen = adapter.requests
    live.close()
    os._exit(0)  # an orderly exit under load panics in half of the attempts


def _silence(listener: socket.socket) -> None:
    """Point every descriptor of the listener, including Robyn's copies, at an unreachable socket."""
    inode = os.fstat(listener.fileno()).st_ino
    with socket.socket(listener.family, listener.type) as dummy:
        for descriptor, other in _sockets().items():
            if other == inode:
                os.dup2(dummy.fileno(), descriptor)
