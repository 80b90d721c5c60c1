"""Rules of endpoints without templates: those that flag inputs, and those with vectors."""

from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from fastmock.config.config import Config
from fastmock.config.overlay import RuleSection
from fastmock.core.completion import ChatRequest
from fastmock.core.diagnostics import Diagnostics
from fastmock.engine.rule_set import counter, rule_key, unreachable_rules
from fastmock.rules.index import DEFAULT, Index
from fastmock.rules.settings import MatchingRule
from fastmock.rules.validate import check_regexes
from fastmock.shared.rule_hits import RuleHits

Rule = TypeVar("Rule", bound=MatchingRule)


class PlainRules(Generic[Rule]):
    """The rules of a section, compiled.

    Attributes:
        section: the name of the section.
        rules: the rules, in the order in which they are tried.
        names: the names of the rules.
        hits: counts the uses of rules.
    """

    def __init__(
        self, kind: type[Rule], config: Config, section: RuleSection, hits: RuleHits, diagnostics: Diagnostics
    ) -> None:
        """Compile the rules, which are of one kind; errors go to ``diagnostics``."""
        placed = config.rules(section)
        self.section = section
        self.rules = [one.pattern for one in placed if isinstance(one.pattern, kind)]
        self.names = [one.name for one in placed]
        self.hits = hits
        for _, path, pattern in placed:
            check_regexes(pattern.match, (*path, "match"), diagnostics)
        is_valid = not diagnostics.problems
        self._index = Index([rule.match for rule in self.rules] if is_valid else [], self.names if is_valid else [])
        self._count = counter(len(self.rules), hits, self.key)

    def pick(self, chat: ChatRequest) -> int | None:
        """Return the number of the rule that wins, and count its use; None if none matches."""
        rule = self._index.pick(chat)
        if rule == DEFAULT:
            return None
        self._count(rule)
        return rule

    def priority_of(self, chat: ChatRequest) -> int | None:
        """Return the priority of the rule that matches a request; None if none does."""
        rule = self._index.pick(chat)
        return None if rule == DEFAULT else self.rules[rule].priority

    def key(self, rule: int) -> int:
        """Return the key of a rule in ``shared.rule_hits``."""
        return rule_key(self.section, self.names[rule], self.rules[rule])

    def forget(self, sessions: Collection[str]) -> None:
        """Reset the counts of the rules of some sessions."""
        for number, rule in enumerate(self.rules):
            if rule.match.session in sessions:
                self.hits.forget(self.key(number))

    def unreachable_rules(self) -> Iterator[str]:
        """Yield the rules that can never win, and why; takes time quadratic in their number."""
        return unreachable_rules([rule.match for rule in self.rules], self.names)
