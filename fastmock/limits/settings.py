"""The settings of rate limits and of overload."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fastmock.core.section import SettingsModel

Most = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Rates(SettingsModel):
    """How much is let through."""

    requests_per_minute: Most | None = Field(None, description="Limit of requests per minute (RPM).")
    requests_per_day: Most | None = Field(None, description="Limit of requests per day (RPD).")
    tokens_per_minute: Most | None = Field(None, description="Tokens a minute, of prompts and answers (TPM).")
    tokens_per_day: Most | None = Field(None, description="Limit of tokens per day (TPD).")
    input_tokens_per_minute: Most | None = Field(None, description="Tokens of prompts a minute, as Anthropic has it.")
    output_tokens_per_minute: Most | None = Field(None, description="Tokens of answers a minute, likewise.")
    quota_requests: Most | None = Field(None, description="Requests in all; then the quota is exhausted.")
    quota_tokens: Most | None = Field(None, description="Tokens in all; then the quota is exhausted.")


class KeyRates(Rates):
    """What is let through instead for some keys and models."""

    api_key: str | None = Field(
        None, description="API key or glob that the entry is for; each key has limits of its own."
    )
    model: str | None = Field(
        None, description="Model or glob that the entry is for; the models of one glob share the limits."
    )


class Limits(Rates):
    """Rate limits, for each API key apart; what is not given is not limited."""

    per: list[KeyRates] = Field(
        [],
        max_length=1000,
        description="Limits for certain keys and models instead of these; the first entry that fits a request holds.",
    )
    algorithm: Literal["token_bucket", "fixed_window"] = Field(
        "token_bucket",
        description="`token_bucket` is refilled all the time; `fixed_window` is full again at once when a minute, or a "
        "day, is over.",
    )
    quantize: bool = Field(
        False, description="Hold 60 requests a minute to 1 a second (token bucket only); tokens are not quantized."
    )
    estimate: Literal["max", "sum"] = Field(
        "max",
        description=(
            "Estimated cost of a request before its tokens are known: the larger of its "
            "prompt and its `max_tokens`, or their sum."
        ),
    )
    count_refused: bool = Field(False, description="Count refused requests too.")
    store: str | None = Field(
        None,
        description="A Valkey or Redis for several machines, `redis://host:6379/0` (it takes the extra `redis`); "
        "without it each machine has its own. The control API cannot change it.",
    )

    @model_validator(mode="after")
    def _fits(self) -> "Limits":
        if self.quantize and self.algorithm != "token_bucket":
            raise ValueError("takes 'quantize' with the token bucket alone")
        return self


class Overload(SettingsModel):
    """How much is answered at once; answers that take no time are not counted."""

    max_concurrent: int | None = Field(
        None, ge=1, le=32_768, description="Requests that are being answered at a time, by all workers together."
    )
    max_queue: int = Field(1024, ge=0, le=32_768, description="Requests that wait their turn; more are refused.")
    status: Literal[503, 429] = Field(503, description="HTTP status of refused requests.")
