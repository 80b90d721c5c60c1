"""The compiled index: one look at the request finds the winning rule, however many rules there are."""

import re
from collections.abc import Sequence

from fastmock.config.model import Match
from fastmock.rules.matchers import MATCHERS
from fastmock.rules.regex import readable
from fastmock.wire import Ask

DEFAULT = -1
"""What ``pick`` returns when no rule holds."""


class Index:
    """Picks the first of the rules whose conditions all hold.

    Every kind of condition is asked once and answers with a set of rules, an int with a bit for each; what is left of
    their intersection is in the order of trial, so that the lowest bit wins.
    """

    def __init__(self, rules: Sequence[Match]) -> None:
        """Compile ``rules``, given in the order in which they are to be tried.

        Raises:
            PatternError: a ``content_regex`` cannot be read; check with ``readable`` before.
        """
        self._all = (1 << len(rules)) - 1
        self._late: dict[int, re.Pattern[str]] = {}
        self._allowed = []
        for kind, matcher in MATCHERS.items():
            conditions = {
                number: text for number, rule in enumerate(rules) if (text := getattr(rule, kind)) is not None
            }
            if kind == "content_regex":
                conditions = self._set_apart(conditions)
            if conditions:
                self._allowed.append(matcher(conditions, len(rules)).allowed)

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
        left = self._all
        for allowed in self._allowed:
            left &= allowed(ask)
        while left:
            first = left & -left
            slow = self._late.get(first)
            if slow is None or slow.search(ask.user_message):
                return first.bit_length() - 1
            left ^= first
        return DEFAULT
