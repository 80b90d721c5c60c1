"""The state of the store that several servers share, as all processes of this server see it."""

import time

from fastmock.shared.block import Share
from fastmock.shared.layout import SERVER

UNREACHABLE = SERVER.reserve()
"""Index of a flag: whether the store cannot be reached."""
_LOGGED, _BACK_AT = SERVER.reserve(), SERVER.reserve()  # whether the last loss was logged, and when the last one ended
EPOCH, VERSION = SERVER.reserve(), SERVER.reserve()
"""Indexes of the epoch of the log, and of the number of the last change that this server has applied."""
READ_AT, READ_NUMBER = SERVER.reserve(), SERVER.reserve()
"""Indexes of the two parts of the id of the last entry read from the stream of requests."""
EXPORTED, EXPORTS = SERVER.reserve(), SERVER.reserve()
"""Index of the number of the next recorded request to write to that stream, and of the number of those written."""
SYNCED = SERVER.reserve()
"""Index of a flag: whether the state of the store was read since the start."""
_QUIET = 500_000_000  # nanoseconds


class StoreState:
    """The state, as seen by one process."""

    def __init__(self, share: Share) -> None:
        """``share`` is its part of the shared block."""
        self._share = share

    @property
    def is_reachable(self) -> bool:
        """Whether the store can be reached, and was read since the start."""
        return self.is_synced and not self._share.numbers[UNREACHABLE]

    @property
    def is_synced(self) -> bool:
        """Whether the state of the store was read since the start."""
        return bool(self._share.numbers[SYNCED])

    def shown(self) -> str:
        """Return the state for people: ``reachable``, or ``unreachable``: then this server goes on alone."""
        return "reachable" if self.is_reachable else "unreachable"

    def start(self, epoch: int, version: int, is_synced: bool) -> None:
        """Note with which change the server starts, and whether it was read; if not, that was logged."""
        numbers = self._share.numbers
        numbers[EPOCH], numbers[VERSION] = epoch, version
        numbers[SYNCED], numbers[UNREACHABLE], numbers[_LOGGED] = is_synced, not is_synced, not is_synced

    def turn(self, unreachable: bool) -> bool:
        """Note whether the store cannot be reached; return whether to log it.

        That is so if no other process has noted it; and for a loss, if it could be reached for half a second before.
        """
        numbers, now = self._share.numbers, time.monotonic_ns()
        with self._share.lock:
            if bool(numbers[UNREACHABLE]) == unreachable:
                return False
            numbers[UNREACHABLE] = unreachable
            if unreachable:
                numbers[_LOGGED] = now - numbers[_BACK_AT] > _QUIET
            else:
                numbers[_BACK_AT] = now
            return bool(numbers[_LOGGED])
