"""The stream of recorded requests in the store: the journal of each server gets those of all."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from fastmock.replication.connection import Connection
from fastmock.shared.block import Share
from fastmock.shared.ring_buffer import OPEN, Outcome, RingBuffer
from fastmock.shared.store_state import EXPORTED, EXPORTS

_AT_ONCE = 500  # requests that are written to the stream together
_MOST_OPEN = 10_000  # unfinished answers whose outcome is awaited
_PATIENCE = 200  # looks at an entry that its writer does not finish, because it was killed
_MOST_SERVERS = 1000  # whose last requests are known
_MOST_LOST = 1 << 40  # requests that a message can say are lost
_NEEDED = frozenset(("path", "headers", "rule", "status", "session"))  # parts of an entry that readers rely on
REPLICA = b'{"replica":'
"""How the entry of another server's request begins."""


class _Last(NamedTuple):
    """The last request of a server that was read: its number there, and how many the server has recorded with it."""

    number: int
    next: int


_NOTHING = _Last(-1, 0)


class RequestStream:
    """One server's view of the stream; all methods raise the errors of the client."""

    def __init__(self, connection: Connection, server: str, name: str, ring: RingBuffer, share: Share) -> None:
        """Take the parts.

        Args:
            connection: the connection.
            server: identifies the server.
            name: the name of the server that others show.
            ring: its journal.
            share: its shared block, which knows what was exported.
        """
        self._client: Any = connection.client
        self.name = connection.key("requests")
        self._server, self._shown, self._ring, self._share = server, name, ring, share
        self._open: dict[int, Outcome] = {}  # own requests whose answers were not finished when they were exported
        self._taken: deque[int] = deque()  # the numbers here of others' requests that the journal may still have
        self._imported: dict[tuple[str, int], int] = {}  # the numbers here of others' unfinished answers
        self._last: dict[str, _Last] = {}
        self._looks = 0

    # Export.

    def export(self) -> bool:
        """Write the requests recorded since the last call to the stream; return whether there may be more."""
        numbers, ring = self._share.numbers, self._ring
        known = ring.numbers()
        begin = numbers[EXPORTED]
        lost = max(0, known.start - max(begin, ring.floor))
        while self._taken and self._taken[0] < known.start:
            lost -= self._taken.popleft() >= max(begin, ring.floor)
        begin = max(begin, known.start)
        exports = numbers[EXPORTS]
        messages: list[dict[str, Any]] = [{"lost": lost, "of": self._server, "c": exports}] if lost else []
        exports += lost
        end = begin
        for number in range(begin, min(known.stop, begin + _AT_ONCE)):
            entry = ring.read(number)
            if entry is None and self._looks < _PATIENCE and number in ring.numbers():
                self._looks += 1  # its writer is about to finish it
                break
            self._looks = 0
            end = number + 1
            if entry is None or entry.head.startswith(REPLICA):
                continue
            if entry.outcome.state == OPEN and len(self._open) < _MOST_OPEN:
                self._open[number] = entry.outcome
            head = b"%b%b,%b" % (REPLICA, orjson.dumps(self._shown), entry.head[1:])
            outcome = orjson.dumps([*entry.outcome])
            messages.append({"of": self._server, "n": number, "c": exports, "h": head, "b": entry.body, "o": outcome})
            exports += 1
        messages += self._finished()
        self._write(messages)
        numbers[EXPORTED], numbers[EXPORTS] = end, exports
        return end < known.stop and self._looks == 0

    def _finished(self) -> Iterable[dict[str, Any]]:
        """Return messages about answers that have ended since they were exported."""
        for number, known in [*self._open.items()]:
            entry = self._ring.read(number)
            if entry is None or entry.outcome.state != OPEN:
                del self._open[number]
            if entry is not None and entry.outcome != known and entry.outcome.state != OPEN:
                yield {"of": self._server, "n": number, "o": orjson.dumps([*entry.outcome])}

    def _write(self, messages: Sequence[Mapping[str, Any]]) -> None:
        if messages:
            pipeline = self._client.pipeline(transaction=False)
            for message in messages:
                pipeline.xadd(self.name, dict(message), maxlen=self._ring.size, approximate=True)
            pipeline.execute()

    # Import.

    def take(self, fields: Mapping[bytes, bytes]) -> None:
        """Take a message about another server's requests into the journal."""
        server = fields[b"of"].decode()
        if server == self._server:
            return
        if b"lost" in fields:
            last, count = self._last.get(server, _NOTHING), int(fields[b"c"])
            if count >= last.next:  # else it was written twice too
                self._ring.lose(lost := min(int(fields[b"lost"]), _MOST_LOST))
                self._follow(server, last.number, count, lost)
            return
        key = server, int(fields[b"n"])
        seconds, first, size, state = orjson.loads(fields[b"o"])
        outcome = Outcome(float(seconds), float(first), int(size), int(state))
        if b"h" not in fields:
            if (number := self._imported.pop(key, None)) is not None:
                self._ring.end(number, outcome)
            return
        head, count = fields[b"h"], int(fields[b"c"])
        if not orjson.loads(head).keys() >= _NEEDED:
            raise ValueError("a recorded request lacks something")
        if key[1] <= self._last.get(server, _NOTHING).number:
            return  # written twice, since its server saw no answer of the store
        self._follow(server, key[1], count, 1)
        number = self._ring.write(head, fields[b"b"][: self._ring.most - len(head)], outcome)
        self._taken.append(number)
        if outcome.state == OPEN:
            if len(self._imported) >= _MOST_OPEN:
                self._imported.clear()
            self._imported[key] = number

    def _follow(self, server: str, number: int, before: int, covered: int) -> None:
        """Count the requests of a server that were dropped from the stream before this one read them.

        Args:
            server: the server.
            number: the number of its last request.
            before: how many it had recorded before the message that was just read.
            covered: how many requests the message is about.
        """
        if (last := self._last.get(server)) is not None:
            self._ring.lose(max(0, before - last.next))
        elif len(self._last) >= _MOST_SERVERS:
            del self._last[next(iter(self._last))]
        self._last[server] = _Last(number, before + covered)
