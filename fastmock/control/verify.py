"""Verification: check that enough recorded requests match an expectation; if not, report the nearest one."""

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import Field, ValidationError

from fastmock.app import App
from fastmock.config.config import Config
from fastmock.config.errors import describe
from fastmock.config.settings import Settings
from fastmock.core.credentials import is_credential
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.errors import ApiError
from fastmock.core.problems import dotted
from fastmock.core.section import SettingsModel
from fastmock.rules.explain import differences_of, likeness
from fastmock.rules.index import DEFAULT, Index
from fastmock.rules.match import CONDITIONS, Match, NumberOrSpan, Range, iter_nested
from fastmock.rules.validate import check_endpoints, check_regexes
from fastmock.telemetry.journal import Journal, Record

LONGEST_WAIT = 600_000
"""Upper bound of ``wait_ms``, in milliseconds."""

_NEED_BODY = {name for name, condition in CONDITIONS.items() if condition.needs_body}
_AT_ONCE = 500  # requests checked before others get a turn: about 10 ms
_MOST_COMPARED = 100  # the latest requests that do not match, searched for the nearest


class Expectation(SettingsModel):
    """An expectation about the recorded requests."""

    match: Match = Field(Match(), description="Conditions on the requests, as in a rule.")
    count: NumberOrSpan = Field(
        Range(min=1, max=None),
        description="Expected number of requests: a number, or at least `min` and at most `max`.",
    )
    session: str | None = Field(None, description="Session of the requests; without it the caller's own.")
    wait_ms: float = Field(
        0, ge=0, le=LONGEST_WAIT, description="Milliseconds to wait for the expectation to become true."
    )


def expectation(given: Any, kinds: Collection[str]) -> Expectation:
    """Parse the request body; ``kinds`` are the kinds of endpoints.

    Raises:
        ApiError: 400, with all errors in it.
    """
    try:
        wanted = Expectation.model_validate(given)
    except ValidationError as error:
        said = [f"{dotted(detail['loc'])}: {_described(detail)}" for detail in error.errors()]
        raise ApiError(400, f"Invalid expectation: {'; '.join(said)}") from None
    diagnostics = Diagnostics(Config(Settings()))
    check_regexes(wanted.match, ("match",), diagnostics)
    check_endpoints(wanted.match, ("match",), kinds, diagnostics)
    for match, path in iter_nested(wanted.match, ("match",)):
        for name in match.headers or ():
            if is_credential(name):
                diagnostics.error((*path, "headers", name), "is a credential; credentials are never recorded")
    if diagnostics.problems:
        raise ApiError(400, f"Invalid expectation: {'; '.join(map(str, diagnostics.problems))}")
    return wanted


def _described(detail: Any) -> str:
    if detail["loc"][:1] == ("match",):
        return describe(detail, ("responses", "chat_completions", "rules", 0))
    known = ", ".join(Expectation.model_fields)
    return f"unknown name; known here: {known}" if detail["type"] == "extra_forbidden" else describe(detail)


class Verification:
    """One expectation, checked again as requests come in."""

    def __init__(self, journal: Journal, wanted: Expectation, session: str) -> None:
        self._journal = journal
        self._wanted = wanted
        self._session = session if wanted.session is None else wanted.session
        self._index = Index([wanted.match])
        asked = {name for match, _ in iter_nested(wanted.match, ()) for name in match.model_fields_set}
        self._needs_body, self._needs_headers = bool(asked & _NEED_BODY), "headers" in asked
        self._seen: dict[int, bool | None] = {}  # whether each request matches; None if its body was cut
        self._others: list[Record] = []

    def look(self, app: App) -> bool | None:
        """Check the requests recorded since the last call; return whether the expectation holds, None if there are more
        to check.
        """
        ring = self._journal.ring_buffer
        numbers = ring.numbers()
        fresh = [number for number in numbers if number not in self._seen]
        fresh, more = fresh[:_AT_ONCE], len(fresh) > _AT_ONCE
        for record in self._journal.records(fresh):
            if self._session and record.head["session"] != self._session:
                self._seen[record.entry.number] = False
                continue
            holds: bool | None = self._index.pick(record.chat(app)) != DEFAULT
            if (record.cut and self._needs_body) or (record.headers_cut and self._needs_headers):
                holds = None
            self._seen[record.entry.number] = holds
            if not holds:
                self._others = [*self._others, record][-_MOST_COMPARED:]
        for number in [number for number in self._seen if number < numbers.start]:
            del self._seen[number]
        least, most = self._wanted.count.min or 0, self._wanted.count.max
        if more:
            return None
        found = self.count
        if found < least:
            return False
        # An unknown request could only add to the count.
        return most is None or (found <= most and not ring.lost and not self.cut)

    @property
    def count(self) -> int:
        """The number of matching requests."""
        return sum(1 for holds in self._seen.values() if holds)

    @property
    def cut(self) -> int:
        """The number of undecided requests: the part needed to decide was cut."""
        return sum(1 for holds in self._seen.values() if holds is None)

    def report(self, app: App, verified: bool) -> dict[str, Any]:
        """Return the body of the response."""
        lost, cut = self._journal.ring_buffer.lost, self.cut
        said: dict[str, Any] = {"verified": verified, "count": self.count, "lost": lost, "body_cut": cut}
        if verified:
            return said
        count = self._wanted.count.model_dump(exclude_none=True)
        said["expected"] = count
        notes = [f"expected {_spoken(self._wanted.count)}, found {self.count}"]
        if lost:
            notes.append(
                f"{lost} requests were dropped from the journal and are not counted: raise 'journal.size', or DELETE "
                "/fastmock/requests first"
            )
        if cut:
            notes.append(
                f"{cut} requests have a truncated body or truncated headers and cannot be checked: raise "
                "'journal.max_body_bytes'"
            )
        said["message"] = "; ".join(notes)
        if self.count < (self._wanted.count.min or 0) and (nearest := self._nearest(app, self._others)):
            said["nearest"] = nearest
        return said

    def _nearest(self, app: App, others: Sequence[Record]) -> dict[str, Any] | None:
        """Return the request that fails the fewest conditions, and the differences."""
        match, best = self._wanted.match, None
        for record in others:
            chat = record.chat(app)
            differences = list(differences_of(match, chat))
            rank = -len(differences), likeness(match, chat), record.entry.number
            if differences and (best is None or rank > best[0]):
                best = rank, record, differences
        return best and {"request": best[1].shown(), "differences": best[2]}


def _spoken(count: Range) -> str:
    if count.min == count.max:
        return str(count.min)
    if count.max is None:
        return f"at least {count.min}"
    return f"at most {count.max}" if not count.min else f"{count.min} to {count.max}"
