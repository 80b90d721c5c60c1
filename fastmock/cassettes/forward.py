"""Forward requests to their upstreams, relay the answers as they arrive, and record them.

The client is aiohttp: for each part of a stream it takes 59 µs, and httpx 304.
"""

import asyncio
import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from fastmock.cassettes.canonical import Canonical
from fastmock.cassettes.recorder import CassetteWriter, Exchange, NotRecordedError
from fastmock.cassettes.settings import Cassettes, Record, Upstream
from fastmock.core import errors
from fastmock.core.content_encoding import CODINGS
from fastmock.core.credentials import bearer_token, without_session
from fastmock.core.http import Headers, Request
from fastmock.core.provider import Provider, provider_of

_CONNECT_TIMEOUT = 10.0  # seconds
_LONGEST_HEADER = 65_536  # bytes of a header of an answer
_KEEP_ALIVE = 30.0  # seconds for which an idle connection to an upstream is kept
_FULL_PAUSE = 0.005  # seconds until a client that has not read enough is looked at again
# New objects until each kind of garbage collection: a full one stops all threads. With Python's own values chunks of
# 1,000 streams that are opened in a second come 34 to 49 ms late (p99), with these 5 to 11.
_COLLECTIONS = (2000, 10, 50)
_HOP_BY_HOP = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    )
)
# The body is sent as fastmock has read it: decompressed.
_NOT_FORWARDED = _HOP_BY_HOP | {"host", "content-length", "content-encoding", "expect"}
_OWN = "x-fastmock-"
_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_BASE = "/v1"
_SAFE = "/:@!$&'()*+,;=~-._"  # characters of a path that are not encoded

_LOG = logging.getLogger("fastmock")


class Receiver(Protocol):
    """Receives an answer; all methods are called in the thread of the forwarder."""

    def failed(self, error: errors.ApiError) -> None:
        """Send an error instead of an answer."""

    def begin(self, status: int, headers: Headers) -> None:
        """Begin the answer."""

    def send(self, data: bytes) -> bool:
        """Send a part of the body; return whether the client is still there."""

    def is_full(self) -> bool:
        """Return whether the client has to read first."""

    def end(self, is_whole: bool) -> None:
        """End the answer, or break it off."""


@dataclass
class _Use:
    """Whether a request was sent on a connection that was used before."""

    is_reused: bool = False


