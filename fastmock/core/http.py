"""The contract with a runtime (Request in, Reply or Stream out) and the neutral forms between dialects and rules.

Those are what a request asks for (Ask, Demands) and what is said to it (Answer).

Nothing here knows a server, a dialect or a rule.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from fastmock.core.credentials import session_of
from fastmock.core.framing import Framing

Headers = tuple[tuple[str, str], ...]
Query = Mapping[str, Sequence[str]]
"""The parameters after the question mark of a URL, decoded; each may be given several times."""


NO_QUERY: Query = MappingProxyType({})


def query_value(query: Query, name: str) -> str | None:
    """Return a parameter of a query, the last where it is given several times; None without it."""
    values = query.get(name)
    return values[-1] if values else None


_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class RequestHeaders(Protocol):
    """What both runtimes hand over: names in lower case, one value each."""

    def get(self, name: str, /) -> str | None:
        """Return the value of the header, or None."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return all of them."""


class Provider(Protocol):
    """A provider, as far as a request knows it; see ``core.provider``."""

    def session_of(self, request: "Request") -> str:
        """Return the session of a request."""


class Request:
    """One HTTP request.

    Attributes:
        method: in capitals.
        path: percent-decoded, with or without a trailing slash.
        headers: see RequestHeaders.
        body: ``str`` where the runtime has already decoded UTF-8, else ``bytes``.
        query: see Query. On Robyn a POST to a path without parameters has one only where its provider has the API key
            there (``Provider.key_parameter``): to look costs 1 µs.
        authorization: that header, where it has been looked at; to look costs 1 µs.
        client: the address that it came from; only what is for the control API has one.
        host: the host that it is for, likewise, where no header says it.
        params: the parameters in its path, by the names that its route gives them.
        provider: the provider whose API it is for, a ``core.provider.Provider``; None before that is known.
        can_move: whether the runtime can answer it apart from others; see MoveApart.
    """

    __slots__ = (
        *("authorization", "body", "can_move", "client", "headers"),
        *("host", "method", "params", "path", "provider", "query"),
    )

    def __init__(
        self, method: str, path: str, headers: RequestHeaders, body: str | bytes, query: Query = NO_QUERY
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.query = query
        self.authorization: str | None = None
        self.client = self.host = ""
        self.can_move = False
        self.provider: Provider | None = None
        self.params: Mapping[str, str] = _NO_PARAMS


class MoveApart(Exception):  # noqa: N818 - nothing is wrong
    """Raised while a request is answered that takes long: it is to be answered anew, in a thread for such requests,
    so that others do not wait. Nothing has been counted or stored for it yet.
    """


class Progress:
    """Cells in which a worker notes its progress, for a parent that finds it hung.

    Attributes:
        cells: in ``ROUTE`` the number of the route of the request that was begun last, from 1; 0 without one of its
            own. In ``MANAGER`` the calls of the response manager that have not returned.
    """

    ROUTE, MANAGER = 0, 1

    def __init__(self) -> None:
        self.cells: memoryview[int] = memoryview(bytearray(16)).cast("Q")


class ResponseHead:
    """The constant part of an answer: status and headers, made once and known by identity.

    A runtime keeps its own form of each. Spliced in per answer are the request id, in the header ``id_name``, and the
    values of the headers that ``varying`` names. ``framing`` is that of a stream; None where the body is no stream.
    """

    __slots__ = ("framing", "headers", "id_name", "status", "varying")

    def __init__(
        self,
        status: int,
        headers: Headers,
        id_name: str = "x-request-id",
        varying: tuple[str, ...] = (),
        framing: Framing | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.id_name = id_name
        self.varying = varying
        self.framing = framing

    def but(self, headers: Headers, varying: tuple[str, ...] = ()) -> "ResponseHead":
        """Return one with other constant headers, and more that vary."""
        return ResponseHead(self.status, headers, self.id_name, self.varying + varying, self.framing)


Ending = Literal["whole", "closed", "reset"]
"""How an answer ends: as it should; with the connection closed before its end; with the connection reset."""


class Wait(float):
    """A due time at which nothing is sent: it is looked whether the answer may begin. It counts as no frame."""


class HeartbeatTime(Wait):
    """The due time of a heartbeat, which may be sent some milliseconds sooner, together with others."""


class Reply:
    """A whole answer: all its bytes are ready.

    Attributes:
        chat: what was asked for, where it is noted what is answered.
        model: the model, where ``chat`` does not say it; empty where nobody noted it.
        rule: the name of the rule that won, likewise.
        fault: what goes wrong on purpose, likewise; ``limit`` the limit that it was refused by, and ``check`` the check
            that found the request wrong.
        prompt_tokens: tokens of what was sent, where that is not said by ``chat``.
        due_times: None where it is sent at once; else it is sent at the last of them. As in Stream.
        values: of the headers that vary with each answer; the head names them.
        more: headers for this answer alone.
        ending: how it ends; one that is reset is not sent at all.
        unsent: how many bytes more than there are ``content-length`` promises.
        close_idle: seconds for which the connection is idle afterwards before it is closed; None where it is kept.
        control: whether it is no answer of the API, so that it counts for nothing; its head and body may change until
            its time has passed.
    """

    model = ""
    rule = ""
    fault = ""
    limit = ""
    check = ""
    chat: "ChatRequest | None" = None
    prompt_tokens = 0
    values: tuple[str, ...] = ()
    more: Headers = ()
    due_times: Iterator[float] | None = None
    ending: Ending = "whole"
    unsent = 0
    close_idle: float | None = None
    control = False

    def __init__(self, head: ResponseHead, request_id: str, body: bytes) -> None:
        self.head = head
        self.request_id = request_id
        self.body = body

    @property
    def size(self) -> int:
        """The bytes of the body."""
        return len(self.body)

    @property
    def held(self) -> int:
        """The bytes that are in memory until it is sent, and that nothing else accounts for."""
        return self.size

    def parts(self) -> Iterator[bytes]:
        """Yield the body in parts."""
        view = memoryview(self.body)
        for begin in range(0, len(view), _PART):
            yield bytes(view[begin : begin + _PART])


class LargeReply(Reply):
    """A whole answer that is put together as it is sent.

    As one, the body of a stream of 131,072 tokens takes 36 MB more, and stops all threads for 50 ms.
    """

    def __init__(
        self, head: ResponseHead, request_id: str, size: int, held: int, parts: "Callable[[], Iterator[bytes]]"
    ) -> None:
        """``size`` and ``held``: see Reply; ``parts`` returns an iterator over all bytes of the body."""
        self.head = head
        self.request_id = request_id
        self._size, self._held, self._parts = size, held, parts
        self._body: bytes | None = None

    @property
    def body(self) -> bytes:
        """All of it, for those who cannot take it in parts."""
        if self._body is None:
            self._body = b"".join(self._parts())
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        self._body = body

    @property
    def size(self) -> int:
        """See Reply."""
        return self._size if self._body is None else len(self._body)

    @property
    def held(self) -> int:
        """See Reply."""
        return self._held if self._body is None else len(self._body)

    def parts(self) -> Iterator[bytes]:
        """See Reply."""
        return self._parts() if self._body is None else super().parts()


_PART = 131_072  # bytes


def model_of(answer: "Reply | Stream") -> str:
    """Return the model that an answer is of; empty where nobody noted it."""
    return answer.model if answer.chat is None else answer.chat.model


class Stream:
    """An answer in steps.

    Attributes:
        due_times: yields when each step is due: seconds after the request came in, never falling. It is drawn lazily,
            one step ahead of what is sent, so that what a step waits for may depend on the load.
        cut: returns the bytes of the steps from one number up to another. What is due together is made and sent in one:
            under load that saves most of the cost.
        failed: returns what is sent instead of the rest when a step cannot be made: an error in the dialect's form.
        steps: how many there are.
        tokens: the tokens of each; None where that is not known.
        ending: how it ends, as it stands when it does.
        model, rule, fault, limit, check, chat, prompt_tokens, values, more, control: as in Reply.
    """

    model = ""
    rule = ""
    fault = ""
    limit = ""
    check = ""
    chat: "ChatRequest | None" = None
    prompt_tokens = 0
    values: tuple[str, ...] = ()
    more: Headers = ()
    ending: Ending = "whole"
    close_idle: float | None = None
    control = False
    tokens: Sequence[int] | None = None

    def __init__(
        self,
        head: ResponseHead,
        request_id: str,
        due_times: Iterator[float],
        cut: Callable[[int, int], bytes],
        steps: int,
        failed: Callable[[], bytes] = bytes,
    ) -> None:
        self.head = head
        self.request_id = request_id
        self.due_times = due_times
        self.cut = cut
        self.steps = steps
        self.failed = failed


class Tool(NamedTuple):
    """A tool that a request offers.

    Attributes:
        name: its name.
        schema: the JSON Schema of its arguments; None where it takes a text instead (a custom tool).
    """

    name: str
    schema: Any


class ToolCall(NamedTuple):
    """A call of a tool.

    Attributes:
        id: its id, to which the result will refer.
        name: the tool's name.
        arguments: a JSON text; of a custom tool the text that it takes.
        custom: whether it is a custom tool.
    """

    id: str
    name: str
    arguments: str
    custom: bool = False


class TokenProb(NamedTuple):
    """A token that was said: its bytes, its log probability, and the likeliest tokens in its place with theirs.

    The first token of a prompt that is echoed has no probability.
    """

    token: bytes
    logprob: float | None
    top: tuple[tuple[bytes, float], ...] = ()


class Answer(NamedTuple):
    """What is said, once: every dialect renders it, whole or as a stream.

    Attributes:
        text: the words; None where none are said beside a call or a refusal.
        calls: the tools that are called.
        refusal: the words of a refusal.
        reasoning: what is thought before anything is said; None where nothing of it is shown.
        finish_reason: ``stop``, ``length``, ``tool_calls`` or ``content_filter``.
        stop: the text of the request's before which the answer ends; None where it ends by itself.
        tokens: how many tokens it has.
        logprobs: the tokens of the text, or of the refusal, with their probabilities, where they are wanted.
    """

    text: str | None = None
    calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str = "stop"
    tokens: int = 0
    logprobs: tuple[TokenProb, ...] | None = None
    reasoning: str | None = None
    stop: str | None = None


@dataclass(slots=True)
class OutputConstraints:
    """What a request demands of the form of its answer.

    Attributes:
        tools: what is offered.
        allowed: what of it may be called; None where all may.
        call: ``none``, ``auto``, or ``required`` where one of the allowed has to be called; ``named`` whether it is a
            certain one.
        parallel: whether several calls may be made at once.
        legacy: whether the tools are functions in the form that came before tools.
        called: the names of the tools that have been called since the user last spoke.
        json: whether the text has to be JSON.
        schema: the JSON Schema that the text has to fit; None without one.
        name: what the request calls that schema.
        tools_key, json_key: what tells these tools, or this demand for JSON, from others; empty where there are none,
            or where it would be too long to be remembered.
        stop: texts before the first of which the answer ends.
        top_logprobs: how many likely tokens are wanted with each token; None where no probabilities are wanted.
        prediction: the text that the request expects; None without one.
    """

    tools: Sequence[Tool] = ()
    allowed: Sequence[Tool] | None = None
    call: str = "auto"
    named: bool = False
    parallel: bool = True
    legacy: bool = False
    called: frozenset[str] = frozenset()
    json: bool = False
    schema: Any = None
    name: str = ""
    tools_key: bytes = b""
    json_key: bytes = b""
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    prediction: str | None = None

    @property
    def particular(self) -> bool:
        """Whether the words themselves are looked at: cut, predicted or weighed."""
        return bool(self.stop) or self.top_logprobs is not None or self.prediction is not None


class Tokenizer(Protocol):
    """Counts tokens as a model would."""

    def __hash__(self) -> int:
        """Tell it from others: counts are remembered by it."""

    def count(self, text: str) -> int:
        """Return how many tokens ``text`` has; 0 only for the empty one."""

    def count_all(self, texts: Sequence[str]) -> int:
        """Return how many tokens ``texts`` have together; one call instead of many."""

    def tokens(self, text: str) -> list[bytes]:
        """Cut ``text`` into its tokens, in UTF-8; one may end inside a character."""

    def decode(self, tokens: Sequence[int]) -> str | None:
        """Return the text of tokens; None where one is unknown, or all are."""

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """Cut ``text`` between tokens, but not inside of a character; return the pieces, each with its tokens.

        Together they have as many as ``count`` says; a piece may have none.
        """


@dataclass(slots=True)
class Details:
    """The details that few requests have, and that show in the response: in its form, its usage or its service tier.

    Attributes:
        constraints: the constraints on the form of the answer; None without any.
        service_tier: the service tier of the response.
        cached_tokens, audio_tokens: the tokens of the prompt that were seen before, and that are audio.
        hidden_tokens: the completion tokens that are not in the answer's text.
        reasoning_tokens, accepted_tokens, rejected_tokens: the tokens of reasoning, and of a prediction that came true
            and that did not.
    """

    constraints: OutputConstraints | None = None
    service_tier: bytes = b"default"
    cached_tokens: int = 0
    audio_tokens: int = 0
    hidden_tokens: int = 0
    reasoning_tokens: int = 0
    accepted_tokens: int = 0
    rejected_tokens: int = 0


USUAL = Details()
"""The details of a request that has none; never changed."""

NO_RULE = -1
"""The number of the rule where none holds: the default is said."""


class ChatRequest:
    """What a request asks for, whichever dialect it came in: what rules look at and templates splice.

    A dialect sets what it knows. What only some rules look at (``turn`` and what follows it) it may override as
    properties, which then cost nothing where no rule does.

    Attributes:
        unique: 32 hexadecimal digits, no two alike on any worker.
        body: the parsed request.
        model: the model's name, as asked for.
        tokenizer: counts tokens for that model.
        user_message: the text of the last user message, its text parts joined (the prompt, for completions).
        system_prompt: the text of the system and developer messages, joined by newlines.
        stream: whether a stream is wanted, ``include_usage`` whether it ends with a usage chunk, ``continuous_usage``
            whether every chunk has the usage so far, and ``obfuscation`` whether chunks are padded (None: as
            configured).
        choices: how many choices are wanted (``n``).
        sets_length: whether it sets the length of its answer, and ``sets_least`` its least length.
        details: see Details; None for most requests, which get ready bytes.
        store: whether the response is to be stored.
        request: the request it came in, while it is being answered; None where it came from a response manager.
        prompts: how many prompts the request has, each with as many choices; of chat one.
        rule: the number of the rule that won, or NO_RULE.
        regex_deadline: until when patterns that backtrack may be searched for, a reading of ``time.monotonic``; 0
            before the first of them.
        output: the text that was made up for it, of ``output_tokens`` tokens; empty where none was needed.
        generated: the same where each of its words is a token; else empty.
        said, said_by: answers that are known, and the script that says them.
        finish_reason: why that text ends.
        prompt_tokens: tokens of the whole prompt.
        completion_tokens: tokens of the answer, hidden ones too; set once it is known.
        turn: the number of the answer in its conversation, from 1.
        messages: how many messages there are.
        last_role: the role of the last message.
        results: the names of the tools whose results the conversation ends with.
        offered: the names of the tools that may be called.
        endpoint: the kind of endpoint.
        response_format: ``text``, ``json_object`` or ``json_schema``.
        user: who asks, as the request says.
        session: whose request it is; see ``credentials.session_of``.
    """

    # Class attributes, not slots: most asks leave most of them alone, and one is made in half the time.
    user_message = ""
    system_prompt = ""
    stream = False
    include_usage = False
    continuous_usage = False
    obfuscation: bool | None = None
    choices = 1
    prompts = 1
    sets_length = False
    sets_least = False
    details: Details | None = None
    store = False
    request: Request | None = None
    rule = NO_RULE
    regex_deadline = 0.0
    output = ""
    generated = ""
    said: "list[Answer]" = []  # noqa: RUF012 - never changed
    said_by: object = None
    output_tokens = 0
    finish_reason = "stop"
    prompt_tokens = 0
    completion_tokens = 0
    endpoint = ""
    tokenizer: Tokenizer

    def __init__(self, unique: str, body: dict[str, Any], model: str) -> None:
        self.unique = unique
        self.body = body
        self.model = model

    def add_details(self) -> Details:
        """Return the details, to be changed."""
        if self.details is None:
            self.details = Details()
        return self.details

    @property
    def constraints(self) -> OutputConstraints | None:
        """See Details."""
        return None if self.details is None else self.details.constraints

    @property
    def hidden_tokens(self) -> int:
        """See Details."""
        return 0 if self.details is None else self.details.hidden_tokens

    @property
    def reasoning_tokens(self) -> int:
        """See Details."""
        return 0 if self.details is None else self.details.reasoning_tokens

    @property
    def cached_tokens(self) -> int:
        """See Details."""
        return 0 if self.details is None else self.details.cached_tokens

    @property
    def max_tokens(self) -> int | None:
        """The most tokens that the request allows its answer; None without a limit."""
        most: int | None = self.body.get("max_completion_tokens")
        return self.body.get("max_tokens") if most is None else most

    @property
    def turn(self) -> int:
        """See the class."""
        return 1

    @property
    def messages(self) -> int:
        """See the class."""
        return 1

    @property
    def last_role(self) -> str:
        """See the class."""
        return "user"

    @property
    def results(self) -> tuple[str, ...]:
        """See the class."""
        return ()

    @property
    def offered(self) -> tuple[str, ...]:
        """See the class."""
        return tuple(tool.name for tool in self.constraints.tools) if self.constraints else ()

    @property
    def response_format(self) -> str:
        """See the class."""
        constraints = self.constraints
        return (
            "text"
            if constraints is None or not constraints.json
            else "json_object"
            if constraints.schema is None
            else "json_schema"
        )

    @property
    def user(self) -> str:
        """See the class."""
        user = self.body.get("user")
        return user if isinstance(user, str) else ""

    @property
    def session(self) -> str:
        """See the class."""
        request = self.request
        if request is None:
            return ""
        return session_of(request.headers) if request.provider is None else request.provider.session_of(request)

    def header(self, name: str) -> str | None:
        """Return a header of the request, by its name in any case; None without one."""
        return self.request.headers.get(name.lower()) if self.request else None

    def entry(self, name: str) -> str | None:
        """Return an entry of the request's ``metadata``; None without one."""
        metadata = self.body.get("metadata")
        value = metadata.get(name) if isinstance(metadata, dict) else None
        return value if isinstance(value, str) else None
