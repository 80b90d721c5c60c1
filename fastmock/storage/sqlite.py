"""Stored objects, for all workers of a machine: one bounded SQLite file in the server's run directory."""

import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import orjson

T = TypeVar("T")

_FILE = "stored.sqlite"
_GONE = "deleted "  # prefix of the kind of a deleted object
_PAGES = 65_536  # of 4 KiB: at most 256 MiB in total
_PATIENCE = 0.5  # seconds to wait for another worker's write; none while the file is known to be locked
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLE = """
CREATE TABLE IF NOT EXISTS kept (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, model TEXT NOT NULL, metadata BLOB NOT NULL,
    body BLOB NOT NULL, input BLOB NOT NULL, session TEXT NOT NULL DEFAULT '', UNIQUE (kind, id)
)
"""

_LOG = logging.getLogger("fastmock")


@dataclass(frozen=True)
class StoredObject:
    """An object in the store.

    Attributes:
        kind: its type, such as ``chat.completion``.
        id: its id.
        model: the requested model.
        metadata: the client's metadata.
        session: the session of its request; empty without one.
        body: the whole response, as JSON.
        input: the request's input, as JSON.
    """

    kind: str
    id: str
    model: str
    body: bytes
    input: bytes = b"[]"
    metadata: Mapping[str, str] = field(default_factory=dict)
    session: str = ""


