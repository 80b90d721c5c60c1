"""Absolute due times: a frame that is late makes no later frame late.

Sleeping for each gap would make a stream drift by every late wake-up. Here every frame has a due time counted from the
start of its answer; on waking, all that is due goes out in one write. Under overload a stream still ends nearly on
time, in coarser pieces.
"""

from collections.abc import Callable, Iterator

Frames = Iterator[tuple[float, bytes]]
"""Seconds after the start of the answer, never falling, and what goes out then; drawn one step ahead."""


class Pacer:
    """Walks the frames of one answer by the clock: ``take`` what is due, send it, and come again at ``due``.

    Attributes:
        due: when the next frame is to be sent, in seconds of the caller's monotonic clock; None when there are no more.
    """

    __slots__ = ("_frames", "_late", "_next", "_start", "due")

    def __init__(self, frames: Frames, start: float, late: Callable[[float, float], None]) -> None:
        """Begin to walk.

        Args:
            frames: the frames.
            start: the reading of the clock that their due times count from.
            late: told of each frame when it was due and when it was taken.
        """
        self._frames = frames
        self._start = start
        self._late = late
        self.due: float | None = None
        self._draw()

    def _draw(self) -> None:
        drawn = next(self._frames, None)
        if drawn is None:
            self.due = None
        else:
            self.due = self._start + drawn[0]
            self._next = drawn[1]

    def take(self, now: float) -> bytes:
        """Return everything due at ``now``, joined; empty when nothing is."""
        data = b""
        while (due := self.due) is not None and due <= now:
            self._late(due, now)
            data = data + self._next if data else self._next
            self._draw()
        return data
