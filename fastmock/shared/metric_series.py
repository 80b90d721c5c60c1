"""Metric series in the shared block: each worker adds to its own row, without a lock.

A series is identified by its labels. The first worker that uses a label set assigns it a place, which is the same in
every row. The number of places is fixed; label sets that come later get none.
"""

from collections.abc import Iterator

from fastmock.shared.block import Share
from fastmock.shared.layout import ROW, SERVER

BOUNDS = tuple(
    int(seconds * 1e9)
    for seconds in (
        *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75),
        *(1, 1.5, 2.5, 5, 7.5, 10, 20, 40, 80, 160),
    )
)
"""The upper bounds of the histograms, in nanoseconds."""
LABELS_SIZE, MOST_COUNTS, MOST_TIMES = 32, 1024, 256
COUNTS_WIDTH, TIMES_WIDTH = 3, 3 * (1 + len(BOUNDS) + 1)
_COUNT_LABELS = SERVER.reserve(1 + MOST_COUNTS * LABELS_SIZE)
_TIME_LABELS = SERVER.reserve(1 + MOST_TIMES * LABELS_SIZE)
STREAMS = ROW.reserve(gauge=True)
"""Offset in a row of the number of open streams."""
_COUNTS = ROW.reserve(MOST_COUNTS * COUNTS_WIDTH)
_TIMES = ROW.reserve(MOST_TIMES * TIMES_WIDTH)

Labels = tuple[str, ...]
_SEPARATOR = "\x1f"
_LONGEST = (LABELS_SIZE - 1) * 8  # bytes of all labels together


class Series:
    """Numbers by labels: a fixed number of counters per label set, side by side in every worker's row, starting at 0
    and only rising.
    """

    def __init__(self, share: Share, labels: int, first: int, most: int, width: int) -> None:
        """Begin; the parameters after ``share`` are the indexes of the labels and the numbers, the maximum number of
        label sets, and the numbers per set.
        """
        self._share = share
        self._labels = labels
        self._first = first
        self._most = most
        self._width = width
        self._known: dict[Labels, int] = {}
        share.on_join(self._known.clear)

    def place(self, labels: Labels) -> int | None:
        """Return the index of this worker's numbers for a label set; None if there is no place left."""
        number = self._known.get(labels)
        if number is None:
            with self._share.lock:
                self._read()
                number = self._known.get(labels)
                if number is None:
                    number = self._write(labels)
        return None if number is None else self._share.row + self._first + number * self._width

    def labels(self) -> list[Labels]:
        """Return the label sets in use by any worker."""
        with self._share.lock:
            self._read()
            return list(self._known)

    def sums(self) -> Iterator[tuple[Labels, list[int]]]:
        """Yield the label sets in use, each with the sums over all workers."""
        numbers, rows = self._share.numbers, self._share.rows()
        for labels in self.labels():
            first = self._first + self._known[labels] * self._width
            yield labels, [sum(numbers[row + first + at] for row in rows) for at in range(self._width)]

    def _read(self) -> None:
        """Read the label sets added by other workers; with the lock held."""
        raw = self._share.numbers.cast("B")
        for number in range(len(self._known), self._share.numbers[self._labels]):
            at = (self._labels + 1 + number * LABELS_SIZE) * 8
            size = int.from_bytes(raw[at : at + 8], "little")
            self._known[tuple(bytes(raw[at + 8 : at + 8 + size]).decode().split(_SEPARATOR))] = number

    def _write(self, labels: Labels) -> int | None:
        """Assign a place to a label set; with the lock held."""
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
    """All metric series, as seen by one worker.

    Attributes:
        counts: requests, with their input and output tokens; also plain counters.
        times: three histograms, each the total in nanoseconds, then the numbers up to each of ``BOUNDS`` and
            above the last.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        self.counts = Series(share, _COUNT_LABELS, _COUNTS, MOST_COUNTS, COUNTS_WIDTH)
        self.times = Series(share, _TIME_LABELS, _TIMES, MOST_TIMES, TIMES_WIDTH)
