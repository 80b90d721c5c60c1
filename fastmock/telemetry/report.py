"""The report: how often each rule was used, and the requests that no rule matched."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastmock.app import App
from fastmock.cassettes.replay import CassetteUse
from fastmock.engine.plain_rules import PlainRules
from fastmock.engine.recorded_routes import FORWARDED_KEY, MISS, MISS_KEY, RECORDED_KEY, REPLAYED_KEY
from fastmock.engine.rule_set import RuleSet
from fastmock.findings.attempts import clients_of
from fastmock.findings.finding import Context, Finding, findings_of
from fastmock.findings.registry import KINDS
from fastmock.rules.index import DEFAULT
from fastmock.shared.rule_hits import RuleHits
from fastmock.telemetry.journal import Journal, Record

_MOST_MISSES = 100  # different requests without a rule that are shown
_LONGEST_MESSAGE = 200  # characters
_MOST_WATCHED = 20_000  # requests, the latest, in which findings are searched for


@dataclass(frozen=True, slots=True)
class RuleUse:
    """How often a rule was used.

    Attributes:
        name: the name of the rule.
        endpoint: the section of its settings.
        session: its session; empty for all.
        hits: the number of requests that it answered.
    """

    name: str
    endpoint: str
    session: str
    hits: int


@dataclass(frozen=True, slots=True)
class Miss:
    """Equal requests that no rule matched.

    Attributes:
        count: their number.
        number: the number of the last one in the journal.
        endpoint, model, message: the kind of endpoint, the model, and the last message of the user.
        status: the status of the response.
        nearest: the name of the nearest rule; None without rules.
        differences: the conditions that it fails, as sentences.
    """

    count: int
    number: int
    endpoint: str
    model: str
    message: str
    status: int
    nearest: str | None
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecorderUse:
    """The requests that upstreams answered, and those of the answers that were recorded.

    Attributes:
        to: the place of the cassettes.
        forwarded, recorded: their numbers.
    """

    to: str
    forwarded: int
    recorded: int


@dataclass(frozen=True, slots=True)
class Report:
    """The report on all requests, or on those of a session.

    Attributes:
        session: the session; empty for all.
        matched: the number of requests that rules answered, of those that are active now.
        unmatched: the number of requests that no rule matched.
        misses: those of them that are in the journal, equal ones together, the latest first.
        rules: the use of each rule; for a session, of its own.
        journal: whether the journal is on; without it, ``misses`` is empty, and a session's requests are not known.
        cassettes: the use of the cassettes, over all sessions that share them; None without any.
        recorder: what a recorder did; None if nothing is recorded.
        findings: the findings about clients; None if no request is watched for them.
        lost: the number of requests that the journal had no room for.
        next: the number that the next request in the journal will get; 0 if servers share a store, since each numbers
            the requests by itself.
    """

    session: str
    matched: int
    unmatched: int
    misses: Sequence[Miss]
    rules: Sequence[RuleUse]
    journal: bool
    findings: Sequence[Finding] | None
    lost: int
    next: int
    cassettes: CassetteUse | None = None
    recorder: RecorderUse | None = None

    @property
    def failures(self) -> list[Finding]:
        """The findings that count as failures."""
        return [one for one in self.findings or () if one.fails]

    @property
    def unused_recordings(self) -> bool:
        """Whether there are recordings that were never replayed."""
        return self.cassettes is not None and self.cassettes.replayed < self.cassettes.recordings

    @property
    def unused(self) -> list[RuleUse]:
        """The rules that were never used."""
        return [rule for rule in self.rules if not rule.hits]

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {**asdict(self), "unused": [rule.name for rule in self.unused]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Report":
        """Return the report that was written as JSON."""
        values = {name: data[name] for name in cls.__dataclass_fields__ if name not in ("cassettes", "recorder")}
        values["misses"] = [Miss(**{**miss, "differences": tuple(miss["differences"])}) for miss in data["misses"]]
        values["rules"] = [RuleUse(**rule) for rule in data["rules"]]
        if data["findings"] is not None:
            values["findings"] = [Finding(**{**one, "requests": tuple(one["requests"])}) for one in data["findings"]]
        if data.get("cassettes") is not None:
            values["cassettes"] = CassetteUse.from_json(data["cassettes"])
        if data.get("recorder") is not None:
            values["recorder"] = RecorderUse(**data["recorder"])
        return cls(**values)


def report_on(app: App, journal: Journal, session: str = "", since: int = 0, is_final: bool = False) -> Report:
    """Return the report on a server that serves ``app``; its counts are those of all workers.

    Args:
        app: the active App.
        journal: its journal.
        session: the session to report on; empty for all.
        since: the number of the first request in the journal to report on.
        is_final: whether the clients are done, so that a retry that is missing will not come.
    """
    rules = [use for one in app.responders for use in _uses(one.rules, one.hits, session)]
    rules += [use for one in app.plain_rules for use in _uses(one, one.hits, session)]
    enabled = app.config.settings.journal.enabled
    names = {MISS, *(one.rules.names[DEFAULT] for one in app.responders)}
    hits = app.responders[0].hits
    end = max(journal.ring_buffer.written, since) if enabled and not journal.is_shared else 0
    latest = journal.latest(since) if enabled else ()
    records = [one for one in latest if session in ("", one.head["session"])]
    missed = [record for record in records if record.head["rule"] in names]
    if session:
        unmatched, matched = len(missed), sum(bool(one.head["rule"]) for one in records) - len(missed)
    else:
        unmatched, matched = (
            sum(one.hits.counted(one.rules.key(DEFAULT)) for one in app.responders) + hits.counted(MISS_KEY),
            sum(rule.hits for rule in rules) + hits.counted(REPLAYED_KEY),
        )
    misses = list(_misses(app, missed))
    lost = journal.state()["lost"] if enabled else 0
    findings = _findings(app, records, is_final) if app.config.watch.any and enabled else None
    replayer = app.replayer_of(session)
    cassettes = None if replayer is None else replayer.use()
    to = app.config.settings.record.to
    recorder = None if to is None else RecorderUse(to, hits.counted(FORWARDED_KEY), hits.counted(RECORDED_KEY))
    return Report(session, matched, unmatched, misses, rules, enabled, findings, lost, end, cassettes, recorder)


def _findings(app: App, records: Sequence[Record], is_final: bool) -> list[Finding]:
    """Return the findings in requests of the journal, the latest first."""
    attempts = [record.attempt(app) for record in records[:_MOST_WATCHED] if record.facts is not None]
    context = Context(app.config.settings.findings, time.time(), is_final)
    return findings_of(clients_of(attempts), context, KINDS)


def _uses(rules: RuleSet | PlainRules[Any], hits: RuleHits, session: str) -> Iterator[RuleUse]:
    """Yield the use of the rules of a session, or of all."""
    for number, rule in enumerate(rules.rules):
        of = rule.match.session or ""
        if not session or of == session:
            yield RuleUse(rules.names[number], rules.section, of, hits.counted(rules.key(number)))


def _misses(app: App, missed: Sequence[Record]) -> Iterator[Miss]:
    """Yield the requests that no rule matched, equal ones together."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in missed:
        chat = record.chat(app)
        groups.setdefault((chat.endpoint, chat.model, chat.user_message[:_LONGEST_MESSAGE]), []).append(record)
    for (endpoint, model, message), records in list(groups.items())[:_MOST_MISSES]:
        last = records[0]
        nearest = last.nearest(app)
        yield Miss(
            len(records),
            last.entry.number,
            endpoint,
            model,
            message,
            last.head["status"],
            nearest.get("nearest"),
            tuple(nearest.get("differences", ())),
        )
