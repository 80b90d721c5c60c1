"""The table of settings: names, types, bounds, defaults, environment names and descriptions.

The loader, the error messages, the environment variables and the reference are all derived from it. A scalar setting
``a.b`` is read from ``FASTMOCK_A_B`` (``server.port`` from ``FASTMOCK_PORT``: ``server`` is left out), and from the
names given as ``env`` in its ``json_schema_extra``.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from fastmock.cassettes.settings import Cassettes, CassettesOrFiles, Record
from fastmock.config.control import Admin, Journal
from fastmock.config.metrics import MetricsSettings
from fastmock.config.readiness import ReadinessSettings, Startup
from fastmock.content.settings import Output
from fastmock.core.errors import ModelNotFound
from fastmock.core.section import SettingsModel
from fastmock.faults.kinds.status import StatusSettings
from fastmock.faults.registry import AnyFaultSettings
from fastmock.faults.settings import ErrorType
from fastmock.findings.settings import Findings
from fastmock.latency.settings import Heartbeat, Latency, NumberOrHeartbeat
from fastmock.limits.settings import Limits, Overload
from fastmock.replication.settings import Store, StoreOrUrl
from fastmock.rules.settings import Responses, Validation


def _auto_is_zero(value: Any) -> Any:
    return 0 if value == "auto" else value


def _list_is_available(value: Any) -> Any:
    return {"available": value} if isinstance(value, list) else value


def _id_is_card(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class Server(SettingsModel):
    """Settings of the server: address, processes, connections, TLS, logging."""

    host: str = Field(
        "127.0.0.1",
        description="Name or address to listen on; `0.0.0.0` or `::` for every interface.",
        json_schema_extra={"flag": "--host", "restart": True, "env": ["MOCK_OPENAI_HOST"]},
    )
    port: int = Field(
        8080,
        ge=0,
        le=65535,
        description="TCP port; 0 takes a free one and prints it.",
        json_schema_extra={"flag": "--port", "restart": True, "env": ["MOCK_OPENAI_PORT"]},
    )
    workers: Annotated[int, BeforeValidator(_auto_is_zero, json_schema_input_type=int | Literal["auto"])] = Field(
        1,
        ge=0,
        le=1024,
        description="Worker processes; `auto` is one per core, or fewer if a container has a CPU limit.",
        json_schema_extra={"flag": "--workers", "restart": True},
    )
    runtime: Literal["auto", "robyn", "granian"] = Field(
        "auto",
        description="Rust runtime that serves HTTP: `granian` or `robyn`; `auto` is `granian`.",
        json_schema_extra={"flag": "--runtime", "restart": True},
    )
    providers: list[str] = Field(
        [],
        description="Providers to serve beside the built-in ones, each a `core.provider.Provider` named as "
        "`package.module:NAME`.",
        json_schema_extra={"restart": True},
    )
    cors_origins: list[str] = Field(
        ["*"],
        description="Origins that may call from a browser (CORS); `*` allows any, an empty list none.",
        json_schema_extra={"env": ["MOCK_OPENAI_CORS_ORIGINS"]},
    )
    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1, le=2**31 - 1, description="Largest request body in bytes; a longer one gets 413."
    )
    max_buffered_bytes: int = Field(
        96 * 1024 * 1024,
        ge=1 << 20,
        le=2**40,
        description="Bytes that request bodies in flight and large unsent responses may take together in one worker; a "
        "request beyond that gets 503 (Granian only).",
        json_schema_extra={"restart": True},
    )
    max_connections: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Open connections per worker; further ones wait in the backlog, and those idle longest are closed "
        "for new ones (Granian only). Without it 16,384, or as many as the limit of open files allows.",
        json_schema_extra={"restart": True},
    )
    request_timeout: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Seconds allowed between two pieces of a request body, or of a response being read, before the "
        "connection is closed (Granian only).",
        json_schema_extra={"restart": True},
    )
    keep_alive: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="Seconds after which an idle connection is closed (Granian only); announced in the header "
        "`keep-alive`.",
        json_schema_extra={"restart": True},
    )
    shutdown_timeout: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="Seconds that streams in flight have to finish after SIGTERM.",
        json_schema_extra={"flag": "--shutdown-timeout", "restart": True},
    )
    change_timeout: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds that a configuration change may take, by reload or control API; a slower one is rejected.",
    )
    worker_timeout: float = Field(
        10.0,
        ge=0,
        le=86_400,
        description="Seconds after which an unresponsive worker is killed and replaced; 0 never. Calls of a response "
        "manager may take any time.",
        json_schema_extra={"restart": True},
    )
    control_headers: bool = Field(
        False,
        description=("Let requests set their latency, output, fault and validation with `x-fastmock-…` headers."),
    )
    replica: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,253}$")] | None = Field(
        None,
        description="Name of this server in the header `x-fastmock-replica`, where control headers are on; by default "
        "the name of the host.",
        json_schema_extra={"restart": True},
    )
    watch: bool = Field(
        False,
        description=("Reload the configuration and its files when they change (needs the extra `watch`)."),
        json_schema_extra={"flag": "--watch", "restart": True},
    )
    tls_cert: str | None = Field(
        None,
        description="Serve TLS with this certificate chain, a PEM file (Granian only).",
        json_schema_extra={"flag": "--tls-cert", "restart": True},
    )
    tls_key: str | None = Field(
        None,
        description="Private key of the certificate, a PEM file.",
        json_schema_extra={"flag": "--tls-key", "restart": True},
    )
    stop_with: int | None = Field(
        None,
        ge=1,
        description="Process id of an owner: the server stops when that process ends.",
        json_schema_extra={"restart": True},
    )
    report: str | None = Field(
        None,
        pattern=r"\.(?:json|md|txt|xml)$",
        description="File for a report at the end: `.json`, `.md`, `.txt`, or `.xml` for JUnit.",
        json_schema_extra={"flag": "--report", "restart": True},
    )
    http2: bool = Field(
        False,
        description="Serve HTTP/2 beside HTTP/1.1: by ALPN over TLS, by prior knowledge without (Granian only).",
        json_schema_extra={"restart": True},
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Log level of messages on standard error.",
        json_schema_extra={"flag": "--log-level", "restart": True},
    )
    log_requests: bool = Field(
        False,
        description="Log each request on standard output.",
        json_schema_extra={"flag": "--log-requests", "restart": True, "env": ["MOCK_OPENAI_LOG_REQUESTS"]},
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of request log lines.", json_schema_extra={"restart": True}
    )
    simulate_errors: bool = Field(False, description="Fail a random share of the requests.")
    error_rate: float = Field(0.0, ge=0, le=1, description="Share of requests to fail when `simulate_errors` is on.")
    error_types: dict[ErrorType, Annotated[float, Field(ge=0)]] = Field(
        dict.fromkeys(get_args(ErrorType), 1.0),
        description="Weight of each error type among these failures; omitted types have weight 0.",
    )

    def simulated_faults(self) -> list[StatusSettings]:
        """Return the faults equivalent to ``simulate_errors``."""
        total = sum(self.error_types.values())
        if not self.simulate_errors or not self.error_rate or not total:
            return []
        return [
            StatusSettings(kind="status", error=error, probability=min(1.0, self.error_rate * weight / total))
            for error, weight in self.error_types.items()
            if weight
        ]


class Streaming(SettingsModel):
    """Chunks and timing of streams."""

    heartbeat: NumberOrHeartbeat = Field(Heartbeat(), description=Heartbeat.__doc__)

    enabled: bool = Field(
        True,
        description="Allow streaming; otherwise streaming requests get an explanatory 400.",
        json_schema_extra={"env": ["MOCK_OPENAI_STREAMING_ENABLED"]},
    )
    chunk_delay_ms: float = Field(
        0.0,
        ge=0,
        le=600_000,
        description="Milliseconds between content chunks, from the second one on; 0 sends everything at once. "
        "`latency.itl` has precedence.",
        json_schema_extra={"env": ["MOCK_OPENAI_CHUNK_DELAY"]},
    )
    tokens_per_chunk: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Number of tokens per chunk. Without it 5, or 1 where a latency is set.",
    )
    obfuscation: bool = Field(
        False,
        description=(
            "Pad chunks with an `obfuscation` field; a request's `stream_options.include_obfuscation` has precedence."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _other_name(cls, data: Any) -> Any:
        """Accept ``words_per_chunk``, a name from mock-openai-server."""
        if isinstance(data, dict) and "words_per_chunk" in data and "tokens_per_chunk" not in data:
            return {"tokens_per_chunk" if key == "words_per_chunk" else key: value for key, value in data.items()}
        return data


class Tools(SettingsModel):
    """Settings of automatic tool calls."""

    auto_call: bool = Field(
        False,
        description=(
            "Call the first tool, with generated arguments, if a request offers tools and no rule matches; "
            "otherwise the reply is text."
        ),
    )


class Usage(SettingsModel):
    """Token counting and prompt caching."""

    tokenizer: Literal["auto", "exact", "estimate"] = Field(
        "auto",
        description="`exact` counts with the models' vocabularies (needs the extra `tokens`), `estimate` a quarter of "
        "the bytes; `auto` is exact if the extra is installed.",
    )
    simulate_prompt_cache: bool = Field(
        False,
        description=(
            "Report `cached_tokens` for prompts that begin like an earlier one: from 1,024 tokens, in steps of 128."
        ),
    )


class Stored(SettingsModel):
    """Storage of responses and completions for later retrieval."""

    max_entries: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Number of stored objects, over all workers; the oldest are dropped.",
    )
    strict_ids: bool = Field(
        False,
        description="Respond with 404 to unknown ids; otherwise with a placeholder object.",
    )


class Cache(SettingsModel):
    """Cache of the responses to request bodies seen before."""

    max_bytes: int = Field(
        32 << 20,
        ge=0,
        le=1 << 40,
        description="Maximum size of the cache of each worker, in bytes; 0 turns it off.",
    )


class Auth(SettingsModel):
    """Authentication of API requests."""

    mode: Literal["bearer", "sk", "keys", "off"] = Field(
        "bearer",
        description="`bearer`: any bearer token, but one is required. `sk`: the key must look like `sk-…`. "
        "`keys`: the key must be one of `auth.keys`. `off`: no authentication.",
    )
    keys: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="Accepted API keys in mode `keys`.", repr=False
    )
    open_models: bool = Field(False, description="Serve `GET /v1/models` without an API key, as some load tools need.")

    @model_validator(mode="after")
    def _keys_for_keys(self) -> "Auth":
        if self.mode == "keys" and not self.keys:
            raise ValueError("'auth.mode: keys' needs at least one key in 'auth.keys'")
        return self


class ModelCard(SettingsModel):
    """One entry of `GET /v1/models`."""

    id: str = Field(min_length=1, description="Name of the model in requests.")
    object: Literal["model"] = Field("model", description="Object type as the API lists it; ignored.")
    created: int = Field(1_700_000_000, ge=0, description="Creation time as Unix time in seconds.")
    owned_by: str = Field("fastmock", description="Owner reported for the model.")


_MODELS = (
    "gpt-5",
    "gpt-5-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4-turbo",
    "gpt-4",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-instruct",
    "o3",
    "o4-mini",
    "text-embedding-3-small",
    "text-embedding-3-large",
    "text-embedding-ada-002",
)


class Models(SettingsModel):
    """The models that are listed, and whether others are accepted."""

    available: list[Annotated[ModelCard, BeforeValidator(_id_is_card, json_schema_input_type=str | ModelCard)]] = Field(
        [ModelCard(id=name, object="model", created=1_700_000_000, owned_by="fastmock") for name in _MODELS],
        description="Models that `GET /v1/models` lists: names, or objects with `id`, `created`, `owned_by`.",
    )
    strict: bool = Field(False, description="Respond to unlisted models with 404 `model_not_found` on every endpoint.")

    def served(self) -> frozenset[str] | None:
        """Return the names of the only models that are served; None if all are."""
        return frozenset(card.id for card in self.available) if self.strict else None

    def card(self, name: str) -> ModelCard:
        """Return a model. An unlisted one gets a generated entry, as it is also served, unless models are strict.

        Raises:
            ModelNotFound: it is not served.
        """
        listed = next((card for card in self.available if card.id == name), None)
        if listed is None and self.strict:
            raise ModelNotFound(name)
        return listed or ModelCard.model_construct(id=name, created=1_700_000_000, owned_by="fastmock")


class PerModel(SettingsModel):
    """Settings for certain models."""

    model: str = Field(
        min_length=1, description="Name of the model, or a glob such as `gpt-4*`; the first match applies."
    )
    latency: Latency | None = Field(None, description="Latency of these models, as `latency`.")
    output: Output | None = Field(None, description="Output of these models, as `output`.")
    heartbeat: NumberOrHeartbeat | None = Field(
        None, description="Heartbeats for these models, as `streaming.heartbeat`."
    )
    context_window: int | None = Field(
        None,
        ge=1,
        description="Tokens of a prompt and its `max_tokens` together; more gets 400 `context_length_exceeded`.",
    )
    validation: Validation | None = Field(None, description="Validation for these models, as `validation`.")


class Settings(SettingsModel):
    """The whole configuration of fastmock."""

    schema_url: str | None = Field(
        None, alias="$schema", description="Reference to a JSON Schema for editors; ignored by the server."
    )
    seed: int = Field(
        0,
        description="Seed of generated text, vectors, fingerprints and random draws.",
        json_schema_extra={"flag": "--seed"},
    )
    validation: Validation = Field(
        "provider",
        description="`provider` refuses the requests that the provider refuses (see [validation](validation.md)); "
        "`lenient` checks only types and required fields.",
    )
    server: Server = Field(Server(), description=Server.__doc__)
    startup: Startup = Field(Startup(), description=Startup.__doc__)
    readiness: ReadinessSettings = Field(ReadinessSettings(), description=ReadinessSettings.__doc__)
    faults: list[AnyFaultSettings] = Field(
        [], max_length=256, description="Faults to inject; the first that triggers is applied."
    )
    limits: Limits = Field(Limits(), description=Limits.__doc__)
    overload: Overload = Field(Overload(), description=Overload.__doc__)
    metrics: MetricsSettings = Field(MetricsSettings(), description=MetricsSettings.__doc__)
    journal: Journal = Field(Journal(), description=Journal.__doc__)
    findings: Findings = Field(Findings(), description=Findings.__doc__)
    admin: Admin = Field(Admin(), description=Admin.__doc__)
    streaming: Streaming = Field(Streaming(), description=Streaming.__doc__)
    latency: Latency = Field(Latency(), description=Latency.__doc__)
    output: Output = Field(Output(), description=Output.__doc__)
    per_model: list[PerModel] = Field([], description=PerModel.__doc__)
    obey_max_tokens: bool = Field(
        True,
        description=("Cut scripted replies at `max_tokens` and its equivalents; generated text is always cut."),
    )
    tools: Tools = Field(Tools(), description=Tools.__doc__)
    usage: Usage = Field(Usage(), description=Usage.__doc__)
    stored: Stored = Field(Stored(), description=Stored.__doc__)
    cache: Cache = Field(Cache(), description=Cache.__doc__)
    auth: Auth = Field(Auth(), description=Auth.__doc__)
    models: Annotated[Models, BeforeValidator(_list_is_available)] = Field(Models(), description=Models.__doc__)
    responses: Responses = Field(Responses(), description=Responses.__doc__)
    cassettes: CassettesOrFiles = Field(Cassettes(), description=Cassettes.__doc__)
    record: Record = Field(Record(), description=Record.__doc__)
    store: StoreOrUrl = Field(Store(), description=Store.__doc__)

    @field_validator("findings")
    @classmethod
    def _findings_need_the_journal(cls, findings: Findings, info: ValidationInfo) -> Findings:
        journal: Journal | None = info.data.get("journal")
        if findings.enabled and journal and not journal.enabled and "enabled" in journal.model_fields_set:
            raise ValueError("'enabled' needs the journal: remove 'journal.enabled: false'")
        return findings

    @model_validator(mode="after")
    def _findings_turn_the_journal_on(self) -> Self:
        if self.findings.enabled and not self.journal.enabled:
            object.__setattr__(self, "journal", self.journal.model_copy(update={"enabled": True}))
        return self
