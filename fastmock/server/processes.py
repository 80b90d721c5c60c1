"""Forked processes: they end with their parent, and bear names."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent has ended, whatever Python does then; call it after a fork.

    ``parent`` is the parent's process; where it has ended already this process ends now.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """Name this process, as ``ps`` and ``top`` show it, in up to 15 characters."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())
