"""The compiled index: one look at the request finds the winning rule, however many rules there are."""

import re
from collections.abc import Callable, Sequence

from fastmock.config.model import Match
from fastmock.rules.matchers import MATCHERS
from fastmock.rules.regex import readable
from fastmock.wire import Ask

DEFAULT = -1
"""What ``pick`` returns when no rule holds."""

_MOST_KEYS = 1024
_LONGEST_KEY = 4096  # characters


class Index:
    """Picks the first of the rules whose conditions all hold.

    Every kind of condition is asked once and answers with a set of rules, an int with a bit for each; what is left of
    their intersection is in the order of trial, so that the lowest bit wins.

    What a client sends again and again, its model and its system prompt, is remembered; the message is looked at anew.
    """

    def __init__(self, rules: Sequence[Match]) -> None:
        """Compile ``rules``, given in the order in which they are to be tried.

        Raises:
            PatternError: a ``content_regex`` cannot be read; check with ``readable`` before.
        """
        self._all = (1 << len(rules)) - 1
        self._late: dict[int, re.Pattern[str]] = {}
        self._by_setting: list[tuple[str, Callable[[str], int]]] = []
        self._by_message: list[Callable[[str], int]] = []
        self._known: dict[tuple[str, str], int] = {}
        for name, kind in MATCHERS.items():
            conditions = {
                number: text for number, rule in enumerate(rules) if (text := getattr(rule, name)) is not None
            }
            if name == "content_regex":
                conditions = self._set_apart(conditions)
            if conditions:
                find = kind.matcher(conditions, len(rules)).find
                if kind.attribute == "user_message":
                    self._by_message.append(find)
                else:
                    self._by_setting.append((kind.attribute, find))

    def _set_apart(self, conditions: dict[int, str]) -> dict[int, str]:
        """Keep the patterns that RE2 can read; the others are searched for by ``re`` when their rule would win."""
        linear = {}
        for number, pattern in conditions.items():
            _, slow = readable(pattern)
            if slow:
                self._late[1 << number] = slow
            else:
                linear[number] = pattern
        return linear

    def pick(self, ask: Ask) -> int:
        """Return the number of the winning rule, or DEFAULT."""
        left = self._known.get((ask.model, ask.system_prompt))
        if left is None:
            left = self._look(ask)
        if left:
            for find in self._by_message:
                left &= find(ask.user_message)
        if not self._late:
            return (left & -left).bit_length() - 1  # the lowest bit; of no bits, DEFAULT
        while left:
            first = left & -left
            slow = self._late.get(first)
            if slow is None or slow.search(ask.user_message):
                return first.bit_length() - 1
            left ^= first
        return DEFAULT

    def _look(self, ask: Ask) -> int:
        """Return the rules that the model and the system prompt allow, and remember them, within bounds."""
        left = self._all
        for attribute, find in self._by_setting:
            left &= find(getattr(ask, attribute))
        if len(ask.model) + len(ask.system_prompt) <= _LONGEST_KEY:
            if len(self._known) >= _MOST_KEYS:
                self._known.clear()
            self._known[ask.model, ask.system_prompt] = left
        return left
