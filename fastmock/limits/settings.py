"""Settings of rate limits and of the request queue."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fastmock.core.section import SettingsModel

Most = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Rates(SettingsModel):
    """Limits on requests and tokens."""

    requests_per_minute: Most | None = Field(None, description="Limit of requests per minute (RPM).")
    requests_per_day: Most | None = Field(None, description="Limit of requests per day (RPD).")
    tokens_per_minute: Most | None = Field(
        None, description="Limit of tokens per minute (TPM), prompts and completions together."
    )
    tokens_per_day: Most | None = Field(None, description="Limit of tokens per day (TPD).")
    input_tokens_per_minute: Most | None = Field(None, description="Limit of prompt tokens per minute (ITPM).")
    output_tokens_per_minute: Most | None = Field(None, description="Limit of completion tokens per minute (OTPM).")
    quota_requests: Most | None = Field(None, description="Total number of requests before the quota is exhausted.")
    quota_tokens: Most | None = Field(None, description="Total number of tokens before the quota is exhausted.")


class KeyRates(Rates):
    """Limits for certain API keys and models."""

    api_key: str | None = Field(
        None, description="API key, or a glob, that this entry applies to; each key is counted separately."
    )
    model: str | None = Field(
        None, description="Model, or a glob, that this entry applies to; the models of one glob share the limits."
    )


class Limits(Rates):
    """Rate limits per API key; unset limits do not apply."""

    per: list[KeyRates] = Field(
        [],
        max_length=1000,
        description="Limits for certain keys and models instead of these; the first matching entry applies.",
    )
    algorithm: Literal["token_bucket", "fixed_window"] = Field(
        "token_bucket",
        description="`token_bucket` refills continuously; `fixed_window` refills at once at the end of each minute or "
        "day.",
    )
    quantize: bool = Field(
        False,
        description="Enforce 60 requests per minute as 1 per second (token bucket only); tokens are not quantized.",
    )
    estimate: Literal["max", "sum"] = Field(
        "max",
        description=(
            "Estimated cost of a request before its tokens are known: the larger of its "
            "prompt and its `max_tokens`, or their sum."
        ),
    )
    count_refused: bool = Field(False, description="Count refused requests too.")

    @model_validator(mode="after")
    def _fits(self) -> "Limits":
        if self.quantize and self.algorithm != "token_bucket":
            raise ValueError("'quantize' needs the algorithm 'token_bucket'")
        return self


class Overload(SettingsModel):
    """Limit on concurrent requests; requests answered without delay do not count."""

    max_concurrent: int | None = Field(
        None, ge=1, le=32_768, description="Number of requests answered at the same time, over all workers."
    )
    max_queue: int = Field(
        1024, ge=0, le=32_768, description="Number of requests waiting in the queue; further ones are refused."
    )
    status: Literal[503, 429] = Field(503, description="HTTP status of refused requests.")
