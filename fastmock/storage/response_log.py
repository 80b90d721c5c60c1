"""Stored responses, for all workers of a machine: one file per worker in the run directory.

A response is stored unless its request opts out, so storing has to be cheap: 5 µs, compared with 65 µs for an SQLite
row. A worker writes only to its own file, and the name of a response tells its file and its place in it.
"""

import logging
import mmap
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fastmock.storage.sqlite import Store

_SLOTS = 65_536  # slots of the index at the start of a file: the places of the latest responses
_SLOT = struct.Struct("=Q")
_HEADER = struct.Struct("=c32sIII")  # mark, name, lengths of the response and of the request, checksum of both
_BEGIN = _SLOTS * _SLOT.size
_SIZE = 16 * 1024 * 1024  # bytes of responses kept per worker; the oldest are overwritten

_LOG = logging.getLogger("fastmock")


class Entry(NamedTuple):
    """A stored response: a one-byte mark, the response, and its request."""

    mark: bytes
    answer: bytes
    request: bytes


class ResponseLog:
    """Stores responses by name; the names are those that ``core.ids.unique`` gave to their requests."""

    def __init__(self, store: Store) -> None:
        """``store`` provides the directory."""
        self._store = store
        self._file: _File | None = None
        self._process = ""
        self._full = self._noted = False

    def keep(self, name: str, mark: bytes, answer: bytes, request: bytes) -> None:
        """Store a response; if that fails, as on a read-only disk, log it once and store no more."""
        if self._full:
            return
        try:
            if self._file is None or self._process != name[:16]:  # the process changes after a fork
                path = self._store.place() / _file_name(name)
                self._file = _own.setdefault(path, _own.get(path) or _File(path))
                self._process = name[:16]
            self._file.append(name, mark, answer, request)
        except OSError as error:
            self._full = True
            _LOG.warning("responses are not stored: %s", error)

    def get(self, name: str) -> Entry | None:
        """Return an entry; None if there is none, or it was overwritten."""
        try:
            with self._opened(name, os.O_RDONLY) as descriptor:
                found = None if descriptor is None else _find(descriptor, name)
                return found and found[1]
        except OSError as error:
            self._note(error)
            return None

    def mark(self, name: str, mark: bytes) -> None:
        """Replace the mark of an entry."""
        try:
            with self._opened(name, os.O_RDWR) as descriptor:
                if descriptor is not None and (found := _find(descriptor, name)):
                    os.pwrite(descriptor, mark, found[0])
        except OSError as error:
            self._note(error)

    @contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int | None]:
        """Open the file that could hold an entry; yield None if there is none."""
        directory = self._store.directory
        try:
            descriptor = os.open(directory / _file_name(name), flags) if directory else None
        except (FileNotFoundError, NotADirectoryError):
            descriptor = None
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _note(self, error: OSError) -> None:
        """Log, once, that stored responses cannot be read or changed."""
        if not self._noted:
            self._noted = True
            _LOG.warning("stored responses cannot be used: %s", error)


def _file_name(name: str) -> str:
    return f"answers-{name[:16]}"


def _slot(name: str) -> int:
    """Return the offset of an entry's slot in the index: names end with a number that grows by one per request."""
    return int(name[16:], 16) % _SLOTS * _SLOT.size


def _find(descriptor: int, name: str) -> tuple[int, Entry] | None:
    """Return the offset of an entry, and the entry."""
    slot = os.pread(descriptor, _SLOT.size, _slot(name))
    if len(slot) < _SLOT.size or not (place := _SLOT.unpack(slot)[0]):
        return None
    header = os.pread(descriptor, _HEADER.size, place)
    if len(header) < _HEADER.size:
        return None
    mark, held, answer, request, checksum = _HEADER.unpack(header)
    if held != name.encode() or answer + request > _SIZE:
        return None
    data = os.pread(descriptor, answer + request, place + _HEADER.size)
    if zlib.crc32(data) != checksum:  # it is being overwritten
        return None
    return place, Entry(mark, data[:answer], data[answer:])


class _File:
    """The file of this worker."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        weakref.finalize(self, os.close, self._descriptor)
        size = _BEGIN + _SIZE
        if hasattr(os, "posix_fallocate"):  # to detect a full disk here: a write to a mapped page would be fatal
            os.posix_fallocate(self._descriptor, 0, size)
        else:
            os.ftruncate(self._descriptor, size)
        self._map = mmap.mmap(self._descriptor, size)  # saves two system calls: 4 µs of 11
        self._place = _BEGIN
        self._lock = threading.Lock()

    def append(self, name: str, mark: bytes, answer: bytes, request: bytes) -> None:
        header = _HEADER.pack(mark, name.encode(), len(answer), len(request), zlib.crc32(request, zlib.crc32(answer)))
        data = b"%b%b%b" % (header, answer, request)
        with self._lock:
            if self._place + len(data) > _BEGIN + _SIZE:
                self._place = _BEGIN
                if len(data) > _SIZE:
                    return
            place = self._place
            self._place += len(data)
        self._map[place : place + len(data)] = data
        _SLOT.pack_into(self._map, _slot(name), place)


# A new configuration continues with the same file.
_own: dict[Path, _File] = {}
