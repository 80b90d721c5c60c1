"""The process that keeps this server and those on the same store in step: it applies the changes of all, exchanges the
recorded requests, and says who has not followed.
"""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from fastmock.control.clearing import clear
from fastmock.replication.connection import READING, Connection
from fastmock.replication.log import ChangeLog, Standing, parse_change
from fastmock.replication.requests import RequestStream
from fastmock.server.change_follower import ChangeFollower, OutOfStepError
from fastmock.server.confirmations import Answer, Confirmations
from fastmock.server.member import Member
from fastmock.server.worker import WorkerContext
from fastmock.shared.in_flight import InFlight
from fastmock.shared.rule_hits import RuleHits
from fastmock.shared.store_state import READ_AT, READ_NUMBER, SYNCED, VERSION

_IDLE, _BUSY = 20, 2  # milliseconds to wait for messages: as a rule, and while confirmations are awaited
_AT_ONCE = 500  # messages
_ANNOUNCE = 1.0  # seconds
_RETRY = 0.5  # seconds until a store that was lost is tried again
_DRAINED = 0.3  # seconds without a new request after which a stopping server has none in flight

_LOG = logging.getLogger("fastmock")


class Replicator:
    """The process; see the module."""

    def __init__(self, live: WorkerContext, server: str, about: Mapping[str, str], timeout: float) -> None:
        """Take the parts.

        Args:
            live: the worker's context.
            server: identifies this server among those on the store.
            about: the ``name`` of this server that others show, and its ``configuration``.
            timeout: seconds that requests in flight have to finish when the server stops.
        """
        settings = live.app.config.settings
        self._live, self._server, self._about, self._timeout = live, server, about, timeout
        self._connection = Connection(settings.store, live.store_state, READING)
        self._log = ChangeLog(self._connection)
        self._stream = RequestStream(self._connection, server, about["name"], live.journal.ring_buffer, live.app.share)
        self._hits = RuleHits(live.app.share)
        self._confirmations = Confirmations(self._log)
        self._changes = ChangeFollower(live, self._log, server, self._await)
        self._servers: dict[str, Any] = {}
        self._warned: set[str] = set()
        self._next_announcement = 0.0
        self._stopping = threading.Event()
        self._is_lost = True  # until it was read once

    def run(self) -> None:
        """Work until SIGTERM, and then until the requests in flight are written."""
        signal.signal(signal.SIGTERM, lambda *_: self._stopping.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while not self._stopping.is_set():
            try:
                self._announce()
                if not self._changes.catch_up():
                    self._stopping.wait(_RETRY)
                    continue
                if not self._live.numbers[SYNCED]:
                    self._connection.note_back()
                    self._live.numbers[SYNCED] = 1
                while not self._stopping.is_set():
                    self._step()
                    if self._is_lost:
                        self._is_lost = False
                        self._connection.note_back()
            except OutOfStepError:
                self._stopping.wait(_IDLE / 1000)
            except Exception as error:  # whatever the store contains, this process goes on
                self._is_lost = True
                self._connection.note_lost(error)
                self._stopping.wait(_RETRY)
        if self._live.store_state.is_reachable:
            self._finish()

    def _finish(self) -> None:
        """Write the requests that are still in flight, and leave."""
        in_flight = InFlight(self._live.app.share)
        ring = self._live.journal.ring_buffer
        until, quiet, written = time.monotonic() + self._timeout, time.monotonic() + _DRAINED, ring.written
        try:
            while time.monotonic() < min(until, quiet) or (in_flight.count() and time.monotonic() < until):
                self._stream.export()
                if ring.written != written:
                    quiet, written = time.monotonic() + _DRAINED, ring.written
                time.sleep(_IDLE / 1000)
            self._stream.export()
            self._exchange_uses()
            self._log.leave(self._server)
        except _store_errors():
            return

    def _step(self) -> None:
        """Handle the messages that have arrived, and what is due."""
        numbers = self._live.numbers
        reading = {
            self._log.name: f"{numbers[VERSION]}-0",
            self._stream.name: f"{numbers[READ_AT]}-{numbers[READ_NUMBER]}",
        }
        block = _BUSY if self._confirmations.pending else _IDLE
        for name, entries in self._connection.client.xread(reading, count=_AT_ONCE, block=block) or ():
            for entry in entries:
                if name.decode() == self._log.name:
                    self._changes.make_next(parse_change(entry))
                else:
                    self._read_or_skip(entry)
        while self._stream.export():
            pass
        self._confirmations.look()
        if time.monotonic() >= self._next_announcement:
            self._changes.check(self._announce())
            self._connection.note_back()

    def _announce(self) -> Standing:
        self._next_announcement = time.monotonic() + _ANNOUNCE
        standing = self._log.announce(self._server, self._about, self._uses())
        self._servers = standing.servers
        for server, other in self._servers.items():
            if other["configuration"] != self._about["configuration"] and server not in self._warned:
                self._warned.add(server)
                _LOG.warning(
                    "the server %s on the same store has another configuration: if it belongs to another deployment, "
                    "give each its own 'store.prefix' (here: %s)",
                    *(other["name"], self._connection.settings.prefix),
                )
        return standing

    def _await(self, id_: str, then: Answer) -> None:
        """Have ``then`` called once all servers have confirmed, or ``store.max_lag`` has passed."""
        lag = self._live.app.config.settings.store.max_lag / 1000
        servers = {self._server: self._about["name"], **{one: about["name"] for one, about in self._servers.items()}}
        self._confirmations.wait_for(id_, servers, lag, then)

    # Uses of rules.

    def _uses(self) -> dict[str, int]:
        """Return how often this server has used each rule."""
        return {f"{key:x}": count for key, count in self._hits.own().items()}

    def _exchange_uses(self) -> None:
        """Note how often this server has used each rule, and how often all others have."""
        others = self._log.count_uses(self._server, self._uses())
        self._hits.note_others({int(key, 16): count for key, count in others.items()})

    # Recorded requests.

    def _read_or_skip(self, entry: Any) -> None:
        """Handle a message, or skip it if that fails, so that one does not stop all."""
        try:
            self._read(entry)
        except _store_errors():
            raise
        except Exception as error:  # whatever others have written
            _LOG.warning("a message in the store cannot be read (%s): it is of another version, or damaged", error)
            self._advance(entry[0])

    def _advance(self, id_: bytes) -> None:
        at, _, number = id_.partition(b"-")
        self._live.numbers[READ_AT], self._live.numbers[READ_NUMBER] = int(at), int(number)

    def _read(self, entry: Any) -> None:
        """Handle a message in the stream of requests."""
        id_, fields = entry
        if b"ask" in fields:
            self._asked({name.decode(): value.decode() for name, value in fields.items()})
        else:
            self._stream.take(fields)
        self._advance(id_)

    def _asked(self, asked: Mapping[str, str]) -> None:
        """Write, or clear, what was recorded, as a server asks for."""
        id_, kind = asked["id"], asked["ask"]
        sessions = orjson.loads(asked["sessions"])
        if kind == "flush":
            while self._stream.export():
                pass
            self._exchange_uses()
        else:
            clear(self._live.current(), self._live.journal, orjson.loads(asked["wanted"]), sessions)
        self._log.confirm(id_, self._server)
        if asked["of"] == self._server:
            self._await(id_, lambda followed: self._end_asking(id_, kind, followed))

    def _end_asking(self, id_: str, kind: str, followed: Mapping[str, Any]) -> None:
        """Read on to all that was written before the last confirmation, and answer."""
        if kind == "flush":
            tip = self._connection.client.xrevrange(self._stream.name, count=1)
            begin = f"({self._live.numbers[READ_AT]}-{self._live.numbers[READ_NUMBER]}"
            if tip:
                for entry in self._connection.client.xrange(self._stream.name, min=begin, max=tip[0][0]):
                    self._read_or_skip(entry)
            self._exchange_uses()
        self._log.answer(id_, 200, followed)


def replication(member: Member, port: int, timeout: float) -> Callable[[WorkerContext, Callable[[], None]], None]:
    """Return the work of the process, for ``server.supervisor``."""

    def work(live: WorkerContext, ready: Callable[[], None]) -> None:
        about = {"name": member.name or f"{socket.gethostname()}:{port}", "configuration": member.configuration}
        replicator = Replicator(live, member.id, about, timeout)
        ready()
        replicator.run()

    return work


def _store_errors() -> tuple[type[Exception], ...]:
    import redis

    return redis.RedisError, OSError
