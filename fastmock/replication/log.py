"""The log of runtime changes in the store: all servers apply the same changes in the same order."""

import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from fastmock.replication.connection import Connection

_KEPT = 1000  # changes before the snapshot that stay in the log
_SNAPSHOT_EVERY = 100  # changes
_ANSWER_SECONDS = 60  # for which confirmations and answers are kept
_LOST_SECONDS = 1  # for which an answer is awaited after the store was lost
LIVE_SECONDS = 3
"""A server that was not seen for so long counts as gone."""

# The state is a hash: ``epoch``, a number drawn when the log was begun, since a store may lose its data; ``version``,
# that of the last change; ``base``, that of the snapshot with which the epoch began.

# KEYS: state, log. ARGV: the change, the number of kept ones, the epoch of the server. Returns the version that the
# change leads to; 0 if the store has another epoch.
_APPEND = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[3] then return 0 end
local version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], version .. '-0', 'epoch', ARGV[3], 'change', ARGV[1])
return version
"""
# KEYS: state, log, snapshot, refused. ARGV: the epoch, the version and the snapshot of the server, a new epoch. Begins
# an epoch with them if the store has lost its data; also if another server with fewer changes has begun one, and
# nothing was changed in it.
_OFFER = """
local epoch, version, base = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'version', 'base'))
version, base = tonumber(version or '-1'), tonumber(base or '-1')
local mine = tonumber(ARGV[2])
if epoch and version >= mine then return 0 end
if epoch and epoch ~= ARGV[1] and version ~= base then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'epoch', ARGV[4], 'version', ARGV[2], 'base', ARGV[2])
redis.call('HSET', KEYS[3], 'epoch', ARGV[4], 'version', ARGV[2], 'overlay', ARGV[3])
return 1
"""
# KEYS: state, snapshot. ARGV: epoch, version, snapshot.
_SNAPSHOT = """
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
local epoch, version = unpack(redis.call('HMGET', KEYS[2], 'epoch', 'version'))
if epoch == ARGV[1] and tonumber(version or '-1') >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'version', ARGV[2], 'overlay', ARGV[3])
return 1
"""
# KEYS: uses of the rules by server, uses by servers that have left. ARGV: those servers. Keeps what they have counted.
_LEAVE = """
for _, server in ipairs(ARGV) do
  local uses = redis.call('HGET', KEYS[1], server)
  redis.call('HDEL', KEYS[1], server)
  local read, found = pcall(cjson.decode, uses or '{}')
  if read then
    for key, count in pairs(found) do redis.call('HINCRBY', KEYS[2], key, count) end
  end
