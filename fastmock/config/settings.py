"""The one table of settings: names, types, bounds, defaults, environment names and what each means.

Everything that speaks of settings reads it: the loader, the error messages, the environment, the reference.
A scalar setting ``a.b`` is read from ``FASTMOCK_A_B`` (``server.port`` from ``FASTMOCK_PORT``: ``server`` is left
out), and from the names given as ``env`` in its ``json_schema_extra``.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from fastmock.config.control import Admin, Journal
from fastmock.config.metrics import MetricsSettings
from fastmock.core.section import Section
from fastmock.faults.settings import ErrorType, Fault
from fastmock.latency.presets import PresetName
from fastmock.limits.settings import Limits, Overload
from fastmock.rules.match import Match

DEFAULT_TEXT = (
    "Hello from fastmock! This is a canned answer: nobody has written a pattern for this request yet. "
    "Add one to your configuration to say something else."
)


def _auto_is_zero(value: Any) -> Any:
    return 0 if value == "auto" else value


def _file_is_source(value: Any) -> Any:
    return {"response_file": value} if isinstance(value, str) else value


def _text_is_saying(value: Any) -> Any:
    return {"content": value} if isinstance(value, str) else value


def _list_is_available(value: Any) -> Any:
    return {"available": value} if isinstance(value, list) else value


def _id_is_card(value: Any) -> Any:
    return {"id": value} if isinstance(value, str) else value


def _names_are_keys(value: Any) -> Any:
    return dict.fromkeys(map(str, value)) if isinstance(value, list) else value


def _number_is_amount(value: Any) -> Any:
    """Take a number, also one from a variable of the environment, for a constant amount."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return {"mean": value}
    return {"mean": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Amount(Section):
    """An amount that is the same every time, or drawn anew from a distribution each time it is needed."""

    distribution: Literal["constant", "normal", "lognormal", "uniform", "gamma"] = Field(
        "constant", description="`constant`, `normal` (truncated), `lognormal`, `uniform` or `gamma`."
    )
    mean: float | None = Field(None, ge=0, le=1e9, description="The mean; of a constant, the value.")
    std: float | None = Field(None, ge=0, le=1e9, description="The standard deviation.")
    min: float | None = Field(
        None, ge=0, le=1e9, description="The least; of a normal, where it is cut (0.3 times the mean)."
    )
    max: float | None = Field(
        None, ge=0, le=1e9, description="The most; of a normal, where it is cut (1.7 times the mean)."
    )
    file: str | None = Field(
        None, description="A file of recorded samples, one of which is drawn: a JSON or YAML list, or a number a line."
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "Amount":
        given = [name for name in ("mean", "std", "min", "max", "file") if getattr(self, name) is not None]
        if self.file is not None:
            if len(given) > 1 or "distribution" in self.model_fields_set:
                raise ValueError("a 'file' of samples goes with nothing else")
            return self
        needs = {"constant": ("mean",), "uniform": ("min", "max")}.get(self.distribution, ("mean", "std"))
        takes = (*needs, "min", "max") if self.distribution == "normal" else needs
        missing = [name for name in needs if name not in given]
        surplus = [name for name in given if name not in takes]
        if missing:
            raise ValueError(f"{self.distribution} needs {' and '.join(map(repr, missing))}")
        if surplus:
            raise ValueError(f"{self.distribution} does not take {' and '.join(map(repr, surplus))}")
        if self.distribution in ("lognormal", "gamma") and not (self.mean and self.std):
            raise ValueError(f"{self.distribution} needs a 'mean' and a 'std' above 0")
        low, high = self.bounds()
        if low > high or (self.distribution == "normal" and self.std and not low <= (self.mean or 0) <= high):
            raise ValueError("needs 'min' <= 'mean' <= 'max'" if "mean" in takes else "needs 'min' <= 'max'")
        return self

    @property
    def varies(self) -> bool:
        """Whether it is drawn."""
        return self.file is not None or self.distribution != "constant"

    def bounds(self) -> tuple[float, float]:
        """Return the least and the most that is drawn, of a uniform or a normal distribution."""
        mean = self.mean or 0.0
        return (
            0.3 * mean if self.min is None else self.min,
            1.7 * mean if self.max is None else self.max,
        )


NumberOrAmount = Annotated[Amount, BeforeValidator(_number_is_amount, json_schema_input_type=float | Amount)]


class Latency(Section):
    """How long answers take; what is not given comes from the level above."""

    preset: PresetName | None = Field(
        None, description="A set of values to begin with, illustrative ones named after a class of model."
    )
    ttft: NumberOrAmount | None = Field(
        None, description="Time to first token: milliseconds from the request to the first piece of the answer."
    )
    itl: NumberOrAmount | None = Field(
        None, description="Inter-token latency: milliseconds from token to token, drawn anew for each."
    )
    tokens_per_second: NumberOrAmount | None = Field(
        None, description="Instead of `itl`: the speed of an answer, drawn once for each."
    )
    prefill_ms_per_token: float | None = Field(
        None,
        ge=0,
        le=600_000,
        description="Milliseconds that each token of the prompt adds to the time to first token.",
    )
    time_factor_under_load: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="Everything takes up to this many times as long as answers in flight near `max_concurrent`.",
    )
    max_concurrent: int | None = Field(
        None, ge=1, le=1_000_000, description="Answers in flight, over all workers, at which that factor is reached."
    )

    @model_validator(mode="after")
    def _fits(self) -> "Latency":
        if self.itl is not None and self.tokens_per_second is not None:
            raise ValueError("takes 'itl' or 'tokens_per_second', not both")
        speed = self.tokens_per_second
        if speed is not None and speed.file is None and not (speed.mean or speed.max):
            raise ValueError("needs 'tokens_per_second' above 0")
        return self


class Output(Section):
    """How much is said, and what, where nothing says it: `$output`."""

    kind: Literal["lorem", "echo", "counter"] | None = Field(
        None,
        description="`lorem`: prose; `echo`: the user's message; `counter`: words in alphabetical order, which make a "
        "lost or reordered chunk visible. Each word of `lorem` and `counter` is one token.",
    )
    tokens: NumberOrAmount | None = Field(
        None,
        description="How many tokens; without it 100, of a legacy completion 16, and of an echo as many as the message "
        "has.",
    )
    min_tokens: int | None = Field(None, ge=0, le=1_000_000, description="The fewest; a request may say so too.")


class Server(Section):
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
        description="Whether a request may set its own latency, output, fault and validation with `x-fastmock-…` "
        "headers.",
    )
    watch: bool = Field(
        False,
        description="Whether the configuration and its files are read again when they change (it needs the extra "
        "`watch`).",
    )
    tls_cert: str | None = Field(None, description="Serve TLS with this certificate chain, a PEM file (Granian only).")
    tls_key: str | None = Field(None, description="The certificate's private key, a PEM file.")
    http2: bool = Field(
        False, description="HTTP/2 beside HTTP/1.1: over TLS by ALPN, in the clear by prior knowledge (Granian only)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What the server says on standard error."
    )
    log_requests: bool = Field(
        False,
        description="A line on standard output for each request.",
        json_schema_extra={"env": ["MOCK_OPENAI_LOG_REQUESTS"]},
    )
    log_format: Literal["text", "json"] = Field("text", description="The form of that line.")
    simulate_errors: bool = Field(False, description="Whether a share of the requests fails.")
    error_rate: float = Field(0.0, ge=0, le=1, description="Share of requests to fail when `simulate_errors` is on.")
    error_types: dict[ErrorType, Annotated[float, Field(ge=0)]] = Field(
        dict.fromkeys(get_args(ErrorType), 1.0),
        description="What they fail with, and the weight of each; a type that is left out has none.",
    )


