"""Stored completions, Responses and conversations in the store, for all servers.

While the store cannot be reached, each server keeps its own.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from typing_extensions import override

from fastmock.replication.connection import Connection
from fastmock.storage.response_log import Entry, ResponseLog
from fastmock.storage.sqlite import Store, StoredObject

_SECONDS = 3600  # for which a stored response is kept
_AGAIN = 0.01  # seconds until a response that was not found is looked for again: it may be on its way
_AT_ONCE = 200  # responses that are written together

# KEYS: the object, the order of its kind, the sequence. ARGV: id, most, prefix of objects, then fields and values.
_KEEP = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[1])
local beyond = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[2])
if beyond > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, beyond - 1)) do redis.call('DEL', ARGV[3] .. id) end
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, beyond - 1)
end
return 1
"""
# KEYS: as above. ARGV: id, data.
_APPEND = """
redis.call('HSET', KEYS[1], 'body', (redis.call('HGET', KEYS[1], 'body') or '') .. ARGV[2])
redis.call('ZADD', KEYS[2], 'NX', redis.call('INCR', KEYS[3]), ARGV[1])
return 1
"""
# KEYS: the object, the order of its kind, the object and the order of deleted ones, the sequence. ARGV: id, most.
_DELETE = """
if redis.call('ZREM', KEYS[2], ARGV[1]) == 0 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[3], 'model', '')
redis.call('ZADD', KEYS[4], redis.call('INCR', KEYS[5]), ARGV[1])
redis.call('EXPIRE', KEYS[3], 3600)
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - tonumber(ARGV[2]))
return 1
"""
_GONE = "gone:"


class SharedStore(Store):
    """Stored objects of all servers."""

    def __init__(self, most: int, connection: Connection) -> None:
        """Keep at most ``most`` objects of a kind."""
        super().__init__(most)
        self._shared = connection
        self._sequence = connection.key("sequence")
        register: Any = connection.client.register_script
        self._keep, self._append, self._delete = register(_KEEP), register(_APPEND), register(_DELETE)

    def _keys(self, kind: str, id_: str) -> list[str]:
        return [self._shared.key(f"stored:{kind}:{id_}"), self._shared.key(f"stored:{kind}"), self._sequence]

    @override
    def keep(self, kept: StoredObject) -> None:
        fields = {
            "model": kept.model,
            "metadata": orjson.dumps(kept.metadata),
            "body": kept.body,
            "input": kept.input,
            "session": kept.session,
        }
        given = [kept.id, self._most, self._shared.key(f"stored:{kept.kind}:")]
        for name, value in fields.items():
            given += [name, value]
        if self._shared.call(lambda: self._keep(keys=self._keys(kept.kind, kept.id), args=given)) is None:
            super().keep(kept)

    @override
    def append(self, kind: str, id_: str, data: bytes) -> None:
        if self._shared.call(lambda: self._append(keys=self._keys(kind, id_), args=[id_, data])) is None:
            super().append(kind, id_, data)

    @override
    def get(self, kind: str, id_: str) -> StoredObject | None:
        found = self._shared.call(lambda: self._shared.client.hgetall(self._keys(kind, id_)[0]))
        if not found:
            return super().get(kind, id_)
        texts = {name: found.get(name.encode(), b"").decode() for name in ("model", "session")}
        body, input_ = (found.get(name, b"") for name in (b"body", b"input"))
        metadata = orjson.loads(found.get(b"metadata", b"{}"))
        return StoredObject(kind, id_, texts["model"], body, input_, metadata, texts["session"])

    @override
    def update(self, kind: str, id_: str, metadata: Mapping[str, str]) -> None:
        key, data = self._keys(kind, id_)[0], orjson.dumps(metadata)
        if self._shared.call(lambda: self._shared.client.hset(key, "metadata", data)) is None:
            super().update(kind, id_, metadata)

    @override
    def delete(self, kind: str, id_: str) -> bool:
        keys = [*self._keys(kind, id_)[:2], *self._keys(_GONE + kind, id_)]
        found = self._shared.call(lambda: self._delete(keys=keys, args=[id_, self._most]))
        return super().delete(kind, id_) if not found else True

    @override
    def deleted(self, kind: str, id_: str) -> bool:
        return self.get(_GONE + kind, id_) is not None or super().deleted(kind, id_)

    @override
    def ids(
        self, kind: str, newest_first: bool, wanted: Callable[[str, Mapping[str, str]], bool], session: str = ""
    ) -> list[str]:
        client, order = self._shared.client, self._shared.key(f"stored:{kind}")

        def read() -> list[tuple[str, Any]]:
            found = [one.decode() for one in client.zrange(order, 0, -1, desc=newest_first)]
            pipeline = client.pipeline(transaction=False)
            for id_ in found:
                pipeline.hmget(self._keys(kind, id_)[0], "model", "metadata", "session")
            return [*zip(found, pipeline.execute(), strict=True)]

        rows = self._shared.call(read)
        if rows is None:
            return super().ids(kind, newest_first, wanted, session)
        return [
            id_
            for id_, (model, metadata, of) in rows
            if session in ("", (of or b"").decode())
            and wanted((model or b"").decode(), orjson.loads(metadata or b"{}"))
        ]


class _Writer:
    """Writes Responses in a thread of each process, so that no request waits for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._process = 0
        self._starting = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        self._waiting.put((key, data))
        if self._process != os.getpid():
            with self._starting:
                if self._process != os.getpid():
                    self._process = os.getpid()
                    threading.Thread(target=self._write, name="responses", daemon=True).start()

    def _write(self) -> None:
        while True:
            found = [self._waiting.get()]
            while len(found) < _AT_ONCE and not self._waiting.empty():
                found.append(self._waiting.get())

            def write(found: list[tuple[str, bytes]] = found) -> bool:
                pipeline = self._connection.client.pipeline(transaction=False)
                for key, data in found:
                    pipeline.set(key, data, ex=_SECONDS)
                pipeline.execute()
                return True

            self._connection.call(write)


_writers: dict[Connection, _Writer] = {}  # a new configuration continues with the same


class SharedResponseLog(ResponseLog):
    """Stored Responses of all servers."""

    def __init__(self, store: Store, connection: Connection) -> None:
        """``store`` provides the directory for those of this server."""
        super().__init__(store)
        self._shared = connection
        self._writer = _writers.setdefault(connection, _Writer(connection))

    def _key(self, name: str) -> str:
        return self._shared.key(f"response:{name}")

    @override
    def keep(self, name: str, mark: bytes, answer: bytes, request: bytes) -> None:
        super().keep(name, mark, answer, request)
        self._writer.put(self._key(name), b"%b%d %b%b" % (mark, len(answer), answer, request))

    @override
    def get(self, name: str) -> Entry | None:
        return super().get(name) or self._elsewhere(name)

    def _elsewhere(self, name: str) -> Entry | None:
        """Return an entry of another server."""
        for pause in (0.0, _AGAIN):
            time.sleep(pause)
            data = self._shared.call(lambda: self._shared.client.get(self._key(name)))
            if data:
                size, _, rest = data[1:].partition(b" ")
                return Entry(data[:1], rest[: int(size)], rest[int(size) :])
        return None

    @override
    def mark(self, name: str, mark: bytes) -> None:
        super().mark(name, mark)
        self._shared.call(lambda: self._shared.client.setrange(self._key(name), 0, mark))
