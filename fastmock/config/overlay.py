"""What was changed while the server runs: rules and settings that lie over the configuration as it is read.

An overlay is never changed: each change makes another, which comes into force or does not.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ValidationError

from fastmock.config.errors import describe
from fastmock.core.credentials import LONGEST_SESSION, REDACTED
from fastmock.core.problems import ConfigError, Problem, SettingPath, did_you_mean, dotted
from fastmock.rules.settings import ModerationPattern, Pattern

RuleSection = Literal["chat_completions", "completions", "moderations"]
_SECTIONS: tuple[RuleSection, ...] = get_args(RuleSection)
_MOST_RULES = 10_000
_LONGEST = LONGEST_SESSION
_id = re.compile(rf"(?!\.+$)[\w:.-]{{1,{_LONGEST}}}").fullmatch  # what can stand in a path


class NotThereError(Exception):
    """There is no rule with this id."""


class LocatedRule(NamedTuple):
    """A rule: what it is called, where it stands, and the rule."""

    name: str
    path: SettingPath
    pattern: Pattern | ModerationPattern


class RuntimeRule(NamedTuple):
    """A rule that was added.

    Attributes:
        id: by which it is changed.
        section: the endpoint whose answers it says, as in ``responses``.
        session: whose requests it is for; empty where it is for all.
        placed: the rule, and where it stood in what was given.
        given: as it was given, to be shown.
    """

    id: str
    section: RuleSection
    session: str
    placed: LocatedRule
    given: dict[str, Any]

    @property
    def pattern(self) -> Pattern | ModerationPattern:
        """The rule."""
        return self.placed.pattern

    @property
    def at(self) -> str:
        """Where it stood in what was given."""
        return str(self.placed.path[0])

    @property
    def named(self) -> tuple[str, str]:
        """What no other has: sessions do not see each other's ids."""
        return self.session, self.id

    def shown(self) -> dict[str, Any]:
        """Return what is shown of it."""
        session = {"session": self.session} if self.session else {}
        return {"id": self.id, "endpoint": self.section, **session, **self.given}


def found_in(rules: Sequence[RuntimeRule], id_: str, session: str) -> RuntimeRule | None:
    """Return the rule of an id that a session has, or, where none is given, whoever has it."""
    found = [rule for rule in rules if rule.id == id_ and rule.session in (session, "" if session else rule.session)]
    return min(found, key=lambda rule: rule.session != session, default=None)


