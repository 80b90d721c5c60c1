"""How often each rule was used, over all workers. Each worker adds to its own row, without a lock."""

from collections.abc import Mapping

from fastmock.shared.block import Share
from fastmock.shared.layout import ROW, SERVER

_MOST = 1 << 14  # rules
_TRIES = 16  # places at which the count of a key may be
_KEYS = SERVER.reserve(_MOST)
_HITS = ROW.reserve(_MOST)
_OTHERS = SERVER.reserve(_MOST) - _KEYS  # the distance from the place of a key to the count of other servers
TO_HITS = _HITS - _KEYS
"""The distance from the place of a key, with the index of a worker's row added, to that worker's count of it."""


class RuleHits:
    """The counts of all rules. A rule is identified by a key: a number above 0 and below 2**64.

    Attributes:
        share: the worker's part of the shared block.
    """

    def __init__(self, share: Share) -> None:
        self.share = share
        share.on_reset(self._forget_all)

    def place(self, key: int) -> int:
        """Return the index of a key, which gets a place if it has none. If all are taken, another key loses its own."""
        with self.share.lock:
            place = self._find(key)
            if place is None:
                numbers, places = self.share.numbers, _places(key)
                place = next((one for one in places if not numbers[one]), places[0])
                self._clear(place, key)
            return place

    def counted(self, key: int) -> int:
        """Return how often a rule was used, also by other servers on the same store."""
        place = self._find(key)
        return 0 if place is None else sum(self.share.numbers[cell] for cell in self._cells(place))

    def own(self) -> dict[int, int]:
        """Return how often this server has used the rules, by key."""
        numbers, rows = self.share.numbers, self.share.rows()
        counts = ((key, sum(numbers[row + place + TO_HITS] for row in rows)) for place, key in self._taken())
        return {key: count for key, count in counts if count}

    def note_others(self, others: Mapping[int, int]) -> None:
        """Note how often other servers have used the rules, by key."""
        numbers = self.share.numbers
        with self.share.lock:
            for key in others:
                free = next((place for place in _places(key) if not numbers[place]), None)
                if self._find(key) is None and free is not None:  # a rule that only others have used
                    self._clear(free, key)
            for place, key in self._taken():
                numbers[place + _OTHERS] = others.get(key, 0)

    def forget(self, key: int) -> None:
        """Reset the count of a rule, and give its place up."""
        with self.share.lock:
            if (place := self._find(key)) is not None:
                self._clear(place, 0)

    def _taken(self) -> list[tuple[int, int]]:
        """Return the places that are taken, and their keys."""
        keys = self.share.numbers[_KEYS : _KEYS + _MOST].tolist()  # 0.4 ms in all; reading each by itself takes 1.5
        return [(place, key) for place, key in enumerate(keys, _KEYS) if key]

    def _find(self, key: int) -> int | None:
        """Return the index of a key; None if it has no place."""
        numbers = self.share.numbers
        return next((place for place in _places(key) if numbers[place] == key), None)

    def _clear(self, place: int, key: int) -> None:
        """Give a place to a key, with its count at 0; with the lock held."""
        for cell in self._cells(place):
            self.share.numbers[cell] = 0
        self.share.numbers[place] = key

    def _cells(self, place: int) -> list[int]:
        """Return the indexes of the counts at a place: one for each worker, and that of other servers."""
        return [*(row + place + TO_HITS for row in self.share.rows()), place + _OTHERS]

    def _forget_all(self) -> None:
        """Reset all counts; with the lock held."""
        for place, _ in self._taken():
            self._clear(place, 0)


def _places(key: int) -> list[int]:
    """Return the indexes at which a key may be."""
    return [_KEYS + (key + step) % _MOST for step in range(_TRIES)]