class Store:
    """Stores at most ``most`` objects; the oldest are dropped. The file is created with the first object.

    While the file cannot be used, objects are neither stored nor found; this is logged once. A damaged file is replaced
    by a new one.

    Attributes:
        directory: the directory of the file; None until it is known.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.directory: Path | None = None
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._path, self._inode = "", 0  # of the open file
        self._failing = False

    def join(self, directory: Path | None) -> None:
        """Use ``directory``, created on demand; None stands for a temporary one."""
        self.directory = directory

    def place(self) -> Path:
        """Return the directory; create it if necessary."""
        if self.directory is None:
            self.directory = Path(tempfile.mkdtemp(prefix="fastmock-"))
            weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.directory

    def keep(self, kept: StoredObject) -> None:
        """Store an object, or log the failure."""
        row = (kept.kind, kept.id, kept.model, orjson.dumps(kept.metadata), kept.body, kept.input, kept.session)
        insert = "INSERT OR REPLACE INTO kept (kind, id, model, metadata, body, input, session) VALUES "
        insert += "(?, ?, ?, ?, ?, ?, ?)"

        def keep(connection: sqlite3.Connection) -> None:
            try:
                number = connection.execute(insert, row).lastrowid or 0
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                    raise
                middle = "SELECT (min(number) + max(number)) / 2 FROM kept"  # the older half is dropped
                connection.execute(f"DELETE FROM kept WHERE number <= ({middle})")  # noqa: S608
                number = connection.execute(insert, row).lastrowid or 0
            connection.execute("DELETE FROM kept WHERE number <= ?", (number - self._most,))

        self._use(keep, None, writes=True)

    def append(self, kind: str, id_: str, data: bytes) -> None:
        """Append to the body of an object, created on demand; or log the failure."""
        insert = "INSERT INTO kept (kind, id, model, metadata, body, input) VALUES (?, ?, '', '{}', ?, '[]') "
        update = "ON CONFLICT (kind, id) DO UPDATE SET body = CAST(body || excluded.body AS BLOB)"
        self._use(lambda connection: connection.execute(insert + update, (kind, id_, data)), None, writes=True)

    def get(self, kind: str, id_: str) -> StoredObject | None:
        """Return an object; None if there is none."""
        if not self._exists():
            return None
        query = "SELECT model, body, input, metadata, session FROM kept WHERE kind = ? AND id = ?"

        def get(connection: sqlite3.Connection) -> StoredObject | None:
            found = connection.execute(query, (kind, id_)).fetchone()
            if found is None:
                return None
            model, body, input_, metadata, session = found
            return StoredObject(kind, id_, model, body, input_, orjson.loads(metadata), session)

        return self._use(get, None)

    def update(self, kind: str, id_: str, metadata: Mapping[str, str]) -> None:
        """Replace the metadata of an object."""
        query, values = "UPDATE kept SET metadata = ? WHERE kind = ? AND id = ?", (orjson.dumps(metadata), kind, id_)
        self._use(lambda connection: connection.execute(query, values), None, writes=True)

    def delete(self, kind: str, id_: str) -> bool:
        """Delete an object; return whether it existed. The deletion is remembered as long as the object would have
        been.
        """
        if not self._exists():
            return False
        forget = "UPDATE OR REPLACE kept SET kind = ?, body = '', input = '', metadata = '{}' WHERE kind = ? AND id = ?"
        values = (_GONE + kind, kind, id_)
        return self._use(lambda connection: connection.execute(forget, values).rowcount > 0, False, writes=True)

    def deleted(self, kind: str, id_: str) -> bool:
        """Return whether an object existed and was deleted."""
        return self.get(_GONE + kind, id_) is not None

    def ids(
        self, kind: str, newest_first: bool, wanted: Callable[[str, Mapping[str, str]], bool], session: str = ""
    ) -> list[str]:
        """Return the ids of a kind, in the order in which they were stored or its reverse.

        ``wanted`` is called with the model and the metadata of each object, and returns whether to include it. With a
        ``session`` only objects of that session are considered.
        """
        if not self._exists():
            return []
        order = "DESC" if newest_first else "ASC"
        query = "SELECT id, model, metadata FROM kept WHERE kind = ? AND ? IN ('', session) ORDER BY number " + order  # noqa: S608

        def ids(connection: sqlite3.Connection) -> list[str]:
            found = connection.execute(query, (kind, session)).fetchall()
            return [id_ for id_, model, metadata in found if wanted(model, orjson.loads(metadata))]

        return self._use(ids, [])

    def _exists(self) -> bool:
        """Return whether any worker has stored anything."""
        return self._connection is not None or (self.directory is not None and (self.directory / _FILE).exists())

    def _use(self, action: Callable[[sqlite3.Connection], T], otherwise: T, writes: bool = False) -> T:
        """Run an action on the file; return ``otherwise`` if it fails.

        ``writes``: the action writes. A locked file can still be read, so only a write shows that it is usable again.
        """
        with self._lock:
            for again in (True, False):
                try:
                    result = action(self._opened())
                except (sqlite3.Error, OSError, ValueError) as error:
                    if self._reopen(error) and again:
                        continue
                    self._note(error)
                    return otherwise
                if writes:
                    self._note(None)
                return result
        return otherwise

    def _note(self, error: Exception | None) -> None:
        """Log that the file cannot be used, or can be used again; once each."""
        if self._failing != (error is not None):
            self._failing = error is not None
            if error is not None:
                _LOG.warning("answers are not stored: %s", error)
            else:
                _LOG.warning("answers are stored again")
            if self._connection is not None:
                patience = 0 if self._failing else int(_PATIENCE * 1000)
                self._connection.execute(f"PRAGMA busy_timeout = {patience}")

    def _reopen(self, error: Exception) -> bool:
        """Close the file if it is at fault, so that it is reopened or recreated; return whether it was closed."""
        code = getattr(error, "sqlite_errorcode", None)
        code = None if code is None else code & 0xFF  # without the bits of an extended code
        if code in _LOCKED:
            return False
        self._close()
        if code in _DAMAGED:
            path = self.place() / _FILE
            with suppress(OSError):
                if self._inode in (0, path.stat().st_ino):  # else another worker has replaced it
                    _LOG.warning("%s is damaged (%s): all stored objects are lost", path, error)
                    for end in ("", "-wal", "-shm"):
                        path.with_name(_FILE + end).unlink(missing_ok=True)
        return True

    def _opened(self) -> sqlite3.Connection:
        """Return the connection to the file; reopen it if the file was removed or replaced."""
        if self._connection is not None:
            try:
                if os.stat(self._path).st_ino == self._inode:  # noqa: PTH116 - the faster of the two
                    return self._connection
            except FileNotFoundError:
                pass
            self._close()
        path = self.place() / _FILE
        self._connection = self._open(path)
        self._path, self._inode = str(path), path.stat().st_ino
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _open(self, path: Path) -> sqlite3.Connection:
        patience = 0 if self._failing else _PATIENCE
        self._inode = path.stat().st_ino if path.exists() else 0
        connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, connection.close)
        try:
            # The file lives as long as the server: nothing has to reach the disk.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA max_page_count = {_PAGES}")
            connection.execute(_TABLE)
        except sqlite3.Error:
            connection.close()
            raise
        return connection
