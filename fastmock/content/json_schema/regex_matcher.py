"""Match regular expressions with lookarounds, which RE2 lacks, without backtracking.

For each part of a pattern and each position, the set of positions where a match may end is computed once. The work is
polynomial in the lengths of pattern and text, and limited by a budget.
"""

import re
from collections.abc import Callable, Iterable
from re import _constants as sre  # type: ignore[attr-defined]  # not public; tests of patterns check the parts used
from typing import Any

from fastmock.content.json_schema.budget import Budget

_READ_FLAGS = re.IGNORECASE | re.DOTALL | re.UNICODE | re.VERBOSE


class UnsupportedPatternError(Exception):
    """A pattern has a construct that cannot be matched without backtracking."""


class Scan:
    """Matches parsed patterns against one text."""

    def __init__(self, text: str, flags: int, budget: Budget) -> None:
        """Take the text, and the flags of ``re`` for the whole pattern."""
        if flags & ~_READ_FLAGS:
            raise UnsupportedPatternError("flags")
        self._ignore_case = bool(flags & re.IGNORECASE)
        self._dot_all = bool(flags & re.DOTALL)
        self._text = text
        self._budget = budget
        self._ends: dict[tuple[int, int], frozenset[int]] = {}

    def search(self, parsed: Iterable[Any]) -> bool:
        """Return whether a match starts at any position."""
        return any(self.starts(parsed, position) for position in range(len(self._text) + 1))

    def starts(self, parsed: Iterable[Any], position: int) -> bool:
        """Return whether a match starts at a position."""
        return bool(self._sequence(parsed, {position}))

    def asserts(self, kind: Any, value: Any, position: int) -> bool:
        """Return whether an anchor or a lookaround holds at a position."""
        if kind is sre.AT:
            return self._anchored(value, position)
        direction, parsed = value
        if direction > 0:
            found = self.starts(parsed, position)
        else:
            found = any(position in self._sequence(parsed, {start}) for start in range(position + 1))
        return found == (kind is sre.ASSERT)

    def _anchored(self, anchor: Any, position: int) -> bool:
        if anchor in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
            return position == 0
        if anchor in (sre.AT_END, sre.AT_END_STRING):
            return position == len(self._text)
        before, after = self._text[max(0, position - 1) : position], self._text[position : position + 1]
        at_boundary = _is_word(before) != _is_word(after)
        return at_boundary == (anchor is sre.AT_BOUNDARY)

    def _sequence(self, parsed: Iterable[Any], positions: Iterable[int]) -> set[int]:
        ends = set(positions)
        for item in parsed:
            if not ends:
                break
            self._budget.spend(len(ends))
            ends = {end for start in ends for end in self._item(item, start)}
        return ends

    def _item(self, item: tuple[Any, Any], start: int) -> frozenset[int]:
        key = (id(item), start)
        ends = self._ends.get(key)
        if ends is None:
            self._budget.spend(2)
            kind, value = item
            ends = self._ends[key] = frozenset(self._ends_of(kind, value, start))
            self._budget.spend(len(ends))
        return ends

    def _ends_of(self, kind: Any, value: Any, start: int) -> Iterable[int]:
        if kind in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            return (start,) if self.asserts(kind, value, start) else ()
        if kind is sre.BRANCH:
            return {end for branch in value[1] for end in self._sequence(branch, {start})}
        if kind is sre.SUBPATTERN:
            if value[1] or value[2]:
                raise UnsupportedPatternError("flags of a group")
            return self._sequence(value[3], {start})
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            least, most, inner = value
            return self._repeated(least, most, inner, start)
        if kind not in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
            raise UnsupportedPatternError(str(kind).lower())
        return (start + 1,) if start < len(self._text) and self._takes(kind, value, self._text[start]) else ()

    def _repeated(self, least: int, most: int, parsed: Any, start: int) -> set[int]:
        frontier = {start}
        for _ in range(least):
            self._budget.spend(1 + len(frontier))
            following = self._sequence(parsed, frontier)
            if following == frontier:  # empty, or a fixed point
                break
            frontier = following
        ends = set(frontier)
        for _ in range(most - least):
            self._budget.spend(1 + len(frontier))
            frontier = self._sequence(parsed, frontier) - ends
            if not frontier:
                break
            ends |= frontier
        return ends

    def _takes(self, kind: Any, value: Any, char: str) -> bool:
        if kind is sre.ANY:
            return self._dot_all or char != "\n"
        if kind is sre.IN:
            self._budget.spend(len(value))
        chars = {char, char.lower(), char.upper()} if self._ignore_case else {char}
        if kind is sre.NOT_LITERAL:
            return all(ord(one) != value for one in chars if len(one) == 1)
        parts = [(kind, value)] if kind is sre.LITERAL else value
        negated = parts[0][0] is sre.NEGATE
        found = any(in_set(part, inner, one) for part, inner in parts[negated:] for one in chars if len(one) == 1)
        return found != negated


def in_set(kind: Any, value: Any, char: str) -> bool:
    """Return whether a part of a character class contains a character."""
    if kind is sre.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    if kind is sre.CATEGORY:
        return bool(_CATEGORIES[value](char))
    return bool(ord(char) == value)


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _is_digit(char: str) -> bool:
    return char.isascii() and char.isdigit()


_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    sre.CATEGORY_DIGIT: _is_digit,
    sre.CATEGORY_NOT_DIGIT: lambda char: not _is_digit(char),
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    sre.CATEGORY_WORD: _is_word,
    sre.CATEGORY_NOT_WORD: lambda char: not _is_word(char),
}  # ASCII, as in RE2 and in browsers
