"""Settings of the start and of readiness."""

from pydantic import Field, field_validator

from fastmock.core.section import SettingsModel


class Startup(SettingsModel):
    """Rehearse a slow start."""

    delay: float = Field(
        0.0, ge=0, le=86_400, description="Seconds after the start for which `GET /ready` responds with 503."
    )


class ReadinessStep(SettingsModel):
    """A time at which the server becomes ready or not."""

    at: float = Field(ge=0, le=31_536_000, description="Seconds after the start.")
    ready: bool = Field(description="Readiness of the server from then on.")


class ReadinessSettings(SettingsModel):
    """`GET /ready`, which tells load balancers whether to send requests: 200 if so, else 503."""

    ready: bool | None = Field(None, description="Readiness of the server, in place of `startup.delay` and the script.")
    script: list[ReadinessStep] = Field(
        [], max_length=1000, description="Times at which the server becomes ready or not, ascending."
    )
    drain_delay: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM for which requests are still accepted, while `GET /ready` responds with 503 "
        "already.",
        json_schema_extra={"restart": True},
    )

    @field_validator("script")
    @classmethod
    def _ascends(cls, script: list[ReadinessStep]) -> list[ReadinessStep]:
        times = [step.at for step in script]
        if times != sorted(times):
            raise ValueError("its times must ascend")
        return script
