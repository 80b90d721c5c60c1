"""The settings of what watches and changes a running server."""

from pydantic import Field, field_validator, model_validator

from fastmock.core.section import SettingsModel


class Admin(SettingsModel):
    """The control API, below `/fastmock/`, and the page at `/`."""

    enabled: bool = Field(True, description="Enable the control API and the dashboard.")
    token: str | None = Field(
        None,
        min_length=1,
        description="A bearer token that the control API asks for. Without one it answers only this machine, or asks "
        "for a token that is made and printed at the start where other machines can reach it.",
        repr=False,
    )
    port: int | None = Field(
        None, ge=0, le=65535, description="A port of their own, instead of `server.port`; 0 takes a free one."
    )

    host: str | None = Field(
        None,
        min_length=1,
        description="Name or address to listen on at `admin.port`; without it `server.host`. On a loopback address no "
        "token is needed.",
    )
    files: bool = Field(
        False,
        description=(
            "Let the control API name further files, below the directory of the configuration"
            " file; read at the start only."
        ),
    )

    @model_validator(mode="after")
    def _host_has_a_port(self) -> "Admin":
        if self.host is not None and self.port is None:
            raise ValueError("'host' is that of the control API's own 'port', which is not set")
        return self

    @field_validator("token")
    @classmethod
    def _can_be_sent(cls, token: str | None) -> str | None:
        if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
            raise ValueError("must be printable ASCII, for it is sent in a header")
        return token


class Journal(SettingsModel):
    """The last requests, kept in memory for whoever asks."""

    enabled: bool = Field(False, description="Enable the journal of requests.")
    size: int = Field(1000, ge=1, le=1_000_000, description="Number of requests kept, over all workers.")
    max_body_bytes: int = Field(
        16_384, ge=0, le=16_777_216, description="Bytes kept of each body; a longer one is cut."
    )
