"""Settings of latency: amounts and their distributions, latency, heartbeats."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fastmock.core.section import SettingsModel
from fastmock.latency.presets import PresetName


def _number_is_amount(value: Any) -> Any:
    """Take a number, also one from a variable of the environment, for a constant amount."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return {"mean": value}
    return {"mean": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Distribution(SettingsModel):
    """An amount that is the same every time, or drawn anew from a distribution each time it is needed."""

    distribution: Literal["constant", "normal", "lognormal", "uniform", "gamma"] = Field(
        "constant", description="`constant`, `normal` (truncated), `lognormal`, `uniform` or `gamma`."
    )
    mean: float | None = Field(None, ge=0, le=1e9, description="The mean; of a constant, the value.")
    std: float | None = Field(None, ge=0, le=1e9, description="The standard deviation.")
    min: float | None = Field(
        None, ge=0, le=1e9, description="The least; of a normal, where it is cut (0.3 times the mean)."
    )
    max: float | None = Field(
        None, ge=0, le=1e9, description="The most; of a normal, where it is cut (1.7 times the mean)."
    )
    file: str | None = Field(
        None, description="A file of recorded samples, one of which is drawn: a JSON or YAML list, or a number a line."
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "Distribution":
        given = [name for name in ("mean", "std", "min", "max", "file") if getattr(self, name) is not None]
        if self.file is not None:
            if len(given) > 1 or "distribution" in self.model_fields_set:
                raise ValueError("a 'file' of samples goes with nothing else")
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
        """Whether it is drawn."""
        return self.file is not None or self.distribution != "constant"

    def bounds(self) -> tuple[float, float]:
        """Return the least and the most that is drawn, of a uniform or a normal distribution."""
        mean = self.mean or 0.0
        return (
            0.3 * mean if self.min is None else self.min,
            1.7 * mean if self.max is None else self.max,
        )


NumberOrAmount = Annotated[
    Distribution, BeforeValidator(_number_is_amount, json_schema_input_type=float | Distribution)
]


class Latency(SettingsModel):
    """How long answers take; what is not given comes from the level above."""

    preset: PresetName | None = Field(
        None, description="A set of values to begin with, illustrative ones named after a class of model."
    )
    ttft: NumberOrAmount | None = Field(
        None, description="Time to first token: milliseconds from the request to the first piece of the answer."
    )
    itl: NumberOrAmount | None = Field(
        None, description="Inter-token latency: milliseconds from token to token, drawn anew for each."
    )
    tokens_per_second: NumberOrAmount | None = Field(
        None, description="Instead of `itl`: the speed of an answer, drawn once for each."
    )
    prefill_ms_per_token: float | None = Field(
        None,
        ge=0,
        le=600_000,
        description="Milliseconds that each token of the prompt adds to the time to first token.",
    )
    time_factor_under_load: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="Everything takes up to this many times as long as answers in flight near `max_concurrent`.",
    )
    max_concurrent: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Answers in flight, over all workers, at which that factor is reached.",
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
    """Signs of life in a stream that waits for its first token, or stalls."""

    interval: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Seconds between heartbeats while nothing else is sent; without it there are none.",
    )
    form: Literal["comment", "ping"] | None = Field(
        None,
        description="`comment` (the default), which every client of server-sent events skips; or `ping`, Anthropic's "
        "event. Streams of other APIs have comments in any case.",
    )


NumberOrHeartbeat = Annotated[
    Heartbeat, BeforeValidator(_number_is_heartbeat, json_schema_input_type=float | Heartbeat)
]
