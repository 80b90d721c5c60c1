"""Settings of the findings, and the sessions that are watched for them."""

from typing import NamedTuple

from pydantic import Field

from fastmock.core.section import SettingsModel


class Findings(SettingsModel):
    """Findings about the clients: retries that are too early or hopeless, truncated answers that are used, and others.

    They are part of the report.
    """

    enabled: bool = Field(
        False,
        description="Watch all requests for findings; turns the journal on.",
        json_schema_extra={"flag": "--findings"},
    )
    max_attempts: int = Field(
        5, ge=1, description="Attempts of one call, the first one included; more are a retry storm."
    )
    max_concurrent: int = Field(
        3, ge=2, description="Equal requests in flight at once from which a missing cache is reported."
    )


class WatchedSessions(NamedTuple):
    """The requests that are watched for findings.

    Attributes:
        everything: whether all are.
        sessions: else the sessions whose requests are.
    """

    everything: bool
    sessions: frozenset[str]

    @property
    def any(self) -> bool:
        """Whether any request is watched."""
        return self.everything or bool(self.sessions)

    def includes(self, session: str) -> bool:
        """Return whether the requests of a session are watched; that of requests without one is empty."""
        return self.everything or session in self.sessions


NOTHING_WATCHED = WatchedSessions(False, frozenset())
"""No request is watched."""
