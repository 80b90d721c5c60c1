"""The settings of metrics."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from fastmock.core.section import SettingsModel

Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]


def _number_is_constant(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"shape": "constant", "value": value} if is_number else value


class MetricScript(SettingsModel):
    """The values of a gauge over time."""

    shape: Literal["constant", "ramp", "square", "oscillation"] = Field(
        description="`constant` stays, `ramp` goes from `start` to `end` and stays, `square` jumps between `low` and "
        "`high`, `oscillation` is a sine between them; both begin with `low`."
    )
    value: Number | None = Field(None, description="Value of a `constant`.")
    start: Number | None = Field(None, description="Value at the beginning of a `ramp`.")
    end: Number | None = Field(None, description="Value at the end of a `ramp`.")
    seconds: Seconds | None = Field(None, description="Seconds that a `ramp` takes.")
    low: Number | None = Field(None, description="Lowest value of a `square` or `oscillation`.")
    high: Number | None = Field(None, description="Highest value of a `square` or `oscillation`.")
    period: Seconds | None = Field(None, description="Seconds from one low value to the next.")
    labels: dict[str, str] = Field({}, description="Labels of the metric; by default those of the server's own.")

    @model_validator(mode="after")
    def _has_the_values_of_its_shape(self) -> Self:
        names = _VALUES_OF[self.shape]
        given = self.model_fields_set - {"shape", "labels"}
        for name in names:
            if getattr(self, name) is None:
                raise ValueError(f"a {self.shape} needs {name!r}")
        if other := sorted(given.difference(names)):
            raise ValueError(f"a {self.shape} does not take {other[0]!r}, but {', '.join(map(repr, names))}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("needs 'low' <= 'high'")
        return self

    def at(self, elapsed: float) -> float:
        """Return the value after so many seconds."""
        start, end, low, high = self.start or 0.0, self.end or 0.0, self.low or 0.0, self.high or 0.0
        if self.shape == "constant":
            return self.value or 0.0
        if self.shape == "ramp":
            return start + (end - start) * min(1.0, elapsed / (self.seconds or 1.0))
        part = elapsed / (self.period or 1.0) % 1.0
        if self.shape == "square":
            return low if part < 0.5 else high
        return low + (high - low) * (1 - math.cos(2 * math.pi * part)) / 2


_VALUES_OF = {
    "constant": ("value",),
    "ramp": ("start", "end", "seconds"),
    "square": ("low", "high", "period"),
    "oscillation": ("low", "high", "period"),
}
Script = Annotated[MetricScript, BeforeValidator(_number_is_constant, json_schema_input_type=float | MetricScript)]
MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$", max_length=200)]


class MetricsSettings(SettingsModel):
    """Prometheus metrics at `GET /metrics`; they need the extra `metrics`."""

    enabled: bool = Field(False, description="Enable Prometheus metrics at `GET /metrics`.")
    vllm: bool = Field(
        False, description="Expose metrics under vLLM-compatible names too; also enables `GET /metrics`."
    )
    script: dict[MetricName, Script] = Field(
        {},
        max_length=64,
        description="Values of gauges over time, by name, for rehearsing autoscalers: new ones, or in place of the "
        "server's own; also enables `GET /metrics`.",
    )

    @property
    def any(self) -> bool:
        """Whether any metrics are enabled."""
        return self.enabled or self.vllm or bool(self.script)
