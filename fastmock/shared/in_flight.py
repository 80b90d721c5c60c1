"""The number of delayed answers that are being sent, over all workers."""

from fastmock.shared.block import Share
from fastmock.shared.layout import ROW

_IN_FLIGHT = ROW.reserve(gauge=True)


class InFlight:
    """The number, as seen by one worker."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def enter(self) -> None:
        """Add one answer."""
        self._share.numbers[self._share.row + _IN_FLIGHT] += 1

    def leave(self) -> None:
        """Remove one."""
        self._share.numbers[self._share.row + _IN_FLIGHT] -= 1

    def count(self) -> int:
        """Return the number over all workers."""
        numbers = self._share.numbers
        return sum(numbers[row + _IN_FLIGHT] for row in self._share.rows())
