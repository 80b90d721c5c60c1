"""The settings of what goes wrong on purpose: when, and what.

What each does is in the file of its name in ``fastmock/faults``.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from fastmock.core.section import Section
from fastmock.rules.match import Match

ErrorType = Literal["rate_limit", "insufficient_quota", "server_error", "bad_gateway", "service_unavailable", "timeout"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_time = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h)").fullmatch
_share = re.compile(r"(\d+(?:\.\d+)?) ?%").fullmatch


def seconds(value: Any) -> Any:
    """Read a time such as ``200ms``, ``2s``, ``5m`` or ``1h`` as seconds."""
    found = _time(value.strip()) if isinstance(value, str) else None
    return float(found[1]) * _UNITS[found[2]] if found else value


Seconds = Annotated[
    float, BeforeValidator(seconds, json_schema_input_type=float | str), Field(ge=0, le=1e7, allow_inf_nan=False)
]


class Place(Section):
    """A place in a stream: after so many events, after a time, or after a share of its events."""

    chunks: int | None = Field(None, ge=0, description="After so many events.")
    time: Seconds | None = Field(None, description="After a time.")
    share: float | None = Field(None, ge=0, le=1, description="After a share of the events.")


def _text_is_place(value: Any) -> Any:
    """Take ``3`` for chunks, ``200ms`` for a time, ``50%`` for a share."""
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
_AFTER = "Where in the stream: after so many chunks (`3`), after a time (`200ms`), after a share of them (`50%`)."
_FIRST = Place(chunks=1)


def _no_time(place: Place) -> Place:
    if place.time is not None:
        raise ValueError("must be a number of chunks or a share such as '50%': this one has a chunk that it changes")
    return place


class Window(Section):
    """When a fault may strike."""

    after: Seconds = Field(0.0, description="From so long after this configuration came into force.")
    duration: Seconds | None = Field(None, description="For so long; without it for ever.")
    period: Seconds | None = Field(None, gt=0, description="And again, every so often.")

    @model_validator(mode="after")
    def _fits(self) -> "Window":
        if self.period is not None and (self.duration is None or self.duration > self.period):
            raise ValueError("needs a 'duration' of at most the 'period'")
        return self


class Strikes(Section):
    """Something that goes wrong on purpose, and when. What is not given limits nothing."""

    match: Match | None = Field(None, description="Only for requests that look like this, as in a pattern.")
    rule: str | None = Field(None, description="Only for answers of the pattern of this name, or glob.")
    api_key: str | None = Field(None, description="Only for this API key, or glob.")
    probability: float | None = Field(
        None, ge=0, le=1, description="For this share of the requests. All faults share one draw: their rates add up."
    )
    every_nth: int | None = Field(None, ge=1, description="For every so-manyth request.")
    skip_first: int = Field(0, ge=0, description="Not for the first so many requests.")
    times: int | None = Field(None, ge=1, description="At most so many times.")
    window: Window | None = Field(None, description="Only at some times.")

    @model_validator(mode="after")
    def _one_rate(self) -> "Strikes":
        if self.probability is not None and self.every_nth is not None:
            raise ValueError("takes 'probability' or 'every_nth', not both")
        return self


class Worded(Strikes):
    """What says an error."""

    message: str | None = Field(None, description="The error's message; without it the API's own.")
    type: str | None = Field(None, description="The error's type, likewise.")
    code: str | None = Field(None, description="The error's code, likewise.")


class Status(Worded):
    """An error instead of the answer."""

    kind: Literal["status"]
    status: int | None = Field(None, ge=400, le=599, description="The HTTP status.")
    error: ErrorType | None = Field(None, description="Or one of the API's own errors, as each dialect has it.")
    retry_after: float | None = Field(None, ge=0, le=86_400, description="The header `retry-after`, in seconds.")
    retry_after_ms: float | None = Field(None, ge=0, le=86_400_000, description="The header `retry-after-ms`.")
    should_retry: bool | None = Field(None, description="The header `x-should-retry`.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Status":
        if (self.status is None) == (self.error is None):
            raise ValueError("needs 'status' or 'error', and not both")
        return self


class SlowFirstToken(Strikes):
    """The first token, or a whole answer, comes late by a time."""

    kind: Literal["slow_first_token"]
    for_: Seconds = Field(alias="for", description="How long it takes more.")


class LatencySpike(Strikes):
    """Everything takes longer."""

    kind: Literal["latency_spike"]
    factor: float = Field(10.0, ge=1, le=100_000, description="How many times as long.")


class Stall(Strikes):
    """A stream stands still."""

    kind: Literal["stall"]
    after: PlaceOrText = Field(_FIRST, description=_AFTER)
    for_: Seconds | None = Field(None, alias="for", description="For how long; without it for ever.")


class Cut(Strikes):
    """A stream ends too early."""

    kind: Literal["cut"]
    after: PlaceOrText = Field(_FIRST, description=_AFTER)
    clean: bool = Field(
        True, description="On: it ends as if it were complete, without its last events. Off: the connection is closed."
    )


class ErrorEvent(Worded):
    """A stream goes on with an error, and ends."""

    kind: Literal["error_event"]
    after: PlaceOrText = Field(_FIRST, description=_AFTER)
    status: int = Field(500, ge=400, le=599, description="The status whose error it is.")


class MalformedChunk(Strikes):
    """A chunk of a stream is no JSON."""

    kind: Literal["malformed_chunk"]
    after: PlaceOrText = Field(_FIRST, description=_AFTER)

    @model_validator(mode="after")
    def _fits(self) -> "MalformedChunk":
        _no_time(self.after)
        return self


class InvalidUtf8(Strikes):
    """A chunk of a stream, or a whole answer, is no UTF-8."""

    kind: Literal["invalid_utf8"]
    after: PlaceOrText = Field(_FIRST, description=_AFTER)

    @model_validator(mode="after")
    def _fits(self) -> "InvalidUtf8":
        _no_time(self.after)
        return self


class DuplicatedChunk(Strikes):
    """A chunk of a stream comes twice."""

    kind: Literal["duplicated_chunk"]
    after: PlaceOrText = Field(_FIRST, description=_AFTER)

    @model_validator(mode="after")
    def _fits(self) -> "DuplicatedChunk":
        _no_time(self.after)
        return self


class WrongContentType(Strikes):
    """The answer says that it is something else."""

    kind: Literal["wrong_content_type"]
    content_type: str = Field("text/html", pattern=r"^[ -~]+$", description="What it says.")


class EmptyBody(Strikes):
    """The answer has its headers, and nothing more."""

    kind: Literal["empty_body"]


class TruncatedBody(Strikes):
    """A whole answer ends too early."""

    kind: Literal["truncated_body"]
    share: float = Field(0.5, ge=0, lt=1, description="The share of it that is sent.")
    clean: bool = Field(
        True, description="On: the length that is said is that of what is sent. Off: that of the whole answer."
    )


class BrokenToolArguments(Strikes):
    """The arguments of a tool call are no JSON."""

    kind: Literal["broken_tool_arguments"]


class WrongUsage(Strikes):
    """The numbers of tokens are wrong."""

    kind: Literal["wrong_usage"]
    factor: float = Field(10.0, ge=0, le=1000, description="How many times as many tokens the answer is said to have.")


class Reset(Strikes):
    """The connection is reset."""

    kind: Literal["reset"]
    after: PlaceOrText | None = Field(None, description=f"{_AFTER} Without it before anything is answered.")


class CloseIdle(Strikes):
    """The connection is closed while it is idle after the answer, as servers do at the end of their keep-alive time: a
    client that sends its next request at that moment gets a reset."""

    kind: Literal["close_idle"]
    after_idle: Seconds = Field(0.0, description="For how long it is idle before.")


class Hang(Strikes):
    """The request is taken, and never answered."""

    kind: Literal["hang"]


AnyFault = (
    Status
    | SlowFirstToken
    | LatencySpike
    | Stall
    | Cut
    | ErrorEvent
    | MalformedChunk
    | InvalidUtf8
    | DuplicatedChunk
    | WrongContentType
    | EmptyBody
    | TruncatedBody
    | BrokenToolArguments
    | WrongUsage
    | Reset
    | CloseIdle
    | Hang
)
Fault = Annotated[AnyFault, Field(discriminator="kind")]
FAULTS: Mapping[str, type[Strikes]] = MappingProxyType(
    {get_args(fault.model_fields["kind"].annotation)[0]: fault for fault in get_args(AnyFault)}
)
"""The settings of each fault by its name."""
