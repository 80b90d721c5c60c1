"""The Granian runtime: one event loop a worker, over RSGI.

Granian's own process manager is not used, its worker below it is, which is not public: the version is pinned, and tests
hold the pin.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from fastmock.api import errors
from fastmock.server.listen import BACKLOG
from fastmock.server.live import Live
from fastmock.state.block import GENERATION
from fastmock.timing.pace import Pacer
from fastmock.wire import Head, Reply, Request, Stream

_NO_TLS: tuple[Any, ...] = (False, None, None, None, "tls1.3", None, [], False)
_MANAGER_THREADS = 64  # calls of a response manager at a time
_BODILESS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


def preload() -> None:
    """Import Granian before the workers are forked."""
    import uvloop  # noqa: F401
    from granian import _futures, _granian, http  # noqa: F401


def serve(live: Live, listener: socket.socket, ready: Callable[[], None], timeout: float) -> None:
    """Serve on ``listener`` until a signal asks to stop and what is in flight has ended.

    Args:
        live: what answers.
        listener: the listening socket.
        ready: called once the worker can answer.
        timeout: seconds that streams in flight are given to end.
    """
    import uvloop

    private: Any = import_module("granian._granian")  # its stubs describe less than there is
    futures: Any = import_module("granian._futures")
    http: Any = import_module("granian.http")
    logging.getLogger("_granian").setLevel(logging.WARNING)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    stop = private.WorkerSignal()
    ended = asyncio.Event()
    stop.add_cb(lambda: loop.call_soon_threadsafe(ended.set))

    def begin_stop() -> None:
        loop.call_later(timeout, ended.set)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, begin_stop)
    worker = private.RSGIWorker(
        1,
        (None, private.SocketHolder(listener.fileno(), False, BACKLOG)),
        None,
        1,  # runtime threads
        1,  # runtime blocking threads
        1,  # blocking threads
        30,  # their idle time-out
        live.app.config.settings.streaming.max_concurrent,
        "1",
        http.HTTP1Settings(),
        None,
        False,
        None,
        *_NO_TLS,
        (None, None),
    )
    handler = futures._future_watcher_wrapper(_Adapter(live).handle)
    worker.serve_str(futures._new_cbscheduler(loop, handler, impl_asyncio=True), loop, stop)
    loop.call_soon(ready)
    loop.run_until_complete(ended.wait())
    live.close()


class _Adapter:
    """Turns RSGI's requests into ours and our answers into RSGI's."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._threads = ThreadPoolExecutor(_MANAGER_THREADS, "manager")  # its threads are made when they are needed
        self._heads: dict[Head, list[tuple[str, str]]] = {}

    async def handle(self, scope: Any, proto: Any) -> None:
        """Answer one request."""
        if self._live.numbers[GENERATION] != self._live.generation:
            self._live.obey()
        app = self._live.app
        try:
            limit = app.config.settings.server.max_body_bytes
            body = b"" if scope.method in _BODILESS else await _body(scope, proto, limit)
        except errors.ApiError as error:
            answer: Reply | Stream = app.refuse(error)
        except Exception:  # what the body's reader raises for a body cut short or malformed has no public name
            answer = app.refuse(errors.bad_json())
        else:
            request = Request(scope.method, scope.path, scope.headers, body)
            if app.manager is None:
                answer = app.handle(request)
            else:  # it may block, which harms no other request here
                answer = await asyncio.get_running_loop().run_in_executor(self._threads, app.handle, request)
        headers = [*self._constant(answer.head), ("x-request-id", answer.request_id)]
        if isinstance(answer, Reply):
            proto.response_bytes(answer.head.status, headers, answer.body)
        else:
            await _send(proto.response_stream(answer.head.status, headers), answer)

    def _constant(self, head: Head) -> list[tuple[str, str]]:
        known = self._heads.get(head)
        if known is None:
            if len(self._heads) >= 256:
                self._heads.clear()
            known = self._heads[head] = list(head.headers)
        return known


async def _body(scope: Any, proto: Any, limit: int) -> bytes:
    """Read the body, but not one that is longer than ``limit`` bytes."""
    length = scope.headers.get("content-length")
    if length is not None:
        if len(length) > 18 or int(length) > limit:
            raise errors.too_large(limit)
        body: bytes = await proto()
        return body
    parts = bytearray()
    async for part in proto:
        parts += part
        if len(parts) > limit:
            raise errors.too_large(limit)
    return bytes(parts)


async def _send(transport: Any, stream: Stream) -> None:
    """Send what is due when it is due, until the end or until the client hangs up."""
    loop = asyncio.get_running_loop()
    pacer = Pacer(stream.frames, loop.time())
    while True:
        if data := pacer.take(loop.time()):
            try:
                await transport.send_bytes(data)
            except Exception:  # the client hung up; RSGIProtocolClosed, or RuntimeError where it is noticed later
                return
        wait = pacer.wait(loop.time())
        if wait is None:
            return
        await asyncio.sleep(wait)
