"""Forked processes: end them with their parent, and name them."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, whatever Python is doing; call it after a fork.

    ``parent`` is the parent's process id; if it has ended already, this process ends now.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """Name this process, for ``ps`` and ``top``, in up to 15 characters."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())
