"""Changes made while the server runs: rules, and settings of the server and of sessions, on top of the configuration.

An overlay is immutable: each change returns a new one, which becomes active or is discarded.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ValidationError

from fastmock.config.errors import describe
from fastmock.config.renamed import with_new_names
from fastmock.config.sessions import SessionSettings, session_settings
from fastmock.core.credentials import LONGEST_SESSION, REDACTED
from fastmock.core.problems import ConfigError, Problem, SettingPath, did_you_mean, dotted
from fastmock.rules.settings import EmbeddingPattern, MatchingRule, ModerationPattern, Pattern

RuleSection = Literal["chat_completions", "completions", "embeddings", "moderations"]
_SECTIONS: tuple[RuleSection, ...] = get_args(RuleSection)
_KINDS: Mapping[str, type[MatchingRule]] = {"embeddings": EmbeddingPattern, "moderations": ModerationPattern}
_MOST_RULES = 10_000
_MOST_FAULTS = 1000  # of a session
_is_id = re.compile(rf"(?!\.+$)[\w:.-]{{1,{LONGEST_SESSION}}}").fullmatch  # characters allowed in a URL path
_IDS = f"up to {LONGEST_SESSION} letters, digits, '-', '_', ':' or '.'"


class NotThereError(Exception):
    """No rule has this id."""


class LocatedRule(NamedTuple):
    """A rule with its name and its location."""

    name: str
    path: SettingPath
    pattern: MatchingRule


class RuntimeRule(NamedTuple):
    """A rule added while the server runs.

    Attributes:
        id: the id of the rule in the control API.
        section: the endpoint whose replies it sets, as in ``responses``.
        session: the session it applies to; empty for all.
        placed: the rule, with its path in the request body.
        given: the rule as sent, for display.
    """

    id: str
    section: RuleSection
    session: str
    placed: LocatedRule
    given: dict[str, Any]

    @property
    def pattern(self) -> MatchingRule:
        """The rule."""
        return self.placed.pattern

    @property
    def at(self) -> str:
        """The path of the rule in the request body."""
        return str(self.placed.path[0])

    @property
    def named(self) -> tuple[str, str]:
        """The unique key: ids are separate for each session."""
        return self.session, self.id

    def shown(self) -> dict[str, Any]:
        """Return the rule as shown by the control API."""
        session = {"session": self.session} if self.session else {}
        return {"id": self.id, "endpoint": self.section, **session, **self.given}


def found_in(rules: Sequence[RuntimeRule], id_: str, session: str) -> RuntimeRule | None:
    """Return the rule with an id that a session sees; without a session, that of any."""
    found = [rule for rule in rules if rule.id == id_ and rule.session in (session, "" if session else rule.session)]
    return min(found, key=lambda rule: rule.session != session, default=None)


def _hidden(value: Any, at: str = "") -> Iterator[str]:
    """Yield the path of every redaction mark in a JSON value."""
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
        patch: settings on top of all others; lists replace lists.
        rules: the added rules, oldest first.
        named: the number of generated ids.
        sessions: the settings of sessions, by name.
    """

    patch: dict[str, Any] = field(default_factory=dict)
    rules: tuple[RuntimeRule, ...] = ()
    named: int = 0
    sessions: Mapping[str, SessionSettings] = field(default_factory=dict)

    def snapshot(self) -> dict[str, Any]:
        """Return the changes as JSON; see ``restoring``."""
        rules = [{"id": one.id, "endpoint": one.section, "session": one.session, **one.given} for one in self.rules]
        sessions = {
            name: one.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            for name, one in self.sessions.items()
        }
        return {"patch": self.patch, "rules": rules, "named": self.named, "sessions": sessions}

    def restoring(self, snapshot: Mapping[str, Any]) -> "Overlay":
        """Return the changes of a snapshot instead of these."""
        restored = Overlay().adding(snapshot["rules"], "") if snapshot["rules"] else Overlay()
        sessions = {name: session_settings(given) for name, given in snapshot["sessions"].items()}
        return replace(restored, patch=dict(snapshot["patch"]), named=snapshot["named"], sessions=sessions)

    def adding(self, given: Sequence[Any], session: str) -> "Overlay":
        """Return a copy with more rules; raise ConfigError if one is invalid or its id is taken."""
        parsed = _read(given, session, self)
        taken = {rule.named for rule in self.rules}
        twice = []
        for rule in parsed.rules:
            if rule.named in taken:
                twice.append(rule.at)
            taken.add(rule.named)
        return self._with((*self.rules, *parsed.rules), parsed.named, twice)

    def replacing(self, given: Sequence[Any], session: str) -> "Overlay":
        """Return a copy with other rules in place of those of a session, or of all without one."""
        kept = self.removing(None, session)
        return kept.adding(given, session)

    def putting(self, id_: str, given: Any, session: str) -> "Overlay":
        """Return a copy with one rule added, or in place of the one with the same id."""
        if not isinstance(given, dict):
            raise ConfigError([Problem("", "", "must be an object")])
        parsed = _read([{**given, "id": id_}], session, self)
        [rule] = parsed.rules
        rules = list(self.rules)
        at = next((at for at, other in enumerate(rules) if other.id == id_ and other.session == rule.session), None)
        if at is None:
            rules.append(rule)
        else:
            rules[at] = rule
        return self._with(tuple(rules), parsed.named)

    def removing(self, id_: str | None, session: str) -> "Overlay":
        """Return a copy without the rule with an id; without an id, without all rules of a session, or of all sessions.

        Raises:
            NotThereError: there is no such rule.
        """
        if id_ is not None:
            found = found_in(self.rules, id_, session)
            if found is None or (session and not found.session):  # a session cannot remove a rule that applies to all
                raise NotThereError
            return replace(self, rules=tuple(rule for rule in self.rules if rule is not found))
        return replace(self, rules=tuple(rule for rule in self.rules if session and rule.session != session))

    def resetting(self, layers: Collection[str], sessions: Collection[str]) -> "Overlay":
        """Return a copy without the ``rules`` of some sessions, or of all if none is named, and without their changed
        settings (``config``), or those of all and of the server.
        """

        def goes(session: str) -> bool:
            return not sessions or session in sessions

        changed = self
        if "rules" in layers:
            changed = replace(changed, rules=tuple(rule for rule in self.rules if not goes(rule.session)))
        if "config" in layers:
            kept = {name: one for name, one in self.sessions.items() if not goes(name)}
            changed = replace(changed, sessions=kept, patch=self.patch if sessions else {})
        return changed

    def configuring_session(self, name: str, given: Any) -> "Overlay":
        """Return a copy with other settings of a session; raise ConfigError if they are invalid."""
        if not _is_id(name):
            raise ConfigError([Problem("", "session", f"must be {_IDS}")])
        if name not in self.sessions and len(self.sessions) >= _MOST_RULES:
            raise ConfigError([Problem("", "sessions", f"are more than {_MOST_RULES}")])
        return replace(self, sessions={**self.sessions, name: session_settings(given)})

    def patching(self, patch: Mapping[str, Any]) -> "Overlay":
        """Return a copy with more settings changed; raise ConfigError if one is a redaction mark instead of a
        secret.
        """
        if hidden := list(_hidden(patch)):
            said = "is a redacted value: leave it out, or send the real one"
            raise ConfigError([Problem("", at, f"{REDACTED} {said}") for at in hidden])
        renamed, _ = with_new_names(patch)
        return replace(self, patch=merged(self.patch, renamed, keep_null=True))

    def adding_faults(self, given: Sequence[Any], session: str) -> "Overlay":
        """Return a copy with more faults for a session, or for all; raise ConfigError if one is invalid."""
        known = self.sessions.get(session, SessionSettings())
        added = session_settings({"faults": list(given)}).faults
        if len(known.faults) + len(added) > _MOST_FAULTS:
            raise ConfigError([Problem("", "faults", f"are more than {_MOST_FAULTS}")])
        changed = known.with_faults([*known.faults, *added])
        return replace(self, sessions={**self.sessions, session: changed})

    def removing_faults(self, session: str) -> "Overlay":
        """Return a copy without the added faults of a session, or without all."""
        sessions = {name: one.with_faults([]) if session in ("", name) else one for name, one in self.sessions.items()}
        return replace(self, sessions=sessions)

    def _with(self, rules: tuple[RuntimeRule, ...], named: int, twice: Iterable[str] = ()) -> "Overlay":
        problems = [Problem("", f"{at}.id", "is taken by another rule") for at in twice]
        if len(rules) > _MOST_RULES:
            problems.append(Problem("", "rules", f"are more than {_MOST_RULES}"))
        if problems:
            raise ConfigError(problems)
        return replace(self, rules=rules, named=named)


