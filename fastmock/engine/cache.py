"""The cache of a worker: what is known of requests and texts that were seen before, within a number of bytes."""

from collections.abc import Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

from fastmock.shared.block import Share
from fastmock.shared.cache_counts import HITS

Value = TypeVar("Value")

LONGEST_BODY, LARGEST_RESPONSE = 65_536, 1 << 20
"""Bytes of a request and its response that may be cached as a whole."""

_MOST_SEEN = 1 << 14  # keys that are remembered to have been seen once, and as many before them


class Entry(Generic[Value]):
    """A cached value.

    Attributes:
        value: the value.
        size: its size, in bytes.
        counts: the cell of ``cache_counts`` in which its use is counted.
        used: whether it was used since it was last considered for removal.
    """

    __slots__ = ("counts", "size", "used", "value")

    def __init__(self, value: Value, size: int, counts: int = HITS) -> None:
        self.value = value
        self.size = size
        self.counts = counts
        self.used = False


class Cache:
    """Tables of entries that share a number of bytes.

    The oldest entry gives way, but one that was used since it was last considered gets another turn. Only what is seen
    twice should be added, so that what never comes again pushes nothing out.

    Attributes:
        max_bytes: maximum size of all entries; 0 for none.
        share: the worker's part of the shared memory block, for counts of hits and misses.
    """

    def __init__(self, max_bytes: int, share: Share) -> None:
        self.max_bytes = max_bytes
        self.share = share
        # The hashes of keys seen once. Two sets, so that a key is remembered while that many others come.
        self._seen: set[int] = set()
        self._seen_earlier: set[int] = set()
        self._tables: list[dict[Any, Entry[Any]]] = []
        self._bytes = 0
        self._lock = Lock()

    def table(self) -> dict[Any, Entry[Any]]:
        """Return a new table."""
        self._tables.append({})
        return self._tables[-1]

    def seen_before(self, key: Hashable) -> bool:
        """Return whether a key was seen before, and remember it."""
        known = hash(key)
        if known in self._seen or known in self._seen_earlier:
            return True
        if len(self._seen) >= _MOST_SEEN:
            self._seen, self._seen_earlier = set(), self._seen
        self._seen.add(known)
        return False

    def add(self, table: dict[Any, Entry[Any]], key: Hashable, entry: Entry[Any]) -> None:
        """Add an entry to a table, and remove others until there is room."""
        with self._lock:
            if key in table or entry.size > self.max_bytes:
                return
            table[key] = entry
            self._bytes += entry.size
            while self._bytes > self.max_bytes:
                fullest = max(self._tables, key=len)
                oldest = next(iter(fullest))
                removed = fullest.pop(oldest)
                if removed.used:
                    removed.used = False
                    fullest[oldest] = removed
                else:
                    self._bytes -= removed.size
