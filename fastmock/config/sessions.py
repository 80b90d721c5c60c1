"""Settings of a session, set while the server runs."""

from typing import Any

from pydantic import Field, ValidationError

from fastmock.config.errors import describe
from fastmock.core.problems import ConfigError, Problem, dotted
from fastmock.core.section import SettingsModel
from fastmock.rules.strict import Strictness


class SessionSettings(SettingsModel):
    """Settings that apply to the requests of one session."""

    strict: Strictness | None = Field(None, description="Strict mode for this session, as `responses.strict`.")


def session_settings(given: Any) -> SessionSettings:
    """Parse settings as sent; raise ConfigError with all errors."""
    if not isinstance(given, dict):
        raise ConfigError([Problem("", "", "must be an object")])
    try:
        return SessionSettings.model_validate(given)
    except ValidationError as error:
        problems = [
            Problem("", dotted(detail["loc"]), describe(detail, model=SessionSettings)) for detail in error.errors()
        ]
        raise ConfigError(problems) from None
