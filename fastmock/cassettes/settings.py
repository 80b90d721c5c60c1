"""Settings of replaying cassettes and of recording them."""

import re
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fastmock.core.section import SettingsModel

Component = Literal[
    "model", "instructions", "conversation", "tools", "sampling", "response_format", "other"
]  # fmt: skip
COMPONENTS: tuple[Component, ...] = get_args(Component)
"""The components of a request, in the order of their hashes."""

SLOWEST, FASTEST = 0.001, 1_000_000.0
"""Bounds of the speed of replaying, besides 0."""


def is_speed(value: float) -> bool:
    """Return whether answers can be replayed at a speed."""
    return value == 0 or SLOWEST <= value <= FASTEST


def _check_speed(value: float) -> float:
    if not is_speed(value):
        raise ValueError(f"must be 0, or from {SLOWEST:g} to {FASTEST:g}")
    return value


Speed = Annotated[float, AfterValidator(_check_speed)]


def _text_is_list(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _is_regex(text: str) -> str:
    try:
        re.compile(text.encode())
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return text


def _is_base_url(text: str) -> str:
    """Check the URL of an upstream."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be a URL such as https://host or http://127.0.0.1:8000")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("must be a URL without user, password, query and fragment")
    return text.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_is_base_url)]


class Cassettes(SettingsModel):
    """Cassettes to replay: recorded answers for the requests that they recorded.

    Rules have precedence where one matches and its priority is not below `cassettes.priority`.
    """

    files: Annotated[list[str], BeforeValidator(_text_is_list, json_schema_input_type=str | list[str])] = Field(
        [],
        description="Cassettes: files, or directories with `*.jsonl` files; a text has commas between them.",
        json_schema_extra={"flag": "--cassettes"},
    )
    match: list[Component] = Field(
        [name for name in COMPONENTS if name != "sampling"],
        min_length=1,
        description="Components of a request that must agree with the recorded one; others that differ are drift.",
    )
    normalize: list[Annotated[str, AfterValidator(_is_regex)]] = Field(
        [],
        max_length=100,
        description="Regular expressions of what may differ, beside dates, UUIDs and ids of earlier answers.",
    )
    repeats: Literal["last", "error", "cycle"] = Field(
        "last",
        description="Reply to a request repeated more often than recorded: the `last` recording again, an `error`, or "
        "`cycle` from the first.",
    )
    speed: Speed = Field(
        0.0,
        description="Speed of replaying: 1 as recorded, 2 twice as fast; 0 sends everything at once.",
        json_schema_extra={"flag": "--replay-speed"},
    )
    ids: Literal["recorded", "fresh"] = Field(
        "recorded", description="Ids in replayed answers: as `recorded`, or `fresh` for each request."
    )
    on_miss: Literal["error", "generate"] = Field(
        "error",
        description="Reply to a request that is not recorded and matches no rule: an `error` with the nearest "
        "recording, or `generate` as without cassettes.",
    )
    priority: int = Field(0, description="Priority of recordings among rules; at equal priority the rule wins.")
    lenient: bool = Field(False, description="Leave damaged lines out with a warning, instead of refusing to start.")


class Upstream(SettingsModel):
    """The upstream of one provider."""

    url: BaseUrl = Field(description="URL of the upstream, without the path of an endpoint.")
    key_env: str | None = Field(
        None, description="Environment variable with the API key for the upstream; without it the request's own."
    )


class Record(SettingsModel):
    """Record the answers of an upstream, to which requests are forwarded (Granian only; needs the extra `record`)."""

    to: str | None = Field(
        None,
        description="Directory to write cassettes to, or a `.jsonl` file; turns recording on.",
        json_schema_extra={"flag": "--record-to", "restart": True},
    )
    requests: Literal["all", "unmatched"] = Field(
        "all",
        description="Requests to forward: `all`, or those that no recording and no rule matches.",
        json_schema_extra={"flag": "--record-requests", "restart": True},
    )
    upstream: BaseUrl | None = Field(
        None,
        description="URL of the upstream for all providers without their own; by default the provider's public API.",
        json_schema_extra={"flag": "--upstream", "restart": True},
    )
    upstream_key_env: str | None = Field(
        None,
        description="Environment variable with the API key for that upstream; without it the request's own key.",
        json_schema_extra={"flag": "--upstream-key-env", "restart": True},
    )
    upstreams: dict[str, Upstream] = Field(
        {}, description="Upstreams by the name of the provider.", json_schema_extra={"restart": True}
    )
    headers: list[str] = Field(
        [],
        description="Further headers of requests and answers to record; all but the known ones are left out.",
        json_schema_extra={"restart": True},
    )
    timeout: float = Field(
        600.0,
        gt=0,
        le=86_400,
        description="Seconds that an upstream may take for each part of its answer.",
        json_schema_extra={"restart": True},
    )
    max_bytes: int = Field(
        32 << 20,
        ge=1,
        le=2**31 - 1,
        description="Largest answer to record, in bytes; a longer one is relayed alone.",
        json_schema_extra={"restart": True},
    )
    allow_in_ci: bool = Field(
        False,
        description="Record although the variable `CI` says that this is continuous integration.",
        json_schema_extra={"flag": "--allow-record", "restart": True},
    )

    @model_validator(mode="after")
    def _needs_a_place(self) -> "Record":
        if self.to is None and (self.upstream is not None or self.upstreams):
            raise ValueError("'upstream' needs 'to', the place of the cassettes")
        if self.to is None and self.requests != "all":
            raise ValueError(f"'requests: {self.requests}' needs 'to', the place of the cassettes")
        return self

    @property
    def forwards(self) -> bool | None:
        """Whether all requests are forwarded; False for unmatched ones, None for none."""
        return None if self.to is None else self.requests == "all"

    def upstream_of(self, provider: str, public: str) -> Upstream | None:
        """Return the upstream of a provider; ``public`` is the address of its public API, empty without one."""
        if (own := self.upstreams.get(provider)) is not None:
            return own
        url = self.upstream or public
        return Upstream(url=url, key_env=self.upstream_key_env) if url else None


def _files_are_cassettes(value: Any) -> Any:
    return {"files": value} if isinstance(value, str | list) else value


CassettesOrFiles = Annotated[
    Cassettes, BeforeValidator(_files_are_cassettes, json_schema_input_type=str | list[str] | Cassettes)
]
"""Settings of cassettes, or a list of files in place of them."""
