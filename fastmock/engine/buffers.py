"""The memory that the bodies of requests and large answers may take together while they are in flight."""

import threading
import weakref


class Buffers:
    """A budget of bytes for one worker; it may be used from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._owners: weakref.WeakSet[object] = weakref.WeakSet()
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take bytes from the budget; return False, and take none, where there are not so many left."""
        with self._lock:
            if self._taken + size > self._most:
                return False
            self._taken += size
            return True

    def give_back(self, size: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._taken -= size

    def take_for(self, owner: object, size: int) -> bool:
        """Take bytes until an object is gone, once for each object; return whether there were so many left."""
        if owner in self._owners:
            return True
        if not self.take(size):
            return False
        self._owners.add(owner)
        weakref.finalize(owner, self.give_back, size)
        return True
