"""The compiled index: find the winning rule in one pass over the request, regardless of the number of rules."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, NamedTuple, Self

import regex

from fastmock.core.completion import NO_RULE, ChatRequest
from fastmock.rules.match import CONDITIONS, Match
from fastmock.rules.matchers import MODEL, SYSTEM_PROMPT, USER_MESSAGE
from fastmock.rules.regex import BACKTRACKING_SECONDS, readable, search_in_time

DEFAULT = NO_RULE
"""The result of ``pick`` if no rule matches."""

_LOG = logging.getLogger("fastmock")

_MOST_ADDED = 64  # rules in the second layer of an index; above that, all are compiled into one
_MOST_KEYS = 1024
_LONGEST_KEY = 4096  # characters


class _Compound(NamedTuple):
    """A match with nested matches; ``bit`` stands for its own conditions."""

    bit: int
    any: "tuple[_Compound, ...]"
    all: "tuple[_Compound, ...]"
    excluded: "_Compound | None"


class Index:
    """Picks the first rule whose conditions all hold.

    Each kind of condition is evaluated once and returns a set of rules, an int with a bit for each; the bits of their
    intersection are in the order of trial, so the lowest bit wins. Nested matches (``any``, ``all``, ``not``) have bits
    of their own, after those of the rules, and are combined last.

    Results for the model and the system prompt, which repeat from request to request, are cached; the message is
    matched each time.

    Attributes:
        rules: the rules in the order in which they are tried.
    """

    def __init__(self, rules: Sequence[Match], names: Sequence[str] = ()) -> None:
        """Compile ``rules``, given in the order of trial; ``names`` are for warnings.

        Raises:
            PatternError: a ``content_regex`` is invalid; check with ``readable`` before.
        """
        self.rules = rules
        self._rules = (1 << len(rules)) - 1
        self._compounds: dict[int, _Compound] = {}
        matches = list(rules)
        self._owners = list(range(len(rules)))  # the rule that each match belongs to
        for number, rule in enumerate(rules):
            if rule.any_ or rule.all_ or rule.not_:
                self._compounds[1 << number] = _compound(rule, 1 << number, matches)
                self._owners += [number] * (len(matches) - len(self._owners))
        self._all = (1 << len(matches)) - 1
        self._late: dict[int, regex.Pattern[str]] = {}
        self._names = names
        self._warned: set[str] = set()
        self._by_setting: list[tuple[Callable[[ChatRequest], Any], Callable[[Any], int]]] = []
        self._by_message: list[Callable[[str], int]] = []
        self._by_rest: list[tuple[Callable[[ChatRequest], Any], Callable[[Any], int]]] = []
        self._known: dict[tuple[str, str], int] = {}
        by_kind: dict[str, dict[int, Any]] = {name: {} for name in CONDITIONS}
        for number, rule in enumerate(matches):
            for name in rule.model_fields_set:
                if name in by_kind and (wanted := getattr(rule, name)) is not None:
                    by_kind[name][number] = wanted
        for name, condition in CONDITIONS.items():
            conditions = by_kind[name]
            if name == "content_regex":
                conditions = self._set_apart(conditions)
            if conditions:
                find = condition.matcher(conditions, len(matches)).find
                if condition.value is USER_MESSAGE:
                    self._by_message.append(find)
                else:
                    repeats = condition.value in (MODEL, SYSTEM_PROMPT)
                    (self._by_setting if repeats else self._by_rest).append((condition.value, find))
        self._plain = not self._late and not self._compounds

    def without(self, removed: int) -> Self:
        """Return a copy in which a set of rules never wins; nothing is recompiled."""
        rest = copy(self)
        rest._all = (1 << len(self._owners)) - 1 & ~removed
        rest._rules = (1 << len(self.rules)) - 1 & ~removed
        rest._known = {}
        return rest

    def _set_apart(self, conditions: dict[int, str]) -> dict[int, str]:
        """Return the patterns that RE2 supports; the others are searched only if their rule would win."""
        linear = {}
        for number, pattern in conditions.items():
            _, slow = readable(pattern)
            if slow:
                self._late[1 << number] = slow
            else:
                linear[number] = pattern
        return linear

    def pick(self, chat: ChatRequest) -> int:
        """Return the number of the winning rule, or DEFAULT."""
        left = self._known.get((chat.model, chat.system_prompt))
        if left is None:
            left = self._look(chat)
        if left:
            for find in self._by_message:
                left &= find(chat.user_message)
            for value, find in self._by_rest:
                left &= find(value(chat))
        if self._plain:
            return (left & -left).bit_length() - 1  # the lowest bit; DEFAULT if there is none
        candidates = left & self._rules
        while candidates:
            first = candidates & -candidates
            if self._holds(first, left, chat):
                return first.bit_length() - 1
            candidates ^= first
        return DEFAULT

    def failures(self, chat: ChatRequest) -> Iterator[int]:
        """Yield for each kind of condition the set of rules that fail it."""
        left = self._all
        for value, find in self._by_setting + self._by_rest:
            left &= (found := find(value(chat)))
            yield self._rules & ~found
        for find in self._by_message:
            left &= (found := find(chat.user_message))
            yield self._rules & ~found
        failing = 0
        for bit in {*self._late, *self._compounds} if not self._plain else ():
            # Its own conditions are checked above; this is only for the parts combined last.
            if bit & self._rules and not self._holds(bit, left | bit, chat):
                failing |= bit
        yield failing

    def _holds(self, bit: int, left: int, chat: ChatRequest) -> bool:
        """Return whether a rule holds once its nested matches and slow patterns are checked."""
        compound = self._compounds.get(bit)
        return self._found(bit, chat) if compound is None else self._together(compound, left, chat)

    def _found(self, bit: int, chat: ChatRequest) -> bool:
        slow = self._late.get(bit)
        if slow is None:
            return True
        now = time.monotonic()
        chat.regex_deadline = chat.regex_deadline or now + BACKTRACKING_SECONDS
        try:
            return search_in_time(slow, chat.user_message, chat.regex_deadline - now)
        except TimeoutError:
            self._warn(bit, slow.pattern)
            return False

    def _warn(self, bit: int, pattern: str) -> None:
        """Warn once that a pattern takes too long."""
        if pattern not in self._warned:
            self._warned.add(pattern)
            number = self._owners[bit.bit_length() - 1]
            name = self._names[number] if number < len(self._names) else f"number {number}"
            _LOG.warning(
                "the rule %s does not match if its 'content_regex' takes longer than %.0f ms: it backtracks because "
                "RE2 does not support it",
                *(name, BACKTRACKING_SECONDS * 1000),
            )

    def _together(self, match: _Compound, left: int, chat: ChatRequest) -> bool:
        """Return whether a match holds together with its nested matches."""
        return bool(
            left & match.bit
            and self._found(match.bit, chat)
            and (not match.any or any(self._together(one, left, chat) for one in match.any))
            and all(self._together(one, left, chat) for one in match.all)
            and (match.excluded is None or not self._together(match.excluded, left, chat))
        )

    def _look(self, chat: ChatRequest) -> int:
        """Return the rules that match the model and the system prompt, and cache them, within bounds."""
        left = self._all
        for value, find in self._by_setting:
            left &= find(value(chat))
        if len(chat.model) + len(chat.system_prompt) <= _LONGEST_KEY:
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
            self._known[chat.model, chat.system_prompt] = left
        return left


class LayeredIndex:
    """Picks as an Index of all rules would, from a large index and a small one of rules added later.

    A change of one rule then takes 2 ms less for each 250 unchanged rules, and a pick twice as long.

    Attributes:
        layers: the indexes, each with the numbers of its rules among all rules.
    """

    def __init__(self, layers: "Sequence[tuple[Index, Sequence[int]]]") -> None:
        self.layers = layers

    def pick(self, chat: ChatRequest) -> int:
        """Return the number of the winning rule, or DEFAULT."""
        found = [numbers[won] for index, numbers in self.layers if (won := index.pick(chat)) != DEFAULT]
        return min(found, default=DEFAULT)


def index_of(
    rules: Sequence[Match], names: Sequence[str] = (), previous: Index | LayeredIndex | None = None
) -> Index | LayeredIndex:
    """Index rules; those of a previous index, recognized by identity, are not recompiled."""
    first = previous.layers[0][0] if isinstance(previous, LayeredIndex) else previous
    numbers = {id(rule): number for number, rule in enumerate(rules)}
    if first is None or len(numbers) < len(rules):
        return Index(rules, names)
    kept = [numbers.pop(id(rule), DEFAULT) for rule in first.rules]
    removed = [place for place, number in enumerate(kept) if number == DEFAULT]
    left = [number for number in kept if number != DEFAULT]
    if len(numbers) > _MOST_ADDED or len(removed) > len(left) or left != sorted(left):
        return Index(rules, names)
    base = first.without(sum(1 << place for place in removed))
    if not numbers:
        return LayeredIndex([(base, kept)]) if removed else base
    added = sorted(numbers.values())
    above = Index([rules[number] for number in added], [names[number] for number in added] if names else ())
    return LayeredIndex([(base, kept), (above, added)])


def _compound(match: Match, bit: int, matches: list[Match]) -> _Compound:
    """Build a compound; its nested matches are appended to ``matches``, whose indexes are their bits."""

    def inner(one: Match) -> _Compound:
        matches.append(one)
        return _compound(one, 1 << (len(matches) - 1), matches)

    return _Compound(
        bit,
        tuple(map(inner, match.any_ or ())),
        tuple(map(inner, match.all_ or ())),
        inner(match.not_) if match.not_ else None,
    )