def _number_is_heartbeat(value: Any) -> Any:
    return {"interval": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Heartbeat(Section):
    """Signs of life in a stream that waits for its first token, or stalls."""

    interval: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Seconds between heartbeats while nothing else is sent; without it there are none.",
    )
    form: Literal["comment", "ping"] | None = Field(
        None,
        description="`comment` (the default), which every client of server-sent events skips; or `ping`, Anthropic's "
        "event. Streams of other APIs have comments in any case.",
    )


NumberOrHeartbeat = Annotated[
    Heartbeat, BeforeValidator(_number_is_heartbeat, json_schema_input_type=float | Heartbeat)
]


class Streaming(Section):
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
        description="Whether chunks are padded with an `obfuscation`, as OpenAI's are; a request's "
        "`stream_options.include_obfuscation` has precedence.",
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


class Tools(Section):
    """When tools are called."""

    auto_call: bool = Field(
        False,
        description="Whether a request that offers tools and leaves the choice gets a call where no pattern matches: "
        "of the first tool, with made-up arguments. Off, it gets a text.",
    )


class Usage(Section):
    """How tokens are counted."""

    tokenizer: Literal["auto", "exact", "estimate"] = Field(
        "auto",
        description="`exact` counts with OpenAI's vocabularies (it needs the extra `tokens`), `estimate` takes a "
        "quarter of the bytes; `auto` is exact where the extra is installed.",
    )
    simulate_prompt_cache: bool = Field(
        False,
        description="Whether a prompt that begins as an earlier one did has `cached_tokens`: from 1,024 on, in steps "
        "of 128.",
    )


