"""The state of the store that several servers share, as all processes of this server see it."""

from fastmock.shared.block import Share
from fastmock.shared.layout import SERVER

UNREACHABLE = SERVER.reserve()
"""Index of a flag: whether the store cannot be reached."""
VERSION = SERVER.reserve()
"""Index of the number of the last change that this server has applied."""
READ_AT, READ_NUMBER = SERVER.reserve(), SERVER.reserve()
"""Indexes of the two parts of the id of the last entry read from the stream of requests."""
EXPORTED = SERVER.reserve()
"""Index of the number of the next recorded request to write to that stream."""
SYNCED = SERVER.reserve()
"""Index of a flag: whether the state of the store was read since the start."""


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

    def turn(self, unreachable: bool) -> bool:
        """Note whether the store cannot be reached; return whether no other process has noted it."""
        with self._share.lock:
            before = bool(self._share.numbers[UNREACHABLE])
            self._share.numbers[UNREACHABLE] = unreachable
            return before != unreachable
