"""Absolute due times: a frame that is late makes no later frame late.

Sleeping for each gap would make a stream drift by every late wake-up. Here every frame has a due time counted from the
start of its stream; on waking, all that is due goes out in one write. Under overload a stream still ends nearly on
time, in coarser pieces.
"""

from collections.abc import Iterable, Iterator

Frames = Iterator[tuple[float, bytes]]


def spaced(frames: Iterable[bytes], gap: float) -> Frames:
    """Give each frame its due time: the first at once, each further one ``gap`` seconds later."""
    for index, frame in enumerate(frames):
        yield index * gap, frame


class Pacer:
    """Walks the frames of one stream by the clock.

    Used by each runtime in its own loop: ``take`` what is due, send it, sleep for ``wait``, until ``wait`` is None.
    """

    __slots__ = ("_frames", "_next", "_start")

    def __init__(self, frames: Frames, start: float) -> None:
        """``start`` is the reading of the caller's monotonic clock, in seconds, that the due times count from."""
        self._frames = frames
        self._start = start
        self._next = next(frames, None)

    def take(self, now: float) -> bytes:
        """Return everything due at ``now``, joined; empty when nothing is."""
        elapsed = now - self._start
        due = []
        while self._next is not None and self._next[0] <= elapsed:
            due.append(self._next[1])
            self._next = next(self._frames, None)
        return b"".join(due)

    def wait(self, now: float) -> float | None:
        """Return the seconds from ``now`` to the next frame, never negative; None when there are no more."""
        if self._next is None:
            return None
        return max(0.0, self._start + self._next[0] - now)
