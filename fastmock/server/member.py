"""This server as one of those that share a store: how it starts, and what its workers ask the others for."""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from fastmock.config.config import Config
from fastmock.config.overlay import NotThereError, Overlay
from fastmock.core.ids import unique
from fastmock.core.problems import ConfigError, Problem
from fastmock.replication.connection import READING, Connection, StoreError, check_store
from fastmock.replication.log import UNREADABLE, ChangeLog, OtherEpochError, Position
from fastmock.server.reload import refusal
from fastmock.shared.block import Share
from fastmock.shared.store_state import EPOCH, StoreState

_OWN = ("server", "startup", "readiness", "record", "admin", "store", "metrics")
"""The sections in which servers of one deployment may differ."""

_LOOK = 0.05  # seconds

_LOG = logging.getLogger("fastmock")
Result = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Member:
    """This server among those on the store.

    Attributes:
        id: identifies it.
        name: its configured name; None for that of its host, with its port.
        configuration: identifies its configuration.
        overlay: the runtime changes with which it starts, and ``position`` how far they are.
        is_synced: whether they were read; the store may not be there yet.
    """

    id: str
    name: str | None
    configuration: str
    overlay: Overlay
    position: Position
    is_synced: bool


def join_store(config: Config) -> Member | None:
    """Return this server as a member; None without a store.

    Raises:
        ConfigError: the store can never be used.
    """
    settings = config.settings.store
    if settings.url is None:
        return None
    name = config.settings.server.replica
    shared = config.settings.model_dump(mode="json", exclude=set(_OWN))
    configuration = blake2b(orjson.dumps(shared), digest_size=8).hexdigest()
    try:
        why = check_store(settings)
    except StoreError as error:
        raise ConfigError([Problem(config.where(("store", "url")), "store.url", str(error))]) from None
    position, overlay = Position(0, 0), Overlay()
    if why:
        _LOG.warning("the store cannot be reached (%s): this server is not ready until it can", why)
    else:
        connection = Connection(settings, StoreState(Share()), READING)
        try:
            position, overlay = state_in(ChangeLog(connection))
        except Exception as error:  # it was lost just now, or contains anything
            _LOG.warning("the state in the store cannot be read (%s): this server is not ready until it can", error)
            why = str(error)
        connection.client.close()
    return Member(
        f"{name or socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
        name,
        configuration,
        overlay,
        position,
        not why,
    )


def state_in(log: ChangeLog) -> tuple[Position, Overlay]:
    """Return the changes that a log leads to, and how far they are; raise the errors of the client."""
    (epoch, version), snapshot, changes = log.load()
    overlay = Overlay() if snapshot is None else Overlay().restoring(snapshot)
    for change in changes:
        if (change.epoch, change.version) != (epoch, version + 1):  # the others are no longer in the log
            break
        version = change.version
        if change.how != UNREADABLE:
            with suppress(ConfigError, NotThereError):  # refused by all
                overlay = getattr(overlay, change.how)(*change.arguments)
    return Position(epoch, version), overlay


class StoreCall:
    """A call whose answer another thread waits for: implements ``control.replies.Change``."""

    def __init__(self, work: Callable[[], Result]) -> None:
        """Begin ``work``."""
        self._result: Result | None = None

        def run() -> None:
            try:
                self._result = work()
            except Exception as error:  # whatever the client raises
                _LOG.debug("the store did not answer: %s", error)
                self._result = UNKNOWN

        threading.Thread(target=run, name="store call", daemon=True).start()

    def result(self) -> Result | None:
        """Return the status and the body of the response; None while they are pending."""
        return self._result


class StoreCalls:
    """What the workers of a server ask all servers on the store for."""

    def __init__(self, connection: Connection, member: Member, share: Share, patience: float) -> None:
        """``share``: the shared block of this server; ``patience``: seconds to wait for an answer."""
        self._connection, self._member = connection, member
        self._numbers, self._state = share.numbers, StoreState(share)
        self._log = ChangeLog(connection)
        self._patience = patience

    def change(self, how: str, arguments: Sequence[Any]) -> StoreCall:
        """Apply a change on all servers."""

        def append(id_: str) -> None:
            until = time.monotonic() + self._patience
            while True:
                try:
                    self._log.append(id_, self._member.id, how, arguments, self._numbers[EPOCH])
                except OtherEpochError:  # the server catches up within a second
                    if time.monotonic() > until:
                        raise
                    time.sleep(_LOOK)
                else:
                    return

        return self._ask(append)

    def flush(self) -> StoreCall:
        """Have all servers write what they have recorded, and this one read it."""
        return self._ask(lambda id_: self._to_all(id_, "flush"))

    def clear(self, wanted: Sequence[str], sessions: Sequence[str]) -> StoreCall:
        """Clear the journal or the counters of all servers."""

        def begin(id_: str) -> None:
            self._to_all(f"{id_}f", "flush")  # so that nothing recorded before arrives after it
            if self._wait_for(f"{id_}f") is not None:
                if "counters" in wanted and not sessions:
                    self._forget_counters()
                self._to_all(id_, "clear", wanted, sessions)

        return self._ask(begin)

    def _ask(self, begin: Callable[[str], object]) -> StoreCall:
        id_ = unique()

        def work() -> Result:
            if self._connection.gone or not self._state.is_reachable:
                return _UNREACHABLE
            begin(id_)
            return self._wait_for(id_) or UNKNOWN

        return StoreCall(work)

    def _wait_for(self, id_: str) -> Result | None:
        return self._log.wait_for(id_, self._patience, lambda: not self._state.is_reachable)

    def _to_all(self, id_: str, kind: str, wanted: Sequence[str] = (), sessions: Sequence[str] = ()) -> None:
        asked = {"ask": kind, "id": id_, "of": self._member.id, "wanted": orjson.dumps([*wanted])}
        asked["sessions"] = orjson.dumps([*sessions])
        self._connection.client.xadd(self._connection.key("requests"), asked)

    def _forget_counters(self) -> None:
        """Forget the counters of faults, and refill all limits."""
        client = self._connection.client
        client.delete(self._connection.key("faults"))
        self._log.forget_uses()
        found = [*client.scan_iter(match=_escaped(self._connection.key("limit:")) + "*", count=1000)]
        for begin in range(0, len(found), 1000):
            client.delete(*found[begin : begin + 1000])


def _escaped(text: str) -> str:
    """Return a text as a part of a glob."""
    return "".join(f"\\{one}" if one in "*?[]\\" else one for one in text)


_UNREACHABLE = refusal(503, "The store cannot be reached; nothing was changed.", "store_unreachable")
UNKNOWN = refusal(
    504, "The store did not answer in time; the change may have been made: look before you repeat it.", "store_timeout"
)
"""The response to a call whose effect is not known."""
