"""Settings of the store that several servers share."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from fastmock.core.section import SettingsModel


class Store(SettingsModel):
    """A Valkey or Redis that several servers share, so that they act as one (needs the extra `redis`).

    They share limits, counted faults, rules and settings changed while they run, and the journal.
    """

    url: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description="URL of the store, such as `redis://:password@host:6379/0`; `rediss://` uses TLS, "
        "`redis+sentinel://host:26379/NAME/0` asks Sentinels, `redis+cluster://host:6379` is for a cluster.",
        json_schema_extra={"flag": "--store", "restart": True},
    )
    prefix: str = Field(
        "fastmock",
        pattern=r"^[A-Za-z0-9._:-]{1,64}$",
        description="Prefix of all keys in the store; each deployment needs its own.",
        json_schema_extra={"restart": True},
    )
    max_lag: float = Field(
        100.0,
        ge=1,
        le=60_000,
        description="Milliseconds to wait for all servers to obey a change; the response names those that did not.",
        json_schema_extra={"restart": True},
    )


def _url_is_store(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


StoreOrUrl = Annotated[Store, BeforeValidator(_url_is_store, json_schema_input_type=str | Store)]
"""Settings of the store, or its URL in place of them."""
