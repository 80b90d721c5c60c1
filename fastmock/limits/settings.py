"""The settings of rate limits and of overload."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fastmock.core.section import SettingsModel

Most = Annotated[int, Field(ge=1, le=1_000_000_000)]


class Rates(SettingsModel):
    """How much is let through."""

    requests_per_minute: Most | None = Field(None, description="Requests a minute (RPM).")
    requests_per_day: Most | None = Field(None, description="Requests a day (RPD).")
    tokens_per_minute: Most | None = Field(None, description="Tokens a minute, of prompts and answers (TPM).")
    tokens_per_day: Most | None = Field(None, description="Tokens a day (TPD).")
    input_tokens_per_minute: Most | None = Field(None, description="Tokens of prompts a minute, as Anthropic has it.")
    output_tokens_per_minute: Most | None = Field(None, description="Tokens of answers a minute, likewise.")
    quota_requests: Most | None = Field(None, description="Requests in all; then the quota is exhausted.")
    quota_tokens: Most | None = Field(None, description="Tokens in all; then the quota is exhausted.")


class KeyRates(Rates):
    """What is let through instead for some keys and models."""

    api_key: str | None = Field(None, description="For this API key, or glob; each key has limits of its own.")
    model: str | None = Field(None, description="For this model, or glob; the models of one glob share the limits.")


class Limits(Rates):
    """Rate limits, for each API key apart; what is not given is not limited."""

    per: list[KeyRates] = Field(
        [],
        max_length=1000,
        description="What holds instead for some keys and models: the first that fits a request.",
    )
    algorithm: Literal["token_bucket", "fixed_window"] = Field(
        "token_bucket",
        description="`token_bucket` is refilled all the time; `fixed_window` is full again at once when a minute, or a "
        "day, is over.",
    )
    quantize: bool = Field(
        False, description="Whether 60 requests a minute are held to 1 a second (for the bucket); tokens are not."
    )
    estimate: Literal["max", "sum"] = Field(
        "max",
        description="What a request is taken for before its tokens are known: the larger of its prompt and its "
        "`max_tokens`, or their sum.",
    )
    count_refused: bool = Field(False, description="Whether requests that are refused count too.")
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
    status: Literal[503, 429] = Field(503, description="With what.")
