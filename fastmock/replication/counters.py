"""Counters of faults that all servers share; while the store cannot be reached, each server counts alone."""

from typing import Any

from fastmock.replication.connection import Connection
from fastmock.shared.counters import Candidates, Count, Counters

FAULTS = "faults"
"""The name of the key of all counters."""

CHOOSE = """
local function choose(counters, before)
  local drawn, ends = tonumber(ARGV[before + 1]), 0
  local function due(at)
    local key, sees, skip, nth = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    if sees == '1' then
      local seen = redis.call('HINCRBY', counters, key .. ':seen', 1) - skip
      if seen <= 0 or seen % nth ~= 0 then return false end
    end
    local times, probability, begins = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), ends
    if probability >= 0 then
      ends = ends + probability
      if drawn < begins or drawn >= ends then return false end
    end
    if times < 0 then return true end
    if tonumber(redis.call('HGET', counters, key .. ':chosen') or '0') >= times then return false end
    redis.call('HINCRBY', counters, key .. ':chosen', 1)
    return true
  end
  for at = before + 2, #ARGV, 6 do
    if due(at) then return (at - before - 2) / 6 + 1 end
  end
  return 0
end
"""
"""A Lua function that selects a fault as ``shared.counters.Counters.choose`` does. Its arguments are the key of the
counters, and the number of entries in ARGV before those of ``choice_of``.
"""


def choice_of(candidates: Candidates) -> list[object]:
    """Return the arguments of ``CHOOSE``: the drawn number, and six for each fault."""
    given: list[object] = [repr(candidates.drawn)]
    for trigger, key in candidates.faults:
        times = -1 if trigger.times is None else trigger.times
        probability = "-1" if trigger.probability is None else repr(trigger.probability)
        given += (f"{key:x}", int(trigger.sees), trigger.skip, trigger.nth, times, probability)
    return given


def note_choice(candidates: Candidates, chosen: int) -> None:
    """Note what ``CHOOSE`` has returned."""
    candidates.decide(chosen - 1 if chosen else None)


def is_counted(candidates: Candidates) -> bool:
    """Return whether requests are counted to select one of the faults; otherwise no call is needed."""
    return any(trigger.is_counted for trigger, _ in candidates.faults)


class SharedCounters(Counters):
    """The counters. Those that only inform are this server's own: they cost no call."""

    def __init__(self, local: Counters, connection: Connection) -> None:
        """``local`` are the counters of this server."""
        super().__init__(local.share)
        self._connection = connection
        self._hash = connection.key(FAULTS)
        self._script: Any = connection.client.register_script(CHOOSE + "return choose(KEYS[1], 0)")

    def choose(self, candidates: Candidates) -> None:
        """See ``shared.counters.Counters.choose``; the counts are those of all servers."""
        if not candidates.is_decided and is_counted(candidates):
            given = choice_of(candidates)
            found = self._connection.call(lambda: self._script(keys=[self._hash], args=given))
            if found is not None:
                note_choice(candidates, found)
        if not candidates.is_decided:
            super().choose(candidates)
        elif candidates.chosen is not None:
            chosen = candidates.faults[candidates.chosen]
            self.count(chosen.key, Count.CHOSEN)
            self._count_all(chosen)

    def forget(self, key: int) -> None:
        """Reset the counters of a key, for all servers."""
        super().forget(key)
        self._connection.call(lambda: self._connection.client.hdel(self._hash, f"{key:x}:seen", f"{key:x}:chosen"))
