"""What is counted for the metrics: in the shared block, where each worker adds to its own row and nothing is locked.

What is counted is known by its labels. The first worker that meets some gives them a place, which is the same in every
row. There are so many places; labels that come later get none.
"""

from collections.abc import Iterator

from fastmock.shared.block import (
    COUNTS,
    COUNTS_WIDTH,
    LABELS,
    LABELS_SIZE,
    MOST_COUNTS,
    MOST_TIMES,
    TIMES,
    TIMES_WIDTH,
    Share,
)

Labels = tuple[str, ...]
_SEPARATOR = "\x1f"
_LONGEST = (LABELS_SIZE - 1) * 8  # bytes of all labels together


class Series:
    """Numbers by labels: for each so many, side by side in every worker's row, from 0 on and only rising."""

    def __init__(self, share: Share, labels: int, first: int, most: int, width: int) -> None:
        """Begin; what follows ``share`` is where labels and numbers are, and how many there may be."""
        self._share = share
        self._labels = labels
        self._first = first
        self._most = most
        self._width = width
        self._known: dict[Labels, int] = {}
        share.on_join(self._known.clear)

    def place(self, labels: Labels) -> int | None:
        """Return where this worker counts what has some labels; None where there is no place left."""
        number = self._known.get(labels)
        if number is None:
            with self._share.lock:
                self._read()
                number = self._known.get(labels)
                if number is None:
                    number = self._write(labels)
        return None if number is None else self._share.row + self._first + number * self._width

    def labels(self) -> list[Labels]:
        """Return the labels that have been met, by any worker."""
        with self._share.lock:
            self._read()
            return list(self._known)

    def sums(self) -> Iterator[tuple[Labels, list[int]]]:
        """Yield the labels that have been met, and what all workers have counted together."""
        numbers, rows = self._share.numbers, self._share.rows()
        for labels in self.labels():
            first = self._first + self._known[labels] * self._width
            yield labels, [sum(numbers[row + first + at] for row in rows) for at in range(self._width)]

    def _read(self) -> None:
        """Take note of what other workers have met; with the lock held."""
        raw = self._share.numbers.cast("B")
        for number in range(len(self._known), self._share.numbers[self._labels]):
            at = (self._labels + 1 + number * LABELS_SIZE) * 8
            size = int.from_bytes(raw[at : at + 8], "little")
            self._known[tuple(bytes(raw[at + 8 : at + 8 + size]).decode().split(_SEPARATOR))] = number

    def _write(self, labels: Labels) -> int | None:
        """Give labels a place; with the lock held."""
        number = len(self._known)
        text = _SEPARATOR.join(labels).encode()
        if number >= self._most or len(text) > _LONGEST:
            return None
        raw = self._share.numbers.cast("B")
        at = (self._labels + 1 + number * LABELS_SIZE) * 8
        raw[at : at + 8] = len(text).to_bytes(8, "little")
        raw[at + 8 : at + 8 + len(text)] = text
        self._share.numbers[self._labels] = number + 1
        self._known[labels] = number
        return number


class Meters:
    """All that is counted, as one worker sees it.

    Attributes:
        counts: requests, their tokens in and their tokens out; also anything else that is only counted.
        times: three histograms, each the nanoseconds in all, then how many were up to each of ``block.BOUNDS`` and
            above the last.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self.counts = Series(share, LABELS, COUNTS, MOST_COUNTS, COUNTS_WIDTH)
        self.times = Series(share, LABELS + 1 + MOST_COUNTS * LABELS_SIZE, TIMES, MOST_TIMES, TIMES_WIDTH)
