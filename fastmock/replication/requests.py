"""The stream of recorded requests in the store: the journal of each server gets those of all."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from fastmock.replication.connection import Connection
from fastmock.shared.block import Share
from fastmock.shared.ring_buffer import OPEN, Outcome, RingBuffer
from fastmock.shared.store_state import EXPORTED

_AT_ONCE = 500  # requests that are written to the stream together
_MOST_OPEN = 10_000  # unfinished answers whose outcome is awaited
_PATIENCE = 200  # looks at an entry that its writer does not finish, because it was killed
REPLICA = b'{"replica":'
"""How the entry of another server's request begins."""


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
        self._imported: dict[tuple[str, int], int] = {}  # the numbers here of others' unfinished answers
        self._looks = 0

    # Export.

    def export(self) -> bool:
        """Write the requests recorded since the last call to the stream; return whether there may be more."""
        numbers, ring = self._share.numbers, self._ring
        known = ring.numbers()
        begin = numbers[EXPORTED]
        lost = max(0, known.start - max(begin, ring.floor))
        begin = max(begin, known.start)
        messages: list[dict[str, Any]] = [{"lost": lost, "of": self._server}] if lost else []
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
            messages.append(
                {"of": self._server, "n": number, "h": head, "b": entry.body, "o": orjson.dumps([*entry.outcome])}
            )
        messages += self._finished()
        self._write(messages)
        numbers[EXPORTED] = end
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
            self._ring.lose(int(fields[b"lost"]))
            return
        key = server, int(fields[b"n"])
        outcome = Outcome(*orjson.loads(fields[b"o"]))
        if b"h" not in fields:
            if (number := self._imported.pop(key, None)) is not None:
                self._ring.end(number, outcome)
            return
        head = fields[b"h"]
        number = self._ring.write(head, fields[b"b"][: self._ring.most - len(head)], outcome)
        if outcome.state == OPEN:
            if len(self._imported) >= _MOST_OPEN:
                self._imported.clear()
            self._imported[key] = number