end
return 1
"""
_CHANGES = (
    *("adding", "replacing", "putting", "removing", "resetting"),
    *("configuring_session", "patching", "adding_faults", "removing_faults"),
)
"""The methods of ``config.overlay.Overlay`` that change it."""
UNREADABLE = "unreadable"
"""The ``how`` of a change that no server can read: all refuse it."""


class OtherEpochError(Exception):
    """The store has begun another epoch than that of the server, which has to catch up first."""


class Position(NamedTuple):
    """How far a server, or the log, is.

    Attributes:
        epoch: the epoch of the log, a number above 0; 0 for none.
        version: the version of the last change.
    """

    epoch: int
    version: int


class Saved(NamedTuple):
    """What a server begins with.

    Attributes:
        position: that of the snapshot.
        overlay: the snapshot; None without one.
        changes: the changes since then, those that a server has refused as unreadable ones.
    """

    position: Position
    overlay: Any
    changes: "list[LoggedChange]"


class Standing(NamedTuple):
    """What the store knows.

    Attributes:
        servers: what all servers that are alive have said about themselves.
        position: how far the log is.
        is_whole: whether a server that starts now can get all changes.
    """

    servers: dict[str, Any]
    position: Position
    is_whole: bool


class LoggedChange(NamedTuple):
    """A change in the log.

    Attributes:
        epoch: the epoch of the log.
        version: the version that it leads to.
        id: identifies it, and the answer to it.
        origin: the server that was asked for it.
        how, arguments: the name of a method of ``config.overlay.Overlay``, and its arguments.
    """

    epoch: int
    version: int
    id: str
    origin: str
    how: str
    arguments: Sequence[Any]


class ChangeLog:
    """The log, and what belongs to it; all methods raise the errors of the client."""

    def __init__(self, connection: Connection) -> None:
        """Use the client of ``connection``."""
        self._client: Any = connection.client
        names = ("state", "changes", "snapshot", "refused", "servers", "about")
        self._state, self.name, self._snapshot, self._refused, self._servers, self._about = map(connection.key, names)
        self._uses, self._uses_before = connection.key("uses"), connection.key("uses_before")
        self._done, self._answer = connection.key("done:"), connection.key("answer:")
        register: Any = self._client.register_script
        self._append, self._offer, self._keep = register(_APPEND), register(_OFFER), register(_SNAPSHOT)
        self._leave = register(_LEAVE)

    def append(self, id_: str, origin: str, how: str, arguments: Sequence[Any], epoch: int) -> int:
        """Append a change of a server that is in an epoch; return the version that it leads to.

        Raises:
            OtherEpochError: see there.
        """
        data = orjson.dumps({"id": id_, "origin": origin, "how": how, "arguments": arguments})
        version = int(self._append(keys=[self._state, self.name], args=[data, _KEPT, epoch]))
        if not version:
            raise OtherEpochError
        return version

    def position(self) -> Position:
        """Return how far the log is."""
        return _position(*self._client.hmget(self._state, "epoch", "version"))

    def load(self) -> Saved:
        """Return the last snapshot, and the changes since then."""
        epoch, version, overlay = self._client.hmget(self._snapshot, "epoch", "version", "overlay")
        begin = _position(epoch, version)
        entries = self._client.xrange(self.name, min=f"{begin.version + 1}-0")
        refused = {int(one) for one in self._client.smembers(self._refused)}
        read = map(parse_change, entries)
        changes = [one._replace(how=UNREADABLE) if one.version in refused else one for one in read]
        return Saved(begin, None if overlay is None else orjson.loads(overlay), changes)

    def refuse(self, version: int) -> None:
        """Note that a change was refused, so that servers that start later leave it out."""
        self._client.sadd(self._refused, version)

    def offer(self, position: Position, overlay: Any) -> bool:
        """Give a store that has lost its data, or is new, the state of this server; return whether it needed it."""
        keys = [self._state, self.name, self._snapshot, self._refused]
        return bool(self._offer(keys=keys, args=[*position, orjson.dumps(overlay), 1 + secrets.randbits(62)]))

    def keep_snapshot(self, position: Position, overlay: Any, now: bool = False) -> None:
        """Write a snapshot once in a while, or ``now``, so that the log can be short."""
        if now or position.version % _SNAPSHOT_EVERY == 0:
            self._keep(keys=[self._state, self._snapshot], args=[*position, orjson.dumps(overlay)])

    # Servers.

    def announce(self, server: str, about: Any, uses: Mapping[str, int]) -> Standing:
        """Note that a server is alive, and how often it has used each rule; return what the store knows."""
        now = float(self._client.time()[0])
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zadd(self._servers, {server: now})
        pipeline.hset(self._about, server, orjson.dumps(about))
        pipeline.hset(self._uses, server, orjson.dumps(uses))
        pipeline.zrangebyscore(self._servers, "-inf", now - _ANSWER_SECONDS)
        pipeline.hgetall(self._about)
        pipeline.zrangebyscore(self._servers, now - LIVE_SECONDS, "+inf")
        pipeline.hmget(self._state, "epoch", "version")
        pipeline.hmget(self._snapshot, "epoch", "version")
        pipeline.xlen(self.name)
        *_, old, abouts, live, state, kept, entries = pipeline.execute()
        if old:
            self.leave(*(one.decode() for one in old))
        servers = {one.decode(): _about(abouts[one]) for one in live if one in abouts}
        log, snapshot = _position(*state), _position(*kept)
        return Standing(servers, log, snapshot.epoch == log.epoch and entries >= log.version - snapshot.version)

    def leave(self, *servers: str) -> None:
        """Note that servers have ended."""
        self._client.zrem(self._servers, *servers)
        self._client.hdel(self._about, *servers)
        self._leave(keys=[self._uses, self._uses_before], args=servers)

    def count_uses(self, server: str, uses: Mapping[str, int]) -> Counter[str]:
        """Note how often a server has used each rule; return how often all others have."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hset(self._uses, server, orjson.dumps(uses))
        pipeline.hgetall(self._uses)
        pipeline.hgetall(self._uses_before)
        _, of_servers, before = pipeline.execute()
        total = Counter({key.decode(): int(count) for key, count in before.items()})
        for other, counts in of_servers.items():
            if other.decode() != server:
                total.update(_uses(counts))
        return total

    def forget_uses(self) -> None:
        """Reset the uses of the rules."""
        self._client.delete(self._uses, self._uses_before)

    def confirm(self, id_: str, server: str) -> None:
        """Note that a server has done what it was asked for."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.sadd(f"{self._done}{id_}", server)
        pipeline.expire(f"{self._done}{id_}", _ANSWER_SECONDS)
        pipeline.execute()

    def confirmed(self, id_: str) -> set[str]:
        """Return the servers that have confirmed."""
        return {one.decode() for one in self._client.smembers(f"{self._done}{id_}")}

    def answer(self, id_: str, status: int, body: Any) -> None:
        """Answer the process that waits for a change."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.rpush(f"{self._answer}{id_}", orjson.dumps([status, body]))
        pipeline.expire(f"{self._answer}{id_}", _ANSWER_SECONDS)
        pipeline.execute()

    def wait_for(self, id_: str, seconds: float, is_lost: Callable[[], bool]) -> tuple[int, Any] | None:
        """Wait for the answer to a change; None if there is none in time, or the store is lost for a second."""
        until, lost_at = time.monotonic() + seconds, math.inf
        while (now := time.monotonic()) < until and now < lost_at + _LOST_SECONDS:
            try:
                found, lost = self._client.lpop(f"{self._answer}{id_}"), is_lost()
            except Exception:  # of the client: a connection that was lost is made anew
                found, lost = None, True
            if found is not None:
                status, body = orjson.loads(found)
                return status, body
            lost_at = min(lost_at, now) if lost else math.inf
            time.sleep(0.002)
        return None


def parse_change(entry: Any) -> LoggedChange:
    """Return the change in an entry of the log."""
    id_, fields = entry
    epoch, version = int(fields.get(b"epoch", 0)), int(id_.partition(b"-")[0])
    try:
        change = LoggedChange(epoch, version, **orjson.loads(fields[b"change"]))
    except (KeyError, TypeError, ValueError):
        return LoggedChange(epoch, version, "", "", UNREADABLE, ())
    if change.how not in _CHANGES or not isinstance(change.arguments, list):
        return change._replace(how=UNREADABLE)
    return change


def _position(epoch: bytes | None, version: bytes | None) -> Position:
    return Position(int(epoch or 0), int(version or 0))


def _uses(written: bytes) -> dict[str, int]:
    """Return how often a server has used each rule."""
    try:
        return {str(key): int(count) for key, count in orjson.loads(written).items()}
    except (AttributeError, TypeError, ValueError):
        return {}


def _about(written: bytes) -> dict[str, str]:
    """Return what a server has said about itself."""
    try:
        found = orjson.loads(written)
        return {"name": str(found["name"]), "configuration": str(found["configuration"])}
    except (KeyError, TypeError, ValueError):
        return {"name": "unreadable", "configuration": ""}
