"""Matchers: one small class for each kind of condition, evaluated for all rules at once.

The rules are numbered in the order in which they are tried, and a set of rules is an int with a bit for each. A matcher
takes one value of a request and returns the set of rules that it allows: those whose condition holds and those without
a condition of this kind.

To add a kind of condition, declare a field in ``rules.match.Match``; a new way to match needs a class here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from operator import attrgetter
from typing import Any, Protocol

import re2
from typing_extensions import override

from fastmock.core.completion import ChatRequest
from fastmock.rules.regex import RegexSet, to_re2

Conditions = Mapping[int, Any]
"""The expected value by rule number, for the rules that have a condition of the kind."""


@lru_cache(16_384)
def glob_matcher(glob: str) -> Callable[[str], object]:
    """Return a function that matches a text against a glob; cached, since a change recompiles all rules."""
    return re.compile(translate(glob)).match


class Matcher(Protocol):
    """One kind of condition, compiled for all rules."""

    def find(self, text: Any) -> int:
        """Return the set of rules that the value allows."""


def free_of(conditions: Conditions, rules: int) -> int:
    """Return the set of rules, out of ``rules``, without a condition of the kind."""
    digits = bytearray(b"1") * rules
    for number in conditions:
        digits[-1 - number] = 48  # "0"; 1,000 operations on numbers of 1,000 bits take ten times as long
    return int(digits or b"0", 2)


class Exact:
    """Match a value by equality, with a dictionary."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._sets: dict[Any, int] = {}
        for number, text in conditions.items():
            self._sets[text] = self._sets.get(text, self._free) | 1 << number

    def find(self, text: Any) -> int:
        """Return the rules whose value equals ``text``, and those without a condition."""
        return self._sets.get(text, self._free)


class Glob:
    """Match a text against a glob."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._globs = [(1 << number, glob_matcher(glob)) for number, glob in conditions.items()]

    def find(self, text: str) -> int:
        """Return the rules whose glob matches ``text``, and those without a condition."""
        found = self._free
        for bit, match in self._globs:
            if match(text):
                found |= bit
        return found


class Regex:
    """Search a text for regular expressions, in one pass over the set of all of them."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        forms = {number: self.form(text) for number, text in conditions.items()}
        distinct = {form: index for index, form in enumerate(dict.fromkeys(forms.values()))}
        self._set = RegexSet(list(distinct))
        self._match = self._set.match
        self._bits = [0] * (len(distinct) + 1)  # the last is for the set's canary
        for number, form in forms.items():
            self._bits[distinct[form]] |= 1 << number

    @staticmethod
    def form(text: str) -> str:
        """Return the pattern in RE2's syntax."""
        return to_re2(text)

    def find(self, text: str) -> int:
        """Return the rules whose pattern is found in ``text``, and those without a condition."""
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
    """Search a text for substrings: as regular expressions, escaped."""

    @staticmethod
    @override
    def form(text: str) -> str:
        quoted: str = re2.escape(text)
        return quoted


class Within:
    """Match a number against a range."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._spans = [(1 << number, span.min, span.max) for number, span in conditions.items()]

    def find(self, value: int) -> int:
        """Return the rules whose range contains ``value``, and those without a condition."""
        found = self._free
        for bit, least, most in self._spans:
            if (least is None or value >= least) and (most is None or value <= most):
                found |= bit
        return found


class Named:
    """Match a list of names: any name, none, or one that matches a glob."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._some = self._none = self._free
        self._globs = []
        for number, wanted in conditions.items():
            if isinstance(wanted, str):
                self._globs.append((1 << number, glob_matcher(wanted)))
            elif wanted:
                self._some |= 1 << number
            else:
                self._none |= 1 << number

    def find(self, names: Sequence[str]) -> int:
        """Return the rules that ``names`` satisfy, and those without a condition."""
        found = self._some if names else self._none
        for bit, match in self._globs:
            if any(map(match, names)):
                found |= bit
        return found


class Entries:
    """Match entries by name: each must exist, with a value that matches its glob."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._wanted = [
            (1 << number, [(name, glob_matcher(glob)) for name, glob in wanted.items()])
            for number, wanted in conditions.items()
        ]

    def find(self, entry: Callable[[str], str | None]) -> int:
        """Return the rules whose entries all match, and those without a condition; ``entry`` returns a value
        by name.
        """
        found = self._free
        for bit, wanted in self._wanted:
            if all((value := entry(name)) is not None and match(value) for name, match in wanted):
                found |= bit
        return found


class MatcherType(Protocol):
    """The constructor of a matcher: takes the conditions of its kind and the number of rules."""

    def __call__(self, conditions: Conditions, rules: int) -> Matcher:
        """Compile the conditions."""


@dataclass(frozen=True)
class Condition:
    """A kind of condition, as its field in ``rules.match.Match`` declares it.

    Attributes:
        matcher: evaluates the conditions of all rules.
        value: reads the value to match from a request.
        verb: the verb of the sentence about a text that does not match, such as ``contain``.
        on_conversation: whether it depends on earlier messages.
        needs_body: whether the value must be read from the request body.
        in_body: whether the body determines it.
    """

    matcher: MatcherType
    value: Callable[[ChatRequest], Any]
    verb: str = ""
    on_conversation: bool = False
    needs_body: bool = True
    in_body: bool = True


MODEL, SYSTEM_PROMPT, USER_MESSAGE = map(attrgetter, ("model", "system_prompt", "user_message"))
"""Values that the index treats specially: the first two repeat from request to request."""
