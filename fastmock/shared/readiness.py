"""Readiness: whether load balancers should send requests to the server."""

import time
from collections.abc import Sequence

from fastmock.shared.block import Share
from fastmock.shared.layout import SERVER

STARTED = SERVER.reserve()
"""Index of the time at which the server started: nanoseconds of the monotonic clock; only the parent writes it."""
STOPPING = SERVER.reserve()
"""Index of a flag: whether the server is about to stop; likewise."""


class Readiness:
    """The readiness of the server, the same for all workers."""

    def __init__(self, share: Share, delay: float, ready: bool | None, script: Sequence[tuple[float, bool]]) -> None:
        """Take the settings.

        Args:
            share: the worker's part of the shared block.
            delay: seconds after the start until the server is ready.
            ready: whether it is ready, in place of the delay and the script; None to follow these.
            script: seconds after the start, ascending, at which it becomes ready or not.
        """
        self._share = share
        self._delay, self._ready, self._script = delay, ready, script

    def obstacle(self) -> str:
        """Return the reason why the server is not ready; empty if it is."""
        numbers = self._share.numbers
        if numbers[STOPPING]:
            return "stopping"
        if self._ready is not None:
            return "" if self._ready else "set to not ready"
        elapsed = (time.monotonic_ns() - numbers[STARTED]) / 1e9
        ready = elapsed >= self._delay
        for at, becomes in self._script:
            if elapsed < at:
                break
            ready = becomes
        return "" if ready else "starting" if elapsed < self._delay else "not ready by script"
