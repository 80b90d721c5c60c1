"""Settings of sessions, set while the server runs."""

import time
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationError

from fastmock.cassettes.settings import CassettesOrFiles
from fastmock.config.errors import describe, written_path
from fastmock.core.problems import ConfigError, Problem, dotted
from fastmock.core.section import SettingsModel
from fastmock.faults.registry import AnyFaultSettings
from fastmock.latency.settings import Latency
from fastmock.limits.settings import Rates
from fastmock.rules.strict import Strictness


class SessionSettings(SettingsModel):
    """Settings that apply to the requests of one session."""

    strict: Strictness | None = Field(None, description="Strict mode for this session, as `responses.strict`.")
    faults: list[AnyFaultSettings] = Field([], description="Faults for this session, tried before all others.")
    latency: Latency | None = Field(None, description="Latency for this session; that of a rule has precedence.")
    limits: Rates | None = Field(None, description="Limits for this session instead of others, for each API key.")
    findings: bool = Field(False, description="Watch the requests of this session for findings.")
    cassettes: CassettesOrFiles | None = Field(
        None, description="Cassettes for this session instead of those of all, as `cassettes`."
    )
    _since: float = PrivateAttr(default_factory=time.monotonic)

    @property
    def since(self) -> float:
        """The time at which the settings were made, a reading of ``time.monotonic``: windows of faults begin then."""
        return self._since

    def with_faults(self, faults: list[AnyFaultSettings]) -> Self:
        """Return a copy with other faults, whose windows begin now."""
        changed = self.model_copy(update={"faults": faults})
        changed._since = time.monotonic()
        return changed


def session_settings(given: Any) -> SessionSettings:
    """Parse settings as sent; raise ConfigError with all errors."""
    if not isinstance(given, dict):
        raise ConfigError([Problem("", "", "must be an object")])
    try:
        return SessionSettings.model_validate(given)
    except ValidationError as error:
        found = [(dotted(written_path(one)), describe(one, model=SessionSettings)) for one in error.errors()]
        raise ConfigError([Problem("", path, message) for path, message in found]) from None
