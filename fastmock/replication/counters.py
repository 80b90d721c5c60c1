"""Counters of faults that all servers share; while the store cannot be reached, each server counts alone."""

from typing import Any

from fastmock.replication.connection import Connection
from fastmock.shared.counters import Counters, Passed

# KEYS: the hash of all counters. ARGV: the key, whether requests are seen, skip_first, every_nth, times (-1 without),
# whether the draw selects.
_TAKE = """
if ARGV[2] == '1' then
  local seen = redis.call('HINCRBY', KEYS[1], ARGV[1] .. ':seen', 1) - tonumber(ARGV[3])
  if seen <= 0 or seen % tonumber(ARGV[4]) ~= 0 then return 0 end
end
if ARGV[6] == '0' then return 1 end
local most = tonumber(ARGV[5])
if most >= 0 and tonumber(redis.call('HGET', KEYS[1], ARGV[1] .. ':chosen') or '0') >= most then return 1 end
redis.call('HINCRBY', KEYS[1], ARGV[1] .. ':chosen', 1)
return 2
"""


class SharedCounters(Counters):
    """The counters. Those that only inform are this server's own: they cost no call."""

    def __init__(self, local: Counters, connection: Connection) -> None:
        """``local`` are the counters of this server."""
        super().__init__(local.share)
        self._connection = connection
        self._hash = connection.key("faults")
        self._script: Any = connection.client.register_script(_TAKE)

    def take(self, key: int, sees: bool, skip: int, nth: int, times: int | None, is_drawn: bool) -> Passed:
        """See ``shared.counters.Counters.take``; the counts are those of all servers."""
        given = [f"{key:x}", int(sees), skip, nth, -1 if times is None else times, int(is_drawn)]
        found = self._connection.call(lambda: self._script(keys=[self._hash], args=given))
        if found is None:
            return super().take(key, sees, skip, nth, times, is_drawn)
        passed = Passed(found)
        if passed is Passed.CHOSEN:
            self.count(key, 1)
        return passed

    def forget(self, key: int) -> None:
        """Reset the counters of a key, for all servers."""
        super().forget(key)
        self._connection.call(lambda: self._connection.client.hdel(self._hash, f"{key:x}:seen", f"{key:x}:chosen"))
