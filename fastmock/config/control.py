"""Settings of the control API, the dashboard and the journal."""

from pydantic import Field, field_validator, model_validator

from fastmock.core.section import SettingsModel


class Admin(SettingsModel):
    """The control API, below `/fastmock/`, and the dashboard at `/`."""

    enabled: bool = Field(
        True, description="Enable the control API and the dashboard.", json_schema_extra={"restart": True}
    )
    token: str | None = Field(
        None,
        min_length=1,
        description="Bearer token of the control API. Without one the control API accepts requests from this machine "
        "only; if it listens on other addresses, a token is generated and printed at startup.",
        repr=False,
    )
    port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Separate port for the control API and the dashboard; 0 takes a free one.",
        json_schema_extra={"flag": "--admin-port", "restart": True},
    )

    host: str | None = Field(
        None,
        min_length=1,
        description="Name or address to listen on at `admin.port`; without it `server.host`. No token is needed on a "
        "loopback address.",
        json_schema_extra={"flag": "--admin-host", "restart": True},
    )
    files: bool = Field(
        False,
        description=(
            "Let the control API name further files below the directory of the configuration file; "
            "read at startup only."
        ),
        json_schema_extra={"restart": True},
    )

    @model_validator(mode="after")
    def _host_has_a_port(self) -> "Admin":
        if self.host is not None and self.port is None:
            raise ValueError("'host' needs 'port', the control API's own port")
        return self

    @field_validator("token")
    @classmethod
    def _can_be_sent(cls, token: str | None) -> str | None:
        if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
            raise ValueError("must be printable ASCII because it is sent in a header")
        return token


class Journal(SettingsModel):
    """A record of recent requests, kept in memory for the control API."""

    enabled: bool = Field(False, description="Enable the journal of requests.")
    size: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Number of requests kept, over all workers.",
        json_schema_extra={"restart": True},
    )
    max_body_bytes: int = Field(
        16_384,
        ge=0,
        le=16_777_216,
        description="Number of bytes kept of each body; longer bodies are cut.",
        json_schema_extra={"restart": True},
    )
