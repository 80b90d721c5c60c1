"""One small class a kind of condition. Each answers for all rules at once.

The rules are numbered in the order in which they are tried, and a set of rules is an int with a bit for each. A matcher
looks at one thing of the request and returns the set of rules that this thing allows: those whose condition holds and
those that have none of its kind.

To add a kind: a field in ``config.model.Match``, a class here, and its line in ``MATCHERS``.
"""

import re
from collections.abc import Mapping
from fnmatch import translate
from types import MappingProxyType
from typing import Protocol

import re2

from fastmock.rules.regex import RegexSet, to_re2
from fastmock.wire import Ask

Conditions = Mapping[int, str]
"""The rule's number and what it asks for, for the rules that have a condition of the kind."""

_MOST_KEYS = 1024
_LONGEST_KEY = 4096  # characters


class Matcher(Protocol):
    """One kind of condition, compiled for all rules."""

    def allowed(self, ask: Ask) -> int:
        """Return the set of rules that may answer ``ask`` as far as this condition goes."""


def free_of(conditions: Conditions, rules: int) -> int:
    """Return the set of the rules, of ``rules`` in all, that have no condition of the kind."""
    free = (1 << rules) - 1
    for number in conditions:
        free &= ~(1 << number)
    return free


class Exact:
    """The last user message is exactly the text: a dictionary."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._sets: dict[str, int] = {}
        for number, text in conditions.items():
            self._sets[text] = self._sets.get(text, self._free) | 1 << number

    def allowed(self, ask: Ask) -> int:
        """See Matcher."""
        return self._sets.get(ask.user_message, self._free)


class Model:
    """The model's name is the glob's: a dictionary, filled as names are seen."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        self._free = free_of(conditions, rules)
        self._globs = [(1 << number, re.compile(translate(glob)).match) for number, glob in conditions.items()]
        self._seen: dict[str, int] = {}

    def allowed(self, ask: Ask) -> int:
        """See Matcher."""
        seen = self._seen.get(ask.model)
        return self._look(ask.model) if seen is None else seen

    def _look(self, model: str) -> int:
        found = self._free
        for bit, match in self._globs:
            if match(model):
                found |= bit
        remember(self._seen, model, found)
        return found


class Regex:
    """A pattern is found in the last user message: one pass over the set of all patterns."""

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
        """Return the set of rules that ``text`` allows."""
        encoded = text.encode()
        matched = self._match(encoded)
        if matched is None:
            matched = self._set.one_by_one(encoded)
        found = self._free
        bits = self._bits
        for index in matched:
            found |= bits[index]
        return found

    def allowed(self, ask: Ask) -> int:
        """See Matcher."""
        return self.find(ask.user_message)


class Contains(Regex):
    """The last user message contains the text: the same pass, over quoted texts."""

    @staticmethod
    def form(text: str) -> str:
        """See Regex."""
        quoted: str = re2.escape(text)
        return quoted


class SystemPrompt(Contains):
    """The system prompt contains the text; remembered, for a client sends the same prompt again and again."""

    def __init__(self, conditions: Conditions, rules: int) -> None:
        super().__init__(conditions, rules)
        self._seen: dict[str, int] = {}

    def allowed(self, ask: Ask) -> int:
        """See Matcher."""
        prompt = ask.system_prompt
        found = self._seen.get(prompt)
        if found is None:
            found = self.find(prompt)
            remember(self._seen, prompt, found)
        return found


def remember(cache: dict[str, int], key: str, value: int) -> None:
    """Keep ``value``, within bounds: a full cache is emptied, a long key not kept."""
    if len(key) <= _LONGEST_KEY:
        if len(cache) >= _MOST_KEYS:
            cache.clear()
        cache[key] = value


class MatcherType(Protocol):
    """How a matcher is made: from the conditions of its kind and the number of rules."""

    def __call__(self, conditions: Conditions, rules: int) -> Matcher:
        """Compile the conditions."""


MATCHERS: Mapping[str, MatcherType] = MappingProxyType(
    # The cheapest first: a request that no rule is left for goes no further.
    {
        "model": Model,
        "content": Exact,
        "system_prompt": SystemPrompt,
        "content_contains": Contains,
        "content_regex": Regex,
    }
)
