"""The settings common to all faults; those of each kind are in its file in ``faults/kinds``."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from fastmock.core.section import SettingsModel
from fastmock.rules.match import Match

ErrorType = Literal["rate_limit", "insufficient_quota", "server_error", "bad_gateway", "service_unavailable", "timeout"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_time = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h)").fullmatch
_share = re.compile(r"(\d+(?:\.\d+)?) ?%").fullmatch


def seconds(value: Any) -> Any:
    """Parse a time such as ``200ms``, ``2s``, ``5m`` or ``1h`` to seconds."""
    found = _time(value.strip()) if isinstance(value, str) else None
    return float(found[1]) * _UNITS[found[2]] if found else value


Seconds = Annotated[
    float, BeforeValidator(seconds, json_schema_input_type=float | str), Field(ge=0, le=1e7, allow_inf_nan=False)
]


class Place(SettingsModel):
    """A place in a stream: after a number of events, a time, or a share of the events."""

    chunks: int | None = Field(None, ge=0, description="After so many events.")
    time: Seconds | None = Field(None, description="After a time.")
    share: float | None = Field(None, ge=0, le=1, description="After a share of the events.")


def _text_is_place(value: Any) -> Any:
    """Parse ``3`` as chunks, ``200ms`` as a time, ``50%`` as a share."""
    if isinstance(value, str):
        text = value.strip()
        if _time(text):
            return {"time": text}
        if found := _share(text):
            return {"share": float(found[1]) / 100}
        if text.isdecimal():
            return {"chunks": int(text)}
        raise ValueError("must be a number of chunks, a time such as '200ms', or a share such as '50%'")
    return {"chunks": value} if isinstance(value, int) and not isinstance(value, bool) else value


PlaceOrText = Annotated[Place, BeforeValidator(_text_is_place, json_schema_input_type=int | str)]
AFTER = "Place in the stream: after so many chunks (`3`), a time (`200ms`), or a share of the chunks (`50%`)."
"""The description of ``after``."""
FIRST = Place(chunks=1)
"""The default of ``after``."""


def without_time(place: Place) -> Place:
    """Reject a time as the place, for a fault that changes a chunk."""
    if place.time is not None:
        raise ValueError("must be a number of chunks or a share such as '50%': this one has a chunk that it changes")
    return place


class Window(SettingsModel):
    """When a fault may apply."""

    after: Seconds = Field(
        0.0, description="Time until the window opens, from when this configuration came into force."
    )
    duration: Seconds | None = Field(None, description="Length of the window; without it, it never closes.")
    period: Seconds | None = Field(None, gt=0, description="Time after which the window opens again.")

    @model_validator(mode="after")
    def _fits(self) -> "Window":
        if self.period is not None and (self.duration is None or self.duration > self.period):
            raise ValueError("needs a 'duration' of at most the 'period'")
        return self


class FaultSettings(SettingsModel):
    """Settings of any fault: matching requests and how often. A missing condition matches all requests."""

    # Nearly all are parsed as a part of the whole settings, so that validators of their own would only take memory.
    model_config = ConfigDict(defer_build=True)

    match: Match | None = Field(None, description="Apply only to requests that match these conditions, as in a rule.")
    rule: str | None = Field(None, description="Apply only to answers of the rule with this name or glob.")
    api_key: str | None = Field(None, description="Apply only to requests with this API key or glob.")
    probability: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the requests to apply to. All faults share one draw: their rates add up.",
    )
    every_nth: int | None = Field(None, ge=1, description="Apply to every Nth request.")
    skip_first: int = Field(0, ge=0, description="Number of requests at the beginning to leave alone.")
    times: int | None = Field(None, ge=1, description="Maximum number of times to apply.")
    window: Window | None = Field(None, description="Time window in which to apply.")

    @model_validator(mode="after")
    def _one_rate(self) -> "FaultSettings":
        if self.probability is not None and self.every_nth is not None:
            raise ValueError("takes 'probability' or 'every_nth', not both")
        return self


class ErrorFaultSettings(FaultSettings):
    """Settings of faults that respond with an error."""

    message: str | None = Field(None, description="Message of the error instead of the API's own.")
    type: str | None = Field(None, description="Type of the error instead of the API's own.")
    code: str | None = Field(None, description="Code of the error instead of the API's own.")
