"""One small class a kind of condition. Each answers for all rules at once.

The rules are numbered in the order in which they are tried, and a set of rules is an int with a bit for each. A matcher
looks at one text of the request and returns the set of rules that this text allows: those whose condition holds and
those that have none of its kind.

To add a kind: a field in ``config.model.Match``, a class here, and its line in ``MATCHERS``.
"""

import re
from collections.abc import Mapping
from fnmatch import translate
from types import MappingProxyType
from typing import NamedTuple, Protocol

import re2

from fastmock.rules.regex import RegexSet, to_re2

Conditions = Mapping[int, str]
"""The rule's number and what it asks for, for the rules that have a condition of the kind."""


class Matcher(Protocol):
    """One kind of condition, compiled for all rules."""

    def find(self, text: str) -> int:
        """Return the set of rules that ``text`` allows."""


def free_of(conditions: Conditions, rules: int) -> int:
    """Return the set of the rules, of ``rules`` in all, that have no condition of the kind."""
    free = (1 << rules) - 1
    for number in conditions:
        free &= ~(1 << number)
    return free


class Exact:
    """It is exactly the text: a dictionary."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._sets: dict[str, int] = {}
        for number, text in conditions.items():
            self._sets[text] = self._sets.get(text, self._free) | 1 << number

    def find(self, text: str) -> int:
        """See Matcher."""
        return self._sets.get(text, self._free)


class Glob:
    """It is what the glob stands for."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._globs = [(1 << number, re.compile(translate(glob)).match) for number, glob in conditions.items()]

    def find(self, text: str) -> int:
        """See Matcher."""
        found = self._free
        for bit, match in self._globs:
            if match(text):
                found |= bit
        return found


class Regex:
    """A pattern is found in it: one pass over the set of all patterns."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        forms = {number: self.form(text) for number, text in conditions.items()}
        distinct = {form: index for index, form in enumerate(dict.fromkeys(forms.values()))}
        self._set = RegexSet(list(distinct))
        self._match = self._set.match
        self._bits = [0] * (len(distinct) + 1)  # the last is the set's canary
        for number, form in forms.items():
            self._bits[distinct[form]] |= 1 << number

    @staticmethod
    def form(text: str) -> str:
        """Return what is searched for, in RE2's form."""
        return to_re2(text)

    def find(self, text: str) -> int:
        """See Matcher."""
        encoded = text.encode()
        matched = self._match(encoded)
        if not matched:
            matched = self._set.one_by_one(encoded)
        found = self._free
        bits = self._bits
        for index in matched:
            found |= bits[index]
        return found


class Contains(Regex):
    """It contains the text: the same pass, over quoted texts."""

    @staticmethod
    def form(text: str) -> str:
        """See Regex."""
        quoted: str = re2.escape(text)
        return quoted


class MatcherType(Protocol):
    """How a matcher is made: from the conditions of its kind and the number of rules."""

    def __call__(self, conditions: Conditions, rules: int) -> Matcher:
        """Compile the conditions."""


class Kind(NamedTuple):
    """A kind of condition: the attribute of Ask that it looks at, and its matcher."""

    attribute: str
    matcher: MatcherType


MATCHERS: Mapping[str, Kind] = MappingProxyType(
    {
        "model": Kind("model", Glob),
        "system_prompt": Kind("system_prompt", Contains),
        "content": Kind("user_message", Exact),
        "content_contains": Kind("user_message", Contains),
        "content_regex": Kind("user_message", Regex),
    }
)