class Stored(Section):
    """What is kept of answers that are to be stored."""

    max_entries: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="How many completions are kept, by all workers together; the oldest give way.",
    )
    strict_ids: bool = Field(
        False,
        description="On: an id that was never given out is answered with 404. Off: with something plausible.",
    )


class Auth(Section):
    """Who may call."""

    mode: Literal["bearer", "sk", "keys", "off"] = Field(
        "bearer",
        description="`bearer`: any bearer token, but one must be there. `sk`: it must look like `sk-…`. "
        "`keys`: it must be one of `auth.keys`. `off`: none is asked for.",
    )
    keys: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="The keys that may call, for the mode `keys`.", repr=False
    )
    open_models: bool = Field(
        False, description="Whether `GET /v1/models` needs no key; some load tools ask for it without one."
    )

    @model_validator(mode="after")
    def _keys_for_keys(self) -> "Auth":
        if self.mode == "keys" and not self.keys:
            raise ValueError("needs at least one key in 'auth.keys' where 'auth.mode' is 'keys'")
        return self


class ModelCard(Section):
    """One entry of `GET /v1/models`."""

    id: str = Field(min_length=1, description="The model's name.")
    object: Literal["model"] = Field("model", description="May be written as OpenAI writes it; not used.")
    created: int = Field(1_700_000_000, ge=0, description="Unix time, in seconds.")
    owned_by: str = Field("fastmock", description="The owner shown.")


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


class Models(Section):
    """The models that are listed, and whether others are served."""

    available: list[Annotated[ModelCard, BeforeValidator(_id_is_card, json_schema_input_type=str | ModelCard)]] = Field(
        [ModelCard(id=name, object="model", created=1_700_000_000, owned_by="fastmock") for name in _MODELS],
        description="What `GET /v1/models` lists: names, or objects with `id`, `created`, `owned_by`.",
    )
    strict: bool = Field(False, description="On: a model that is not listed gets 404 `model_not_found` everywhere.")


class ScriptedCall(Section):
    """A tool that is called."""

    name: str = Field(min_length=1, description="The tool's name.")
    arguments: dict[str, Any] | str = Field({}, description="Its arguments, a template; a text is said as it is.")
    id: str | None = Field(None, description="The call's id; without one a new one each time.")


class Saying(Section):
    """What is said once: a file, a text, calls, a refusal, or a whole answer; with none of them `$output`."""

    response_file: str | None = Field(
        None, description="A JSON or YAML template, relative to the configuration file or the working directory."
    )
    content: str | None = Field(None, description="A text template for the assistant's words.")
    tool_calls: Annotated[list[ScriptedCall], Field(min_length=1)] | None = Field(
        None, description="The tools that are called; with a `content` beside them or without."
    )
    refusal: str | None = Field(None, description="A text template for a refusal, instead of the assistant's words.")
    reasoning: str | None = Field(
        None,
        description="A text template for what is thought before any of these: the summary of a reasoning item, a "
        "thinking block, or the `reasoning_content` of a chat message.",
    )
    response: dict[str, Any] | None = Field(None, description="A whole answer, written in place.")

    @model_validator(mode="after")
    def _at_most_one(self) -> "Saying":
        names = [name for name in Saying.model_fields if name != "reasoning"]
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1 and given != ["content", "tool_calls"]:
            shown = " and ".join(repr(name) for name in given)
            raise ValueError(f"takes one of {', '.join(map(repr, names))}, not {shown}")
        if self.reasoning is not None and given in (["response_file"], ["response"]):
            raise ValueError(f"takes 'reasoning' or {given[0]!r}, not both: write it there, as 'reasoning_content'")
        return self


class Source(Saying):
    """What is said, and how: a file, a text, calls, a refusal, or a whole answer; with none of them `$output`."""

    latency: Latency | None = Field(None, description="As `latency`, for these answers.")
    output: Output | None = Field(None, description="As `output`, for these answers.")
    heartbeat: NumberOrHeartbeat | None = Field(None, description="As `streaming.heartbeat`, for these answers.")
    obey_max_tokens: bool | None = Field(None, description="As `obey_max_tokens`, for these answers.")


FileOrSource = Annotated[Source, BeforeValidator(_file_is_source, json_schema_input_type=str | Source)]
TextOrSaying = Annotated[Saying, BeforeValidator(_text_is_saying, json_schema_input_type=str | Saying)]


