"""The one table of settings: names, types, bounds, defaults, environment names and what each means.

Everything that speaks of settings reads it: the loader, the error messages, the environment, the reference.
A scalar setting ``a.b`` is read from ``FASTMOCK_A_B`` (``server.port`` from ``FASTMOCK_PORT``: ``server`` is left
out), and from the names given as ``env`` in its ``json_schema_extra``.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from fastmock.config.control import Admin, Journal
from fastmock.config.metrics import MetricsSettings
from fastmock.content.settings import Output
from fastmock.core.errors import ModelNotFound
from fastmock.core.section import SettingsModel
from fastmock.faults.kinds.status import StatusSettings
from fastmock.faults.registry import AnyFaultSettings
from fastmock.faults.settings import ErrorType
from fastmock.latency.settings import Heartbeat, Latency, NumberOrHeartbeat
from fastmock.limits.settings import Limits, Overload
from fastmock.rules.settings import Responses, Validation


def _auto_is_zero(value: Any) -> Any:
    return 0 if value == "auto" else value


def _list_is_available(value: Any) -> Any:
    return {"available": value} if isinstance(value, list) else value


def _id_is_card(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


class Server(SettingsModel):
    """Where and how to listen."""

    host: str = Field(
        "127.0.0.1",
        description="Name or address to listen on; `0.0.0.0` or `::` for every interface.",
        json_schema_extra={"env": ["MOCK_OPENAI_HOST"]},
    )
    port: int = Field(
        8080,
        ge=0,
        le=65535,
        description="TCP port; 0 takes a free one and prints it.",
        json_schema_extra={"env": ["MOCK_OPENAI_PORT"]},
    )
    workers: Annotated[int, BeforeValidator(_auto_is_zero, json_schema_input_type=int | Literal["auto"])] = Field(
        1, ge=0, le=1024, description="Worker processes; `auto` is one per core."
    )
    runtime: Literal["auto", "robyn", "granian"] = Field(
        "auto",
        description="`robyn` has the highest rate, `granian` exact timing; `auto` takes what is needed.",
    )
    providers: list[str] = Field(
        [],
        description="Providers to serve beside the built-in ones, each a `core.provider.Provider` named as "
        "`package.module:NAME`.",
        json_schema_extra={"restart": True},
    )
    cors_origins: list[str] = Field(
        ["*"],
        description="Origins a browser may call from; `*` is any, an empty list none.",
        json_schema_extra={"env": ["MOCK_OPENAI_CORS_ORIGINS"]},
    )
    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1, le=2**31 - 1, description="A longer request body is answered with 413."
    )
    max_buffered_bytes: int = Field(
        96 * 1024 * 1024,
        ge=1 << 20,
        le=2**40,
        description="Bytes that the request bodies in flight and large answers that are not sent yet may take together "
        "in one worker; a request beyond that is answered with 503 (Granian only).",
    )
    max_connections: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Connections that one worker holds open at once; more wait in the backlog, and connections that "
        "have been idle longest are closed for new ones (Granian only). Without it 16,384, or what the limit of open "
        "files allows.",
    )
    request_timeout: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Seconds that may pass between two pieces of a request body, or of an answer that a client reads, "
        "before the connection is closed (Granian only).",
    )
    keep_alive: float = Field(
        120.0,
        gt=0,
        le=86_400,
        description="Seconds after which an idle connection is closed (Granian only); announced in the header "
        "`keep-alive`.",
    )
    shutdown_timeout: float = Field(
        30.0, ge=0, le=86_400, description="Seconds that streams in flight are given to end after SIGTERM."
    )
    change_timeout: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Seconds that a change of the configuration may take, by a reload or over the control API; one "
        "that takes longer is refused.",
    )
    worker_timeout: float = Field(
        10.0,
        ge=0,
        le=86_400,
        description="Seconds after which a worker that does not respond is killed and replaced; 0 never. Calls of a "
        "response manager may take any time.",
    )
    control_headers: bool = Field(
        False,
        description=("Let requests set their own latency, output, fault and validation with `x-fastmock-…` headers."),
    )
    watch: bool = Field(
        False,
        description=("Reload the configuration and its files when they change (needs the extra `watch`)."),
    )
    tls_cert: str | None = Field(None, description="Serve TLS with this certificate chain, a PEM file (Granian only).")
    tls_key: str | None = Field(None, description="The certificate's private key, a PEM file.")
    http2: bool = Field(
        False, description="HTTP/2 beside HTTP/1.1: over TLS by ALPN, in the clear by prior knowledge (Granian only)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log level of messages on standard error."
    )
    log_requests: bool = Field(
        False,
        description="A line on standard output for each request.",
        json_schema_extra={"env": ["MOCK_OPENAI_LOG_REQUESTS"]},
    )
    log_format: Literal["text", "json"] = Field("text", description="Format of request log lines.")
    simulate_errors: bool = Field(False, description="Fail a share of the requests at random.")
    error_rate: float = Field(0.0, ge=0, le=1, description="Share of requests to fail when `simulate_errors` is on.")
    error_types: dict[ErrorType, Annotated[float, Field(ge=0)]] = Field(
        dict.fromkeys(get_args(ErrorType), 1.0),
        description="Weight of each error type among those failures; a type that is left out has none.",
    )

    def simulated_faults(self) -> list[StatusSettings]:
        """Return the faults that ``simulate_errors`` stands for."""
        total = sum(self.error_types.values())
        if not self.simulate_errors or not self.error_rate or not total:
            return []
        return [
            StatusSettings(kind="status", error=error, probability=min(1.0, self.error_rate * weight / total))
            for error, weight in self.error_types.items()
            if weight
        ]


class Streaming(SettingsModel):
    """How streams are cut and timed."""

    heartbeat: NumberOrHeartbeat = Field(Heartbeat(), description=Heartbeat.__doc__)

    enabled: bool = Field(
        True,
        description="Off: a request for a stream gets a 400 that says so.",
        json_schema_extra={"env": ["MOCK_OPENAI_STREAMING_ENABLED"]},
    )
    chunk_delay_ms: float = Field(
        0.0,
        ge=0,
        le=600_000,
        description="Milliseconds between content chunks; the first goes out at once. 0 sends everything at once. "
        "`latency.itl` has precedence.",
        json_schema_extra={"env": ["MOCK_OPENAI_CHUNK_DELAY"]},
    )
    tokens_per_chunk: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Tokens in one chunk. Without it 5, or 1 where anything sets a latency.",
    )
    obfuscation: bool = Field(
        False,
        description=(
            "Pad chunks with an `obfuscation` field, as OpenAI does; a request's "
            "`stream_options.include_obfuscation` has precedence."
        ),
    )
    max_concurrent: int | None = Field(
        None, ge=1, le=1_000_000, description="The older name of `server.max_connections`, which has precedence."
    )

    @model_validator(mode="before")
    @classmethod
    def _other_name(cls, data: Any) -> Any:
        """Take ``words_per_chunk``, which mock-openai-server also knows."""
        if isinstance(data, dict) and "words_per_chunk" in data and "tokens_per_chunk" not in data:
            return {"tokens_per_chunk" if key == "words_per_chunk" else key: value for key, value in data.items()}
        return data


class Tools(SettingsModel):
    """When tools are called."""

    auto_call: bool = Field(
        False,
        description=(
            "Call the first tool, with generated arguments, where a request offers tools and "
            "no rule matches. Off, the reply is text."
        ),
    )


class Usage(SettingsModel):
    """How tokens are counted."""

    tokenizer: Literal["auto", "exact", "estimate"] = Field(
        "auto",
        description="`exact` counts with OpenAI's vocabularies (it needs the extra `tokens`), `estimate` takes a "
        "quarter of the bytes; `auto` is exact where the extra is installed.",
    )
    simulate_prompt_cache: bool = Field(
        False,
        description=(
            "Report `cached_tokens` for prompts that begin as an earlier one: from 1,024 tokens on, in steps of 128."
        ),
    )


class Stored(SettingsModel):
    """What is kept of answers that are to be stored."""

    max_entries: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Number of completions kept, over all workers; the oldest give way.",
    )
    strict_ids: bool = Field(
        False,
        description="On: an id that was never given out is answered with 404. Off: with something plausible.",
    )


class Auth(SettingsModel):
    """Who may call."""

    mode: Literal["bearer", "sk", "keys", "off"] = Field(
        "bearer",
        description="`bearer`: any bearer token, but one must be there. `sk`: it must look like `sk-…`. "
        "`keys`: it must be one of `auth.keys`. `off`: none is asked for.",
    )
    keys: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="The keys that may call, for the mode `keys`.", repr=False
    )
    open_models: bool = Field(False, description="Serve `GET /v1/models` without a key, as some load tools ask for it.")

    @model_validator(mode="after")
    def _keys_for_keys(self) -> "Auth":
        if self.mode == "keys" and not self.keys:
            raise ValueError("needs at least one key in 'auth.keys' where 'auth.mode' is 'keys'")
        return self


class ModelCard(SettingsModel):
    """One entry of `GET /v1/models`."""

    id: str = Field(min_length=1, description="Name of the model in requests.")
    object: Literal["model"] = Field("model", description="May be written as OpenAI writes it; not used.")
    created: int = Field(1_700_000_000, ge=0, description="Creation time as Unix time in seconds.")
    owned_by: str = Field("fastmock", description="Owner of the model as shown.")


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
    """The models that are listed, and whether others are served."""

    available: list[Annotated[ModelCard, BeforeValidator(_id_is_card, json_schema_input_type=str | ModelCard)]] = Field(
        [ModelCard(id=name, object="model", created=1_700_000_000, owned_by="fastmock") for name in _MODELS],
        description="Models that `GET /v1/models` lists: names, or objects with `id`, `created`, `owned_by`.",
    )
    strict: bool = Field(False, description="On: a model that is not listed gets 404 `model_not_found` everywhere.")

    def served(self) -> frozenset[str] | None:
        """Return the names of the only models that are served; None where all are."""
        return frozenset(card.id for card in self.available) if self.strict else None

    def card(self, name: str) -> ModelCard:
        """Return a model. One that is not listed is made up, as it is also served, unless models are strict.

        Raises:
            ModelNotFound: it is not served.
        """
        listed = next((card for card in self.available if card.id == name), None)
        if listed is None and self.strict:
            raise ModelNotFound(name)
        return listed or ModelCard.model_construct(id=name, created=1_700_000_000, owned_by="fastmock")


class PerModel(SettingsModel):
    """Settings that differ for certain models."""

    model: str = Field(min_length=1, description="The model's name, or a glob such as `gpt-4*`; the first that fits.")
    latency: Latency | None = Field(None, description="Latency of these models, as `latency`.")
    output: Output | None = Field(None, description="Output of these models, as `output`.")
    heartbeat: NumberOrHeartbeat | None = Field(
        None, description="Heartbeats for these models, as `streaming.heartbeat`."
    )
    context_window: int | None = Field(
        None,
        ge=1,
        description="Tokens of a prompt and the `max_tokens` it asks for; more is a 400 `context_length_exceeded`.",
    )
    validation: Validation | None = Field(None, description="Validation for these models, as `validation`.")


class Settings(SettingsModel):
    """The whole configuration."""

    schema_url: str | None = Field(
        None, alias="$schema", description="Reference to a JSON Schema for editors; ignored by the server."
    )
    seed: int = Field(0, description="Changes everything that is made up: vectors and fingerprints.")
    validation: Validation = Field(
        "provider",
        description="`provider` refuses the requests that the provider refuses (see [validation](validation.md)); "
        "`lenient` checks types and required fields alone.",
    )
    server: Server = Field(Server(), description=Server.__doc__)
    faults: list[AnyFaultSettings] = Field(
        [], max_length=256, description="Faults to inject; the first that triggers is applied."
    )
    limits: Limits = Field(Limits(), description=Limits.__doc__)
    overload: Overload = Field(Overload(), description=Overload.__doc__)
    metrics: MetricsSettings = Field(MetricsSettings(), description=MetricsSettings.__doc__)
    journal: Journal = Field(Journal(), description=Journal.__doc__)
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
    auth: Auth = Field(Auth(), description=Auth.__doc__)
    models: Annotated[Models, BeforeValidator(_list_is_available)] = Field(Models(), description=Models.__doc__)
    responses: Responses = Field(Responses(), description=Responses.__doc__)
