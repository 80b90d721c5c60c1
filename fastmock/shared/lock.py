"""A lock shared by the processes of a server and their threads, to be held for microseconds.

It is a robust mutex of the C library in shared memory: when its holder dies, the next process gets it. Acquiring and
releasing it takes 1 µs and no system call; a file lock of the kernel would take 2.4 µs and two.
"""

import ctypes
import errno
import mmap
import os
import threading
from types import TracebackType

_SIZE = 64  # bytes for a mutex, or its attributes; both are smaller with any C library
_SHARED = _ROBUST = 1

# The GIL stays held during the calls: any other holder of the mutex is another process, and does not need it.
_library = ctypes.PyDLL(None)
_lock, _unlock = _library.pthread_mutex_lock, _library.pthread_mutex_unlock
_lock.argtypes = _unlock.argtypes = [ctypes.c_void_p]


class SharedLock:
    """One lock, for the process that creates it and all processes forked from it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._mutex = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(self._memory)))
        self._here = threading.Lock()  # so that no thread of this process waits for another while it holds the GIL
        attributes = ctypes.create_string_buffer(_SIZE)
        for failed in (
            _library.pthread_mutexattr_init(attributes),
            _library.pthread_mutexattr_setpshared(attributes, _SHARED),
            _library.pthread_mutexattr_setrobust(attributes, _ROBUST),
            _library.pthread_mutex_init(self._mutex, attributes),
        ):
            if failed:
                raise OSError(failed, os.strerror(failed))

    def __enter__(self) -> None:
        self._here.acquire()
        self._take()

    def take(self) -> bool:
        """Acquire the lock unless a thread of this process holds it; return whether it was acquired."""
        if not self._here.acquire(blocking=False):
            return False
        self._take()
        return True

    def _take(self) -> None:
        failed = _lock(self._mutex)
        if failed == errno.EOWNERDEAD:  # the holder died: at worst one number is not yet changed
            failed = _library.pthread_mutex_consistent(self._mutex)
        if failed:
            self._here.release()
            raise OSError(failed, os.strerror(failed))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock."""
        _unlock(self._mutex)
        self._here.release()