def _hidden(value: Any, at: str = "") -> Iterator[str]:
    """Yield where in a JSON value something stands for what is not shown."""
    if isinstance(value, str) and REDACTED in value:
        yield at
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _hidden(inner, f"{at}.{name}" if at else str(name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _hidden(inner, f"{at}[{place}]")


@dataclass(frozen=True)
class Overlay:
    """The changes.

    Attributes:
        patch: settings, laid over all others; lists replace lists.
        rules: the rules that were added, in the order in which they were.
        named: how many ids have been made up.
    """

    patch: dict[str, Any] = field(default_factory=dict)
    rules: tuple[RuntimeRule, ...] = ()
    named: int = 0

    def adding(self, given: Sequence[Any], session: str) -> "Overlay":
        """Return this with more rules; raise ConfigError where one is wrong or its id is taken."""
        made = _read(given, session, self)
        taken = {rule.named for rule in self.rules}
        twice = []
        for rule in made.rules:
            if rule.named in taken:
                twice.append(rule.at)
            taken.add(rule.named)
        return self._with((*self.rules, *made.rules), made.named, twice)

    def replacing(self, given: Sequence[Any], session: str) -> "Overlay":
        """Return this with other rules instead of those of a session, or, without one, of all."""
        kept = self.removing(None, session)
        return kept.adding(given, session)

    def putting(self, id_: str, given: Any, session: str) -> "Overlay":
        """Return this with one rule added, or in the place of the one with its id."""
        if not isinstance(given, dict):
            raise ConfigError([Problem("", "", "must be an object")])
        made = _read([{**given, "id": id_}], session, self)
        [rule] = made.rules
        rules = list(self.rules)
        at = next((at for at, other in enumerate(rules) if other.id == id_ and other.session == rule.session), None)
        if at is None:
            rules.append(rule)
        else:
            rules[at] = rule
        return self._with(tuple(rules), made.named)

    def removing(self, id_: str | None, session: str) -> "Overlay":
        """Return this without the rule of an id; without one, without all rules of a session, or of all sessions.

        Raises:
            NotThereError: there is no such rule.
        """
        if id_ is not None:
            found = found_in(self.rules, id_, session)
            if found is None or (session and not found.session):  # one that is for all is not one session's to remove
                raise NotThereError
            return replace(self, rules=tuple(rule for rule in self.rules if rule is not found))
        return replace(self, rules=tuple(rule for rule in self.rules if session and rule.session != session))

    def resetting(self, layers: Sequence[str], session: str) -> "Overlay":
        """Return this without the ``rules`` of a session, or all, and without what was changed of the ``config``."""
        rules = self.removing(None, session).rules if "rules" in layers else self.rules
        return replace(self, rules=rules, patch={} if "config" in layers else self.patch)

    def patching(self, patch: Mapping[str, Any]) -> "Overlay":
        """Return this with more settings changed; raise ConfigError where a secret is given as it is shown."""
        if hidden := list(_hidden(patch)):
            said = "is not what it stands for: leave it out, or give the value"
            raise ConfigError([Problem("", at, f"{REDACTED} {said}") for at in hidden])
        return replace(self, patch=merged(self.patch, patch, keep_null=True))

    def _with(self, rules: tuple[RuntimeRule, ...], named: int, twice: Iterable[str] = ()) -> "Overlay":
        problems = [Problem("", f"{at}.id", "is taken by another rule") for at in twice]
        if len(rules) > _MOST_RULES:
            problems.append(Problem("", "rules", f"are more than {_MOST_RULES}"))
        if problems:
            raise ConfigError(problems)
        return replace(self, rules=rules, named=named)


def _read(given: Sequence[Any], session: str, before: Overlay) -> Overlay:
    """Read rules as they were given; raise ConfigError with all that is wrong."""
    rules, problems, named = [], [], before.named
    taken = {rule.id for rule in before.rules}
    taken |= {one["id"] for one in given if isinstance(one, dict) and isinstance(one.get("id"), str)}
    for place, one in enumerate(given):
        at = f"rules[{place}]"
        if not isinstance(one, dict):
            problems.append(Problem("", at, "must be an object"))
            continue
        rest = dict(one)
        problems += [Problem("", f"{at}.{part}", f"{REDACTED} is not what it stands for") for part in _hidden(one)]
        id_, section = rest.pop("id", None), rest.pop("endpoint", "chat_completions")
        of = rest.pop("session", session)
        if id_ is None:
            named += 1
            while (id_ := f"rule-{named}") in taken:  # somebody has given it
                named += 1
        if not isinstance(id_, str) or not _id(id_):
            problems.append(Problem("", f"{at}.id", f"must be up to {_LONGEST} letters, digits, '-', '_', ':' or '.'"))
        if not isinstance(of, str) or len(of) > _LONGEST:
            problems.append(Problem("", f"{at}.session", f"must be a text of up to {_LONGEST} characters"))
        if section not in _SECTIONS:
            near = did_you_mean(str(section), _SECTIONS) or f"; known are {', '.join(_SECTIONS)}"
            problems.append(Problem("", f"{at}.endpoint", f"has no rules: {section!r}{near}"))
            continue
        pattern = _pattern(rest, section, at, problems)
        if pattern is not None:
            if of:
                match = pattern.match.model_copy(update={"session": of})
                pattern = pattern.model_copy(update={"match": match})
            rules.append(RuntimeRule(id_, section, of, LocatedRule(pattern.name or id_, (at,), pattern), rest))
    if problems:
        raise ConfigError(problems)
    return Overlay({}, tuple(rules), named)


def _pattern(
    given: dict[str, Any], section: RuleSection, at: str, problems: list[Problem]
) -> Pattern | ModerationPattern | None:
    kind: type[Pattern | ModerationPattern] = ModerationPattern if section == "moderations" else Pattern
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        above = ("responses", section, "patterns", 0)
        for detail in error.errors():
            problems.append(Problem("", dotted((at, *detail["loc"])), describe(detail, above)))
        return None


def merged(below: Any, above: Any, keep_null: bool = False) -> Any:
    """Lay one JSON value over another: objects are merged, and what is null above is left out (RFC 7396).

    ``keep_null``: it is not, so that it can be laid over a third.
    """
    if not isinstance(above, Mapping):
        return deepcopy(above)
    result = dict(below) if isinstance(below, Mapping) else {}
    for name, value in above.items():
        if value is None and not keep_null:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value, keep_null)
    return result
