"""A finding, and the kinds of findings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from fastmock.findings.attempts import Attempt, Client
from fastmock.findings.settings import Findings

Severity = Literal["error", "warning", "info"]
"""``info`` is not counted as a failure: behaviour that may be intended, or that the official SDKs show themselves."""

_MOST_SHOWN = 20  # requests of a finding


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake of a client.

    Attributes:
        kind: the kind, as ``retried_too_early``.
        severity: see Severity.
        client: the session, else a hash of the API key.
        count: how often it was seen.
        message: the first time, as a sentence.
        advice: what to do.
        requests: the numbers of the requests in the journal.
    """

    kind: str
    severity: Severity
    client: str
    count: int
    message: str
    advice: str
    requests: tuple[int, ...]

    @property
    def fails(self) -> bool:
        """Whether it counts as a failure."""
        return self.severity != "info"


class Seen(NamedTuple):
    """One occurrence of a finding: its severity, a sentence, and the requests that show it."""

    severity: Severity
    message: str
    attempts: Sequence[Attempt]


class Context(NamedTuple):
    """What a check needs besides the requests of a client.

    Attributes:
        settings: the settings.
        now: the Unix time.
        is_final: whether the clients are done, so that a retry that is missing will not come.
    """

    settings: Findings
    now: float
    is_final: bool


class Kind(NamedTuple):
    """A kind of findings.

    Attributes:
        name: its name.
        check: yields the occurrences in the requests of a client.
        advice: what to do about it.
    """

    name: str
    check: Callable[[Client, Context], Iterator[Seen]]
    advice: str


def findings_of(clients: Sequence[Client], context: Context, kinds: Sequence[Kind]) -> list[Finding]:
    """Return the findings about clients, the severest first; equal ones of a client together."""
    found: dict[tuple[str, Severity, str], list[Seen]] = {}
    for client in clients:
        for kind in kinds:
            for seen in kind.check(client, context):
                found.setdefault((kind.name, seen.severity, client.name), []).append(seen)
    advice = {kind.name: kind.advice for kind in kinds}
    findings = []
    for (name, severity, client_name), occurrences in found.items():
        numbers = sorted({attempt.number for seen in occurrences for attempt in seen.attempts})
        findings.append(
            Finding(
                name,
                severity,
                client_name,
                len(occurrences),
                occurrences[0].message,
                advice[name],
                tuple(numbers[:_MOST_SHOWN]),
            )
        )
    order = ("error", "warning", "info")
    return sorted(findings, key=lambda one: order.index(one.severity))
