"""The memory budget of request bodies and large responses in flight."""

import threading
import weakref
from collections.abc import Callable


class Buffers:
    """A budget of bytes for one worker; thread-safe.

    Attributes:
        reclaim: called when too few bytes are left, to release those that are no longer needed; None if nothing is.
    """

    reclaim: Callable[[], None] | None = None

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._owners: weakref.WeakSet[object] = weakref.WeakSet()
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take bytes from the budget; return False, and take none, if too few are left."""
        if self._took(size):
            return True
        if self.reclaim is None:
            return False
        self.reclaim()
        return self._took(size)

    def _took(self, size: int) -> bool:
        with self._lock:
            if self._taken + size > self._most:
                return False
            self._taken += size
            return True

    def release(self, size: int) -> None:
        """Return bytes to the budget."""
        with self._lock:
            self._taken -= size

    def take_for(self, owner: object, size: int) -> bool:
        """Take bytes for the lifetime of an object, once per object; return whether enough were left."""
        if owner in self._owners:
            return True
        if not self.take(size):
            return False
        self._owners.add(owner)
        weakref.finalize(owner, self.release, size)
        return True