def _read(given: Sequence[Any], session: str, before: Overlay) -> Overlay:
    """Parse rules as sent; raise ConfigError with all errors."""
    rules, problems, named = [], [], before.named
    taken = {rule.id for rule in before.rules}
    taken |= {one["id"] for one in given if isinstance(one, dict) and isinstance(one.get("id"), str)}
    for place, one in enumerate(given):
        at = f"rules[{place}]"
        if not isinstance(one, dict):
            problems.append(Problem("", at, "must be an object"))
            continue
        rest, _ = with_new_names(one, Pattern)
        problems += [
            Problem("", f"{at}.{part}", f"{REDACTED} is a redacted value: send the real one") for part in _hidden(one)
        ]
        id_, section = rest.pop("id", None), rest.pop("endpoint", "chat_completions")
        of = rest.pop("session", session)
        if id_ is None:
            named += 1
            while (id_ := f"rule-{named}") in taken:  # the client has used it
                named += 1
        if not isinstance(id_, str) or not _is_id(id_):
            problems.append(Problem("", f"{at}.id", f"must be {_IDS}"))
        if not isinstance(of, str) or len(of) > LONGEST_SESSION:
            problems.append(Problem("", f"{at}.session", f"must be a text of up to {LONGEST_SESSION} characters"))
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


def _pattern(given: dict[str, Any], section: RuleSection, at: str, problems: list[Problem]) -> MatchingRule | None:
    kind = _KINDS.get(section, Pattern)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        above = ("responses", section, "rules", 0)
        for detail in error.errors():
            problems.append(Problem("", dotted((at, *detail["loc"])), describe(detail, above)))
        return None


def merged(below: Any, above: Any, keep_null: bool = False) -> Any:
    """Merge one JSON value into another: objects are merged, and keys that are null in ``above`` are removed (RFC
    7396).

    ``keep_null``: keep these null values, so that the result can be merged into a third.
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