class Forwarder:
    """Forwards the requests of one worker.

    Attributes:
        active: the number of requests in progress, also of those whose clients hung up.
    """

    def __init__(
        self,
        settings: Record,
        canonical: Canonical,
        writer: CassetteWriter,
        environ: Mapping[str, str],
        count: Callable[[], None],
    ) -> None:
        """``environ`` has the variables with the keys for the upstreams; ``count`` counts a recording."""
        self._settings = settings
        self._canonical = canonical
        self._writer = writer
        self._environ = environ
        self._count = count
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = ThreadPoolExecutor(1, "cassette")
        self._proxies = getproxies()
        self._lock = threading.Lock()
        self.active = 0

    def start(self) -> None:
        """Start the thread."""
        gc.set_threshold(*_COLLECTIONS)
        self._loop.call_soon(self._open)
        threading.Thread(target=self._loop.run_forever, name="forwarder", daemon=True).start()

    def forward(self, request: Request, receiver: Receiver, start: float) -> None:
        """Forward a request, from any thread; ``start`` is the time at which it came in."""
        with self._lock:
            self.active += 1
        self._loop.call_soon_threadsafe(self._begin, Exchange(request, start), request, receiver)

    def finish(self, deadline: float) -> None:
        """Wait for the answers that are still to be recorded, although their clients may be gone."""
        while self.active and time.monotonic() < deadline:
            time.sleep(_FULL_PAUSE)
        if self.active:
            _LOG.warning("%d answers that upstreams have not finished are not recorded", self.active)

    def _begin(self, exchange: Exchange, request: Request, receiver: Receiver) -> None:
        task = self._loop.create_task(self._guarded(exchange, request, receiver))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, exchange: Exchange, request: Request, receiver: Receiver) -> None:
        try:
            await self._forward(exchange, request, receiver)
        except Exception:
            _LOG.exception("a request could not be forwarded; this is a defect of fastmock")
            receiver.end(False)
        finally:
            with self._lock:
                self.active -= 1

    async def _forward(self, exchange: Exchange, request: Request, receiver: Receiver) -> None:
        """Forward a request and relay the answer; a client that hangs up does not end the recording."""
        upstream = upstream_of(self._settings, provider_of(request))
        if upstream is None:
            why = "there is none for this provider ('record.upstreams')"
            receiver.failed(errors.UpstreamFailed(provider_of(request).name, why))
            return
        has_begun = False
        try:
            async with await self._answer_of(upstream, request) as response:
                if not 200 <= response.status <= 599:
                    raise ValueError(f"it answered with the status {response.status}")
                headers = _relayed(response)
                exchange.begin(response.status, headers)
                receiver.begin(response.status, headers)
                has_begun = True
                is_whole = await self._relay(response.content, exchange, receiver)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if has_begun:
                _LOG.warning("%s broke an answer off, which is not recorded: %s", upstream.url, _reason(error))
                receiver.end(False)
            else:
                receiver.failed(errors.UpstreamFailed(upstream.url, _reason(error)))
            return
        if is_whole:
            now = time.monotonic()
            await self._loop.run_in_executor(self._writing, self._record, exchange, now)
        receiver.end(True)

    async def _answer_of(self, upstream: Upstream, request: Request) -> aiohttp.ClientResponse:
        """Send a request; return the answer, of which the head is there.

        Upstreams close idle connections without notice: a request that meets such a one is sent again on another.
        """
        session = self._session
        assert session is not None  # noqa: S101 - the loop has opened it first
        while True:
            use = _Use()
            try:
                return await session.request(
                    request.method,
                    URL(url_of(upstream, request), encoded=True),
                    data=request.body.encode() if isinstance(request.body, str) else request.body or None,
                    headers=headers_of(request, self._key_for(upstream)),
                    skip_auto_headers=_AUTOMATIC,
                    allow_redirects=False,
                    proxy=self._proxy_for(upstream.url),
                    trace_request_ctx=use,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not use.is_reused:
                    raise

    def _open(self) -> None:
        """Open the client, whose connections are kept open between requests."""

        async def note(session: aiohttp.ClientSession, context: SimpleNamespace, connection: object) -> None:
            context.trace_request_ctx.is_reused = True

        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(note)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
            timeout=aiohttp.ClientTimeout(
                sock_connect=_CONNECT_TIMEOUT, sock_read=self._settings.timeout, total=None, connect=None
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            trace_configs=[trace],
        )

    async def _relay(self, content: aiohttp.StreamReader, exchange: Exchange, receiver: Receiver) -> bool:
        """Relay the body; return whether it is to be recorded."""
        limit, is_connected, clock = self._settings.max_bytes, True, time.monotonic
        while not content.at_eof():  # aiohttp's own iterator never ends for an answer without a body
            data, _ = await content.readchunk()
            if not data:
                continue
            if exchange.size <= limit:
                exchange.add(data, clock())
                if exchange.size > limit:
                    exchange.forget()
                    _LOG.warning("an answer longer than 'record.max_bytes' is relayed, but not recorded")
            is_connected = is_connected and receiver.send(data)
            while is_connected and receiver.is_full():
                await asyncio.sleep(_FULL_PAUSE)
            if not is_connected and exchange.size > limit:
                break  # nobody wants the rest
        return exchange.size <= limit

    def _record(self, exchange: Exchange, end: float) -> None:
        try:
            if self._writer.write(exchange.line(end, self._canonical, self._settings.headers)):
                self._count()
        except NotRecordedError as error:
            _LOG.warning("the answer to %s is relayed, but not recorded: %s", exchange.name, error)
        except Exception:
            _LOG.exception("an answer could not be recorded; this is a defect of fastmock")

    def _key_for(self, upstream: Upstream) -> str | None:
        return None if upstream.key_env is None else self._environ.get(upstream.key_env)

    def _proxy_for(self, url: str) -> str | None:
        """Return the proxy of the environment for an upstream."""
        parts = urlsplit(url)
        return None if proxy_bypass(parts.netloc) else self._proxies.get(parts.scheme)


def forwarder(record: Record, cassettes: Cassettes, worker: int, count: Callable[[], None]) -> Forwarder:
    """Return the forwarder of a worker; ``record.to`` is set, and ``count`` counts a recording."""
    assert record.to is not None  # noqa: S101 - else nothing is forwarded
    writer = CassetteWriter(Path(record.to), worker)
    return Forwarder(record, Canonical(cassettes.normalize), writer, os.environ, count)


def upstream_of(settings: Record, provider: Provider) -> Upstream | None:
    """Return the upstream of a provider; None without one."""
    return settings.upstream_of(provider.name, provider.public_url)


def url_of(upstream: Upstream, request: Request) -> str:
    """Return the URL to forward a request to; a base path such as ``/v1`` may stand in both of its parts."""
    base, path = upstream.url, request.path
    if base.endswith(_BASE) and path.startswith(f"{_BASE}/"):
        base = base.removesuffix(_BASE)
    query = f"?{urlencode(request.query, doseq=True)}" if request.query else ""
    return f"{base}{quote(path, safe=_SAFE)}{query}"


def headers_of(request: Request, key: str | None) -> Sequence[tuple[str, str]]:
    """Return the headers to forward.

    Args:
        request: the request.
        key: the key for the upstream; None to send that of the request, without its session.
    """
    provider = provider_of(request)
    found: list[tuple[str, str]] = []
    has_key = False
    for name, value in request.headers.items():
        if name in _NOT_FORWARDED or name.startswith(_OWN):
            continue
        if name in provider.key_headers:
            token = bearer_token(value) if name == "authorization" else None
            sent = without_session(token or value) if key is None else key
            found.append((name, f"Bearer {sent}" if token is not None else sent))
            has_key = True
        else:
            found.append((name, _known_codings(value) if name == "accept-encoding" else value))
    if key is not None and not has_key:
        name = provider.key_headers[-1]
        found.append((name, f"Bearer {key}" if name == "authorization" else key))
    return found


def _relayed(response: aiohttp.ClientResponse) -> Headers:
    """Return the headers to relay: those that can be sent, and are not about the connection."""
    named = [(name.lower(), value) for name, value in response.headers.items()]
    listed = {part.strip().lower() for name, value in named if name == "connection" for part in value.split(",")}
    return tuple(
        (name, value)
        for name, value in named
        if name not in _HOP_BY_HOP and name not in listed and value.isascii() and value.isprintable()
    )


def _known_codings(accepted: str) -> str:
    """Return the content codings of ``accept-encoding`` in which secrets can be found."""
    parts = [part.strip() for part in accepted.split(",")]
    known = [part for part in parts if part.partition(";")[0].strip().lower() in (*CODINGS, "identity")]
    return ", ".join(known) or "identity"


def _reason(error: BaseException) -> str:
    """Return the reason of a failure, as part of a sentence."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not valid: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"it cannot be reached: {error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer is incomplete"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"its answer is not valid HTTP: {error.message}"
    text = str(error) or type(error).__name__
    return text.rstrip(".")
