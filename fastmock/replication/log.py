"""The log of runtime changes in the store: all servers apply the same changes in the same order."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from fastmock.replication.connection import Connection

_KEPT = 1000  # changes before the snapshot that stay in the log
_SNAPSHOT_EVERY = 100  # changes
_ANSWER_SECONDS = 60  # for which confirmations and answers are kept
LIVE_SECONDS = 3
"""A server that was not seen for so long counts as gone."""

# KEYS: version, log. ARGV: the change, the number of kept ones. Returns the version that it leads to.
_APPEND = """
local version = redis.call('INCR', KEYS[1])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], version .. '-0', 'change', ARGV[1])
return version
"""
# KEYS: version, log, snapshot, refused. ARGV: version, snapshot. A store that has lost its data gets them back.
_OFFER = """
if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[2], KEYS[4])
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[3], ARGV[2])
return 1
"""
# KEYS: snapshot. ARGV: version, snapshot.
_SNAPSHOT = """
local known = redis.call('GET', KEYS[1])
if known and cjson.decode(known)['version'] >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class LoggedChange(NamedTuple):
    """A change in the log.

    Attributes:
        version: the version that it leads to.
        id: identifies it, and the answer to it.
        origin: the server that was asked for it.
        how, arguments: the name of a method of ``config.overlay.Overlay``, and its arguments.
    """

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
        names = ("version", "changes", "snapshot", "refused", "servers", "about")
        self._version, self.name, self._snapshot, self._refused, self._servers, self._about = map(connection.key, names)
        self._done, self._answer = connection.key("done:"), connection.key("answer:")
        register: Any = self._client.register_script
        self._append, self._offer, self._keep = register(_APPEND), register(_OFFER), register(_SNAPSHOT)

    def append(self, id_: str, origin: str, how: str, arguments: Sequence[Any]) -> int:
        """Append a change; return the version that it leads to."""
        data = orjson.dumps({"id": id_, "origin": origin, "how": how, "arguments": arguments})
        return int(self._append(keys=[self._version, self.name], args=[data, _KEPT]))

    def version(self) -> int:
        """Return the version that the log leads to."""
        return int(self._client.get(self._version) or 0)

    def load(self) -> tuple[int, Any, list[LoggedChange]]:
        """Return the version of the snapshot, the snapshot (None without one), and the changes since then."""
        found = self._client.get(self._snapshot)
        snapshot: dict[str, Any] = orjson.loads(found) if found else {"version": 0, "overlay": None}
        begin = int(snapshot["version"])
        return begin, snapshot["overlay"], self.since(begin)

    def since(self, version: int) -> list[LoggedChange]:
        """Return the changes after a version that no server has refused."""
        entries = self._client.xrange(self.name, min=f"{version + 1}-0")
        refused = {int(one) for one in self._client.smembers(self._refused)}
        return [one for one in map(parse_change, entries) if one.version not in refused]

    def refuse(self, version: int) -> None:
        """Note that a change was refused, so that servers that start later leave it out."""
        self._client.sadd(self._refused, version)

    def offer(self, version: int, overlay: Any) -> bool:
        """Give a store that has lost its data the state of this server; return whether it had lost them."""
        keys = [self._version, self.name, self._snapshot, self._refused]
        return bool(self._offer(keys=keys, args=[version, _written(version, overlay)]))

    def keep_snapshot(self, version: int, overlay: Any) -> None:
        """Write a snapshot now and then, so that the log can be short."""
        if version % _SNAPSHOT_EVERY == 0:
            self._keep(keys=[self._snapshot], args=[version, _written(version, overlay)])

    # Servers.

    def announce(self, server: str, about: Any) -> dict[str, Any]:
        """Note that a server is alive; return what all that are have said about themselves."""
        now = float(self._client.time()[0])
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zadd(self._servers, {server: now})
        pipeline.hset(self._about, server, orjson.dumps(about))
        pipeline.zrangebyscore(self._servers, "-inf", now - _ANSWER_SECONDS)
        pipeline.hgetall(self._about)
        pipeline.zrangebyscore(self._servers, now - LIVE_SECONDS, "+inf")
        _, _, old, abouts, live = pipeline.execute()
        if old:
            self._client.zrem(self._servers, *old)
            self._client.hdel(self._about, *old)
        return {one.decode(): orjson.loads(abouts[one]) for one in live if one in abouts}

    def leave(self, server: str) -> None:
        """Note that a server has ended."""
        self._client.zrem(self._servers, server)
        self._client.hdel(self._about, server)

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

    def wait_for(self, id_: str, seconds: float) -> tuple[int, Any] | None:
        """Wait for the answer to a change; None if there is none in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if (found := self._client.lpop(f"{self._answer}{id_}")) is not None:
                status, body = orjson.loads(found)
                return status, body
            time.sleep(0.002)
        return None


def parse_change(entry: Any) -> LoggedChange:
    """Return the change in an entry of the log."""
    id_, fields = entry
    return LoggedChange(int(id_.partition(b"-")[0]), **orjson.loads(fields[b"change"]))


def _written(version: int, overlay: Any) -> bytes:
    return orjson.dumps({"version": version, "overlay": overlay})
