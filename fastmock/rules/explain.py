"""Explain a match: the winning rule, the nearest other rule, and the conditions that it fails."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from fastmock.core.completion import ChatRequest
from fastmock.core.credentials import CREDENTIALS, REDACTED, is_credential
from fastmock.rules.index import DEFAULT, Index
from fastmock.rules.match import CONDITIONS, Match, Range

_MOST_COMPARED = 16  # equally near rules that are compared
_LONGEST_COMPARED = 100  # characters of their texts that are compared
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Verdict:
    """The outcome of matching a request.

    Attributes:
        winner: the name of the winning rule, or of the default.
        nearest: the name of the nearest rule that does not match; None if all match.
        differences: the conditions that it fails, as sentences.
    """

    winner: str
    nearest: str | None
    differences: tuple[str, ...]

    def __str__(self) -> str:
        if self.nearest is None:
            return self.winner
        return f"{self.winner}; nearest {self.nearest}: {'; '.join(self.differences)}"


class Explainer:
    """Explains the choice of an index."""

    def __init__(self, index: Index, rules: Sequence[Match], names: Sequence[str]) -> None:
        """Explain ``index``, compiled from ``rules``; ``names`` are theirs, with the default's last."""
        self._index, self._rules, self._names = index, rules, names
        self._by_conditions: dict[int, int] = {}  # sets of rules by their number of conditions
        self._by_session: dict[str, int] = {}  # sets of rules by their session
        for number, rule in enumerate(rules):
            conditions = len(rule.model_fields_set)
            self._by_conditions[conditions] = self._by_conditions.get(conditions, 0) | 1 << number
            if rule.session is not None:
                self._by_session[rule.session] = self._by_session.get(rule.session, 0) | 1 << number

    def explain(self, chat: ChatRequest) -> Verdict:
        """Return the outcome of matching ``chat``."""
        winner = self._index.pick(chat)
        nearest = self._nearest(chat)
        if nearest is None:
            return Verdict(self._names[winner], None, ())
        differences = tuple(differences_of(self._rules[nearest], chat))
        return Verdict(self._names[winner], self._names[nearest], differences)

    def _nearest(self, chat: ChatRequest) -> int | None:
        """Return the rule with the fewest failing conditions; None if all rules match.

        Rules of other sessions do not count. Of several, the one with the most passing conditions, then the one with
        the most similar text, then the first.
        """
        levels = [0]  # the rules that fail by at least 1, 2, … kinds of condition
        for failing in self._index.failures(chat):
            carried = failing
            for number, level in enumerate(levels):
                levels[number], carried = level | carried, level & carried
            if carried:
                levels.append(carried)
        session = CONDITIONS["session"].value(chat) if self._by_session else ""
        others = sum(rules for name, rules in self._by_session.items() if name != session)
        levels = [level & ~others for level in levels]
        exactly = [level & ~more for level, more in zip(levels, [*levels[1:], 0], strict=True)]
        candidates = next((level for level in exactly if level), 0)
        holding = (candidates & self._by_conditions[many] for many in sorted(self._by_conditions, reverse=True))
        candidates = next((level for level in holding if level), 0)
        found: list[int] = []
        while candidates and len(found) < _MOST_COMPARED:
            first = candidates & -candidates
            found.append(first.bit_length() - 1)
            candidates ^= first
        return max(found, key=lambda number: self._likeness(number, chat), default=None)

    def _likeness(self, number: int, chat: ChatRequest) -> float:
        return likeness(self._rules[number], chat)


def likeness(match: Match, chat: ChatRequest) -> float:
    """Return the similarity of a match's text to the user message, from 0 to 1."""
    text = match.content or match.content_contains or match.content_regex or ""
    compared = SequenceMatcher(None, text[:_LONGEST_COMPARED].lower(), chat.user_message[:_LONGEST_COMPARED].lower())
    return compared.quick_ratio() if text else 0.0


def differences_of(match: Match, chat: ChatRequest) -> Iterator[str]:
    """Yield a sentence for each failing condition."""
    for name, condition in CONDITIONS.items():
        wanted = getattr(match, name)
        if wanted is not None and not _holds(name, wanted, chat):
            yield _difference(name, wanted, condition.value(chat), chat)
    if match.any_ and not any(_all_hold(one, chat) for one in match.any_):
        yield f"any: none holds ({' | '.join('; '.join(differences_of(one, chat)) for one in match.any_)})"
    for place, one in enumerate(match.all_ or ()):
        if differences := list(differences_of(one, chat)):
            yield f"all[{place}]: {'; '.join(differences)}"
    if match.not_ and _all_hold(match.not_, chat):
        yield f"not: {match.not_.model_dump(exclude_none=True, by_alias=True)} holds"


def _all_hold(match: Match, chat: ChatRequest) -> bool:
    return Index([match]).pick(chat) != DEFAULT


def _holds(name: str, wanted: Any, chat: ChatRequest) -> bool:
    return _all_hold(Match.model_construct(**{name: wanted}), chat)


def _difference(name: str, wanted: Any, found: Any, chat: ChatRequest) -> str:
    if verb := CONDITIONS[name].verb:
        of = "system_prompt" if name == "system_prompt" else "content"
        return f"{of} {_shown(found)} does not {verb} {_shown(wanted)}"
    if isinstance(wanted, dict):
        wrong = {key: glob for key, glob in wanted.items() if not _holds(name, {key: glob}, chat)}
        secret = is_credential if name == "headers" else CREDENTIALS.__contains__
        hidden = [key for key in wrong if secret(key.lower())]
        shown = (
            f"{key} is {_entry(found(key), key in hidden)}, not {_entry(glob, key in hidden)}"
            for key, glob in wrong.items()
        )
        return f"{name}: {', '.join(shown)}"
    if isinstance(wanted, bool) and isinstance(found, tuple):
        return f"{name} is {_shown(list(found))}, where there must be {'one' if wanted else 'none'}"
    return f"{name} is {_shown(list(found) if isinstance(found, tuple) else found)}, not {_shown(wanted)}"


def _entry(value: str | None, hidden: bool) -> str:
    """Show the value of a header or a metadata entry, with credentials redacted."""
    return REDACTED if hidden and value is not None else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, Range):
        if value.min == value.max:
            return str(value.min)
        return (
            f"{'' if value.min is None else f'{value.min} '}{'or more' if value.max is None else f'up to {value.max}'}"
        )
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[: _LONGEST_SHOWN - 3]}..."