class Pattern(Source):
    """A rule: when `match` holds, and no pattern of higher priority or earlier place does, say this."""

    name: str | None = Field(None, description="What to call it in messages.")
    match: Match = Field(description="What the request must look like.")
    priority: int = Field(0, description="The highest wins; equals are tried in file order.")
    responses: Annotated[list[TextOrSaying], Field(min_length=1)] | None = Field(
        None,
        description="What is said, by the turn of the conversation: the first in the first, the last in all that "
        "follow. Texts, or objects such as a pattern's own.",
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> "Pattern":
        given = [name for name in Saying.model_fields if getattr(self, name) is not None]
        if self.responses is not None and given:
            raise ValueError(f"takes 'responses' or {given[0]!r}, not both")
        return self


Validation = Literal["provider", "lenient"]


class Answers(Section):
    """What one endpoint says."""

    patterns: list[Pattern] = Field([], description="The rules, tried by priority, then in order.")
    default: FileOrSource = Field(
        Source(content=DEFAULT_TEXT),
        description="What is said when no pattern matches: a file's name, or an object as in a pattern. Without it a "
        "canned text, or `$output` where an `output` is configured.",
    )
    validation: Validation | None = Field(None, description="As `validation`, for this endpoint.")


class Validated(Section):
    """What is particular to an endpoint whose rules are those of chat completions."""

    validation: Validation | None = Field(None, description="As `validation`, for this endpoint.")


class EmbeddingAnswers(Section):
    """What the embeddings endpoint says."""

    default: FileOrSource | None = Field(
        None,
        description="A file whose `data[0].embedding` fixes the vector. Without one, vectors are hashed from the text.",
    )


Category = Literal[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
]
Score = Annotated[float, Field(ge=0, le=1)]


class ModerationPattern(Section):
    """A rule: when `match` holds, and no pattern of higher priority or earlier place does, flag this."""

    name: str | None = Field(None, description="What to call it in messages.")
    match: Match = Field(description="What the request must look like; `content` is what is moderated.")
    priority: int = Field(0, description="The highest wins; equals are tried in file order.")
    flag: Annotated[
        dict[Category, Score | None],
        BeforeValidator(_names_are_keys, json_schema_input_type=list[Category] | dict[Category, Score | None]),
    ] = Field(
        description="The categories that are flagged: a list, or the score of each; with none nothing is flagged."
    )


class ModerationAnswers(Section):
    """What moderations flag."""

    patterns: list[ModerationPattern] = Field(
        [], description="The rules, tried by priority, then in order. Where none matches, nothing is flagged."
    )


class Responses(Section):
    """What is said, by endpoint."""

    chat_completions: Answers = Field(
        Answers(), description="`POST /v1/chat/completions`, `/v1/responses` and `/v1/messages`."
    )
    completions: Answers = Field(Answers(), description="`POST /v1/completions`.")
    responses: Validated = Field(
        Validated(), description="`POST /v1/responses`; its rules are those of chat completions."
    )
    messages: Validated = Field(
        Validated(), description="`POST /v1/messages`; its rules are those of chat completions."
    )
    embeddings: EmbeddingAnswers = Field(EmbeddingAnswers(), description="`POST /v1/embeddings`.")
    moderations: ModerationAnswers = Field(ModerationAnswers(), description="`POST /v1/moderations`.")
    manager: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = Field(
        None, description="A class of yours that says the answers, as `package.module:Class`."
    )


class PerModel(Section):
    """What is different for some models."""

    model: str = Field(min_length=1, description="The model's name, or a glob such as `gpt-4*`; the first that fits.")
    latency: Latency | None = Field(None, description="As `latency`, for these models.")
    output: Output | None = Field(None, description="As `output`, for these models.")
    heartbeat: NumberOrHeartbeat | None = Field(None, description="As `streaming.heartbeat`, for these models.")
    context_window: int | None = Field(
        None,
        ge=1,
        description="Tokens of a prompt and the `max_tokens` it asks for; more is a 400 `context_length_exceeded`.",
    )
    validation: Validation | None = Field(None, description="As `validation`, for these models.")


class Settings(Section):
    """The whole configuration."""

    schema_url: str | None = Field(None, alias="$schema", description="For editors; not used.")
    seed: int = Field(0, description="Changes everything that is made up: vectors and fingerprints.")
    validation: Validation = Field(
        "provider",
        description="`provider` refuses the requests that the provider refuses (see [validation](validation.md)); "
        "`lenient` checks types and required fields alone.",
    )
    server: Server = Field(Server(), description=Server.__doc__)
    faults: list[Fault] = Field(
        [], max_length=256, description="What goes wrong on purpose: the first in the list that strikes."
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
        description="Whether `max_tokens` and its like cut what a rule, a file or the default says; generated text "
        "always obeys.",
    )
    tools: Tools = Field(Tools(), description=Tools.__doc__)
    usage: Usage = Field(Usage(), description=Usage.__doc__)
    stored: Stored = Field(Stored(), description=Stored.__doc__)
    auth: Auth = Field(Auth(), description=Auth.__doc__)
    models: Annotated[Models, BeforeValidator(_list_is_available)] = Field(Models(), description=Models.__doc__)
    responses: Responses = Field(Responses(), description=Responses.__doc__)
