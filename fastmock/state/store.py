"""Answers that are kept, for all workers of a machine: one bounded SQLite file in the server's run directory."""

import logging
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

_FILE = "stored.sqlite"
_GONE = "deleted "  # before the kind of what was deleted
_PAGES = 65_536  # of 4 KiB: what is kept takes at most 256 MiB
_PATIENCE = 5.0  # seconds to wait for another worker that writes
_TABLE = """
CREATE TABLE IF NOT EXISTS kept (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, model TEXT NOT NULL, metadata BLOB NOT NULL,
    body BLOB NOT NULL, input BLOB NOT NULL, UNIQUE (kind, id)
)
"""

_LOG = logging.getLogger("fastmock")


@dataclass(frozen=True)
class Kept:
    """Something that is kept.

    Attributes:
        kind: what it is, such as ``chat.completion``.
        id: its id.
        model: the model that was asked for.
        metadata: what the client wants to be remembered with it.
        body: the whole answer, JSON.
        input: what was asked, JSON.
    """

    kind: str
    id: str
    model: str
    body: bytes
    input: bytes = b"[]"
    metadata: Mapping[str, str] = field(default_factory=dict)


class Store:
    """Keeps at most ``most`` entries; the oldest give way. Nothing is made before something is kept.

    Attributes:
        directory: where; None before that is known.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.directory: Path | None = None
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def join(self, directory: Path | None) -> None:
        """Keep everything in ``directory``, which is made when it is needed; without one it is a temporary one."""
        self.directory = directory

    def place(self) -> Path:
        """Return the directory, made if it was not there."""
        if self.directory is None:
            self.directory = Path(tempfile.mkdtemp(prefix="fastmock-"))
            weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.directory

    def keep(self, kept: Kept) -> None:
        """Keep an entry, or log why it could not be kept."""
        row = (kept.kind, kept.id, kept.model, orjson.dumps(kept.metadata), kept.body, kept.input)
        insert = "INSERT OR REPLACE INTO kept (kind, id, model, metadata, body, input) VALUES (?, ?, ?, ?, ?, ?)"
        try:
            with self._opened() as connection:
                try:
                    number = connection.execute(insert, row).lastrowid or 0
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                        raise
                    middle = "SELECT (min(number) + max(number)) / 2 FROM kept"  # the older half gives way
                    connection.execute(f"DELETE FROM kept WHERE number <= ({middle})")  # noqa: S608
                    number = connection.execute(insert, row).lastrowid or 0
                connection.execute("DELETE FROM kept WHERE number <= ?", (number - self._most,))
        except (sqlite3.Error, OSError) as error:
            _LOG.warning("%s %s could not be kept: %s", kept.kind, kept.id, error)

    def append(self, kind: str, id_: str, data: bytes) -> None:
        """Append to the body of an entry, which is made where it is not there; or log why it could not be kept."""
        insert = "INSERT INTO kept (kind, id, model, metadata, body, input) VALUES (?, ?, '', '{}', ?, '[]') "
        update = "ON CONFLICT (kind, id) DO UPDATE SET body = CAST(body || excluded.body AS BLOB)"
        try:
            with self._opened() as connection:
                connection.execute(insert + update, (kind, id_, data))
        except (sqlite3.Error, OSError) as error:
            _LOG.warning("%s %s could not be kept: %s", kind, id_, error)

    def get(self, kind: str, id_: str) -> Kept | None:
        """Return an entry; None without one."""
        if not self._exists():
            return None
        query = "SELECT model, body, input, metadata FROM kept WHERE kind = ? AND id = ?"
        with self._opened() as connection:
            found = connection.execute(query, (kind, id_)).fetchone()
        if found is None:
            return None
        model, body, input_, metadata = found
        return Kept(kind, id_, model, body, input_, orjson.loads(metadata))

    def update(self, kind: str, id_: str, metadata: Mapping[str, str]) -> None:
        """Replace the metadata of an entry."""
        with self._opened() as connection:
            connection.execute(
                "UPDATE kept SET metadata = ? WHERE kind = ? AND id = ?", (orjson.dumps(metadata), kind, id_)
            )

    def delete(self, kind: str, id_: str) -> bool:
        """Delete an entry; return whether there was one. That it was there is remembered as long as it would be."""
        if not self._exists():
            return False
        forget = "UPDATE OR REPLACE kept SET kind = ?, body = '', input = '', metadata = '{}' WHERE kind = ? AND id = ?"
        with self._opened() as connection:
            return connection.execute(forget, (_GONE + kind, kind, id_)).rowcount > 0

    def deleted(self, kind: str, id_: str) -> bool:
        """Return whether there was an entry that has been deleted."""
        return self.get(_GONE + kind, id_) is not None

    def ids(self, kind: str, newest_first: bool, wanted: Callable[[str, Mapping[str, str]], bool]) -> Iterator[str]:
        """Yield the ids of a kind, in the order in which they were kept or its reverse.

        ``wanted`` is given the model and the metadata of each, and says whether it is one of them.
        """
        if not self._exists():
            return
        query = (
            f"SELECT id, model, metadata FROM kept WHERE kind = ? ORDER BY number {'DESC' if newest_first else 'ASC'}"  # noqa: S608
        )
        with self._opened() as connection:
            found = connection.execute(query, (kind,)).fetchall()
        yield from (id_ for id_, model, metadata in found if wanted(model, orjson.loads(metadata)))

    def _exists(self) -> bool:
        """Return whether anything was kept, by any worker."""
        return self._connection is not None or (self.directory is not None and (self.directory / _FILE).exists())

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                self._connection = self._open()
            yield self._connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.place() / _FILE, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        weakref.finalize(self, connection.close)
        # It lives as long as the server: nothing has to reach the disk.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA max_page_count = {_PAGES}")
        connection.execute(_TABLE)
        return connection
