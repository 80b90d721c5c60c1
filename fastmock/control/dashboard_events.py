"""``GET /fastmock/events``: the data of the dashboard, once a second, as server-sent events."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import count
from typing import Any, Protocol

import orjson

from fastmock._version import __version__
from fastmock.app import App
from fastmock.core import headers
from fastmock.core.errors import ApiError
from fastmock.core.framing import SSE
from fastmock.core.http import Stream
from fastmock.core.ids import unique
from fastmock.shared.block import GENERATION
from fastmock.shared.ring_buffer import OPEN
from fastmock.telemetry.journal import Journal, Record, timing

_LOOKS = 4  # polls per second for whether the server is stopping
_KEPT = 1000  # recent requests used for percentiles
_SHOWN = 50  # new requests listed in one event
_MOST_VIEWERS = 32  # per worker
_MOST_RULES = 20
_FOREVER = 1 << 62
_HEAD = headers.HeaderFactory((), "x-request-id").get(
    200, SSE.content_type, (("cache-control", "no-cache"), ("x-accel-buffering", "no"))
)

_viewers: set[int] = set()


class Server(Protocol):
    """The part of ``api.Server`` that the events need."""

    stopping: bool
    api_port: int | None

    def current(self) -> App:
        """Return the active App."""


class Events:
    """The event stream of one viewer."""

    def __init__(self, server: Server, journal: Journal) -> None:
        self._server = server
        self._journal = journal
        self._session = ""
        self._next = max(journal.ring_buffer.numbers().start, journal.ring_buffer.written - _KEPT)
        self._before: tuple[float, int] | None = None
        self._kept: deque[Record] = deque(maxlen=_KEPT)

    def stream(self, session: str) -> Stream:
        """Return the stream of events.

        Raises:
            ApiError: there are too many viewers already.
        """
        if len(_viewers) >= _MOST_VIEWERS:
            raise ApiError(503, f"There are {_MOST_VIEWERS} viewers already.")
        self._session = session
        _viewers.add(id(self))
        answer = Stream(_HEAD, f"req_{unique()}", self._dues(), self._cut, _FOREVER)
        answer.control = True
        return answer

    def __del__(self) -> None:
        _viewers.discard(id(self))

    def _dues(self) -> Iterator[float]:
        """Yield a step per poll; the first of each second sends an event."""
        for step in count():
            if self._server.stopping:
                return
            yield step / _LOOKS

    def _cut(self, begin: int, end: int) -> bytes:
        if not any(step % _LOOKS == 0 for step in range(begin, min(end, begin + _LOOKS))):
            return b""
        return b"data: %b\n\n" % orjson.dumps(self.event())

    def event(self) -> dict[str, Any]:
        """Return the activity since the last event, and the current state."""
        app = self._server.current()
        share, ring = app.share, self._journal.ring_buffer
        seen = app.lateness.last_minute()
        fresh, ended = self._take(app)
        now, written = time.monotonic(), ring.written
        then, before = self._before or (now - 1, written)
        self._before = now, written
        durations = [record.entry.outcome.seconds for record in self._kept if record.entry.outcome.state != OPEN]
        first = [record.entry.outcome.first for record in self._kept if record.entry.outcome.first]
        rules = Counter(record.head["rule"] for record in self._kept if record.head["rule"])
        return {
            "time": time.time(),
            "version": __version__,
            "generation": share.numbers[GENERATION],
            "workers": len(share.rows()),
            "api_port": self._server.api_port,
            "rules_loaded": app.rules,
            "metrics": app.config.settings.metrics.any,
            "journal": {"enabled": app.config.settings.journal.enabled, **self._journal.state()},
            "requests_per_second": round((written - before) / max(now - then, 1e-3), 1),
            "in_flight": app.in_flight.count(),
            "open_streams": sum(record.head["stream"] and record.entry.outcome.state == OPEN for record in self._kept),
            "queued": app.waiting() if app.waiting else 0,
            "lateness_ms": {"p50": seen.p50, "p99": seen.p99, "frames": seen.frames},
            "duration_ms": _percentiles(durations),
            "ttft_ms": _percentiles(first),
            "status": Counter(str(record.head["status"]) for record in self._kept),
            "rules": rules.most_common(_MOST_RULES),
            "requests": fresh,
            "ended": ended,
        }

    def _take(self, app: App) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Record new and ended requests; return the latest of each for the dashboard."""
        ring, journal = self._journal.ring_buffer, self._journal
        ended = []
        for place, record in enumerate(self._kept):
            if record.entry.outcome.state == OPEN and (entry := ring.read(record.entry.number)) is not None:
                self._kept[place] = Record(entry, record.head)
                ended.append({"number": entry.number, **timing(entry.outcome)})
        numbers = ring.numbers()
        begin = max(self._next, numbers.stop - _KEPT, numbers.start)
        fresh = []
        for record in journal.records(range(begin, numbers.stop)):
            self._next = record.entry.number + 1
            if not self._session or record.head["session"] == self._session:
                self._kept.append(record)
                fresh.append(record)
        return [_row(record, app) for record in fresh[-_SHOWN:]], ended[-_SHOWN:]


def _row(record: Record, app: App) -> dict[str, Any]:
    head = record.head
    names = ("time", "method", "path", "model", "session", "stream", "rule", "status", "fault", "limit", "check")
    nearest = record.nearest(app) if record.missed else {}
    return {"number": record.entry.number, **{name: head[name] for name in names}, **nearest} | timing(
        record.entry.outcome
    )


def _percentiles(seconds: list[float]) -> dict[str, float | None]:
    """Return the 50th, 90th and 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 2) if ordered else None
        for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }
