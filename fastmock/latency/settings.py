"""Settings of latency: distributions, latency, heartbeats."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fastmock.core.section import SettingsModel
from fastmock.latency.presets import PresetName


def _number_is_amount(value: Any) -> Any:
    """Accept a number, also as text from an environment variable, as a constant."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return {"mean": value}
    return {"mean": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Distribution(SettingsModel):
    """A constant number, or a distribution from which a new value is drawn each time."""

    distribution: Literal["constant", "normal", "lognormal", "uniform", "gamma"] = Field(
        "constant",
        description="Type of distribution: `constant`, `normal` (truncated), `lognormal`, `uniform` or `gamma`.",
    )
    mean: float | None = Field(None, ge=0, le=1e9, description="Mean of the distribution; the value of a constant.")
    std: float | None = Field(None, ge=0, le=1e9, description="Standard deviation of the distribution.")
    min: float | None = Field(
        None, ge=0, le=1e9, description="Smallest value; by default 0.3 times the mean for `normal`."
    )
    max: float | None = Field(
        None, ge=0, le=1e9, description="Largest value; by default 1.7 times the mean for `normal`."
    )
    file: str | None = Field(
        None, description="File of recorded samples to draw from: a JSON or YAML list, or one number per line."
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "Distribution":
        given = [name for name in ("mean", "std", "min", "max", "file") if getattr(self, name) is not None]
        if self.file is not None:
            if len(given) > 1 or "distribution" in self.model_fields_set:
                raise ValueError("'file' cannot be combined with other parts")
            return self
        needs = {"constant": ("mean",), "uniform": ("min", "max")}.get(self.distribution, ("mean", "std"))
        takes = (*needs, "min", "max") if self.distribution == "normal" else needs
        missing = [name for name in needs if name not in given]
        surplus = [name for name in given if name not in takes]
        if missing:
            raise ValueError(f"{self.distribution} needs {' and '.join(map(repr, missing))}")
        if surplus:
            raise ValueError(f"{self.distribution} does not take {' and '.join(map(repr, surplus))}")
        if self.distribution in ("lognormal", "gamma") and not (self.mean and self.std):
            raise ValueError(f"{self.distribution} needs a 'mean' and a 'std' above 0")
        low, high = self.bounds()
        if low > high or (self.distribution == "normal" and self.std and not low <= (self.mean or 0) <= high):
            raise ValueError("needs 'min' <= 'mean' <= 'max'" if "mean" in takes else "needs 'min' <= 'max'")
        return self

    @property
    def varies(self) -> bool:
        """Whether the value is random."""
        return self.file is not None or self.distribution != "constant"

    def bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest value, of a uniform or a normal distribution."""
        mean = self.mean or 0.0
        return (
            0.3 * mean if self.min is None else self.min,
            1.7 * mean if self.max is None else self.max,
        )


NumberOrAmount = Annotated[
    Distribution, BeforeValidator(_number_is_amount, json_schema_input_type=float | Distribution)
]


class Latency(SettingsModel):
    """Latency of responses; unset values come from the level above."""

    preset: PresetName | None = Field(
        None, description="Preset of illustrative values, named after a class of model; the other settings override it."
    )
    ttft: NumberOrAmount | None = Field(
        None, description="Time to first token (TTFT): milliseconds from the request to the first token."
    )
    itl: NumberOrAmount | None = Field(
        None, description="Inter-token latency (ITL): milliseconds between two tokens, drawn anew for each."
    )
    tokens_per_second: NumberOrAmount | None = Field(
        None, description="Tokens per second of a response, drawn once for each; instead of `itl`."
    )
    prefill_ms_per_token: float | None = Field(
        None,
        ge=0,
        le=600_000,
        description="Milliseconds added to the time to first token for each prompt token.",
    )
    time_factor_under_load: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="Largest factor on latency under load, reached with `saturation_concurrency` responses in flight.",
    )
    saturation_concurrency: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Number of responses in flight, over all workers, at which that factor is reached.",
    )

    @model_validator(mode="after")
    def _fits(self) -> "Latency":
        if self.itl is not None and self.tokens_per_second is not None:
            raise ValueError("takes 'itl' or 'tokens_per_second', not both")
        speed = self.tokens_per_second
        if speed is not None and speed.file is None and not (speed.mean or speed.max):
            raise ValueError("needs 'tokens_per_second' above 0")
        return self


def _number_is_heartbeat(value: Any) -> Any:
    return {"interval": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Heartbeat(SettingsModel):
    """Heartbeats in a stream that waits for its first token, or stalls."""

    interval: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Seconds between heartbeats while nothing else is sent; unset disables them.",
    )
    form: Literal["comment", "ping"] | None = Field(
        None,
        description="Form of heartbeats: `comment` (the default), which every SSE client ignores, or `ping`, an event "
        "of the Messages API. Other APIs always get comments.",
    )


NumberOrHeartbeat = Annotated[
    Heartbeat, BeforeValidator(_number_is_heartbeat, json_schema_input_type=float | Heartbeat)
]
