"""Failures as data: the reasons to reject a request, or for its response to fail.

The code that finds a failure raises it; the provider of the route turns it into its own message, status and envelope
(see ``core.provider``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import orjson

from fastmock.core.http import Headers


class ApiError(Exception):
    """An error response with its message.

    Attributes:
        status: HTTP status.
        message, kind, param, code: ``message``, ``type``, ``param`` and ``code`` of the envelope.
        headers: additional headers of the response.
        fault: name of the injected fault that caused the error; empty without one.
        verbatim: whether providers keep the status and message.
        overrides: attributes by name, set by a fault; they replace those of the provider.
        limit: the limit that was hit.
        check: the check of ``validation`` that rejected the request.
        model, rule: requested model and winning rule, if known.
    """

    headers: Headers = ()
    param: str | None
    model = ""
    rule = ""
    fault = ""
    limit = ""
    check = ""
    verbatim = False
    overrides: Mapping[str, str] | None = None

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
        headers: Headers = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = headers

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some attributes changed."""
        other = self.__class__.__new__(self.__class__, *self.args)
        other.__dict__.update(self.__dict__, **changes)
        return other

    def rename_param(self, rename: Callable[[str], str]) -> Self:
        """Return a copy with ``rename`` applied to its parameter name."""
        param: str | None = vars(self).get("param")  # most failures have none
        return self if param is None else self.replace(param=rename(param))

    def envelope(self) -> dict[str, dict[str, Any]]:
        """Return the error in OpenAI's envelope, which the control API shares; all four keys are always present."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        """Return the envelope as JSON."""
        return orjson.dumps(self.envelope())


class Failure(ApiError):  # noqa: N818 - the name says which failure, not that it is an error
    """An error as data, without a message and status until a provider adds them."""

    def __init__(self) -> None:
        """Most subclasses have attributes of their own."""

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


# HTTP.


@dataclass(eq=False)
class InvalidJson(Failure):
    """The body is not a JSON object, or not UTF-8."""


@dataclass(eq=False)
class BodyTooLarge(Failure):
    """The body is longer than ``server.max_body_bytes``."""

    most: int


@dataclass(eq=False)
class TooManyValues(Failure):
    """The body has more JSON values than the limit."""

    most: int


@dataclass(eq=False)
class BodyTooDeep(Failure):
    """The body is nested too deeply."""

    most: int


@dataclass(eq=False)
class UnsupportedEncoding(Failure):
    """The body has an unknown content coding; ``supported`` lists the known ones."""

    coding: str
    supported: tuple[str, ...]

    def __post_init__(self) -> None:
        self.headers = (("accept-encoding", ", ".join(self.supported)),)


@dataclass(eq=False)
class InvalidEncoding(Failure):
    """The data does not match its ``content-encoding``."""

    coding: str


@dataclass(eq=False)
class BuffersFull(Failure):
    """The bodies and large responses in flight have reached the memory limit."""

    def __post_init__(self) -> None:
        self.headers = (("retry-after", "1"),)


@dataclass(eq=False)
class RequestTimeout(Failure):
    """The request took too long."""


@dataclass(eq=False)
class RouteNotFound(Failure):
    """The path is unknown."""

    method: str
    path: str


@dataclass(eq=False)
class MethodNotAllowed(Failure):
    """The path exists, but not with this method; ``allowed`` is the value of the ``allow`` header."""

    method: str
    path: str
    allowed: str

    def __post_init__(self) -> None:
        self.headers = (("allow", self.allowed),)


@dataclass(eq=False)
class UpgradeRequired(Failure):
    """A WebSocket was requested; clients such as Codex fall back to HTTP on status 426."""

    def __post_init__(self) -> None:
        self.headers = (("upgrade", "HTTP/1.1"),)


# Authentication and models.


@dataclass(eq=False)
class KeyMissing(Failure):
    """No API key was sent."""


@dataclass(eq=False)
class KeyInvalid(Failure):
    """The API key is not accepted."""

    key: str


@dataclass(eq=False)
class ModelMissing(Failure):
    """The request names no model."""


@dataclass(eq=False)
class ModelNotFound(Failure):
    """The model is not listed, and only listed models are served."""

    name: str


# Parameters. A parameter is named by its path, as in ``messages[0].role``.


@dataclass(eq=False)
class ParameterMissing(Failure):
    """A required parameter is missing."""

    param: str


@dataclass(eq=False)
class WrongType(Failure):
    """A parameter has the wrong type; ``expected`` includes the article, as in ``a string``."""

    param: str
    expected: str
    value: Any


@dataclass(eq=False)
class InvalidParameter(Failure):
    """A parameter is invalid; ``why`` is a sentence without its subject."""

    param: str
    why: str
    code: str | None = "invalid_value"


@dataclass(eq=False)
class UnsupportedValue(Failure):
    """A value is not supported; ``supported`` lists the supported ones."""

    param: str
    value: Any
    supported: str


@dataclass(eq=False)
class OutOfRange(Failure):
    """A number is below its minimum or above its maximum; ``number`` is ``integer`` or ``decimal``."""

    param: str
    value: float
    least: float
    most: float
    number: str = "integer"


@dataclass(eq=False)
class EmptyArray(Failure):
    """An array must not be empty."""

    param: str


@dataclass(eq=False)
class ArrayTooLong(Failure):
    """An array has too many elements."""

    param: str
    most: int
    length: int


@dataclass(eq=False)
class StringTooLong(Failure):
    """A string has too many characters."""

    param: str
    most: int
    length: int


@dataclass(eq=False)
class TooManyProperties(Failure):
    """An object has too many properties."""

    param: str
    most: int
    length: int


@dataclass(eq=False)
class PatternMismatch(Failure):
    """A string does not match its pattern."""

    param: str
    pattern: str


@dataclass(eq=False)
class OnlyWith(Failure):
    """A parameter is only allowed together with another."""

    param: str
    other: str


@dataclass(eq=False)
class ToolNotFound(Failure):
    """The tool that must be called is not offered; ``holder`` is the parameter that lists the tools."""

    param: str
    name: str
    holder: str


@dataclass(eq=False)
class InvalidSchema(Failure):
    """A JSON Schema that is invalid or that no value satisfies.

    Attributes:
        holder: the owner of the schema, as in ``function 'f'``.
        code: the error code in OpenAI's API.
        path: path of the error inside the schema; None if a limit of Structured Outputs is exceeded.
        why: the reason.
    """

    holder: str
    param: str
    code: str | None
    path: tuple[str | int, ...] | None
    why: str


# Lengths and sizes.


@dataclass(eq=False)
class ContextExceeded(Failure):
    """Prompt and completion exceed the model's context window; all values in tokens.

    ``param`` is the parameter that contains the prompt, ``messages`` or ``prompt``.
    """

    window: int
    prompt: int
    completion: int
    param: str


@dataclass(eq=False)
class AnswerTooLarge(Failure):
    """The requested response is too large; ``of`` names the unit."""

    size: int
    of: str
    most: int


@dataclass(eq=False)
class NoRuleMatched(Failure):
    """No rule matches the request, which strict mode demands.

    ``nearest`` is the name of the nearest rule, None without rules; ``differences`` are the conditions that it fails.
    """

    nearest: str | None
    differences: tuple[str, ...]


@dataclass(eq=False)
class NoRecordingMatched(Failure):
    """No recording in the cassettes matches the request.

    ``nearest`` is the name of the nearest recording, None without one; ``differences`` are those that count.
    """

    nearest: str | None
    differences: tuple[str, ...]


@dataclass(eq=False)
class RecordingsUsedUp(Failure):
    """The request was repeated more often than it was recorded; ``last`` is the name of its last recording."""

    count: int
    last: str


@dataclass(eq=False)
class StreamingDisabled(Failure):
    """The request asks for a stream, but ``streaming.enabled`` is off."""


# Limits and overload.


@dataclass(eq=False)
class LimitReached(Failure):
    """A rate limit is used up.

    Attributes:
        name: the model.
        label, unit: the limit, as in ``requests per min (RPM)``, and ``requests`` or ``tokens``.
        most, used, wanted: the limit, the used amount and the requested amount.
        wait: milliseconds until the request would be accepted.
    """

    name: str
    label: str
    unit: str
    most: int
    used: int
    wanted: int
    wait: int


@dataclass(eq=False)
class LimitTooSmall(Failure):
    """A request exceeds a rate limit on its own, so that waiting does not help; see LimitReached."""

    name: str
    label: str
    unit: str
    most: int
    wanted: int


@dataclass(eq=False)
class QuotaExceeded(Failure):
    """The quota is spent; waiting does not help, so there is no ``retry-after``."""


@dataclass(eq=False)
class RateLimited(Failure):
    """A rate limit error from a fault, without any counting; ``wait`` in milliseconds."""

    name: str
    wait: int = 1000

    def __post_init__(self) -> None:
        self.headers = (("retry-after", "1"), ("retry-after-ms", "1000"))


@dataclass(eq=False)
class QueueFull(Failure):
    """The queue is full; ``most`` requests are answered at a time."""

    most: int


@dataclass(eq=False)
class Overloaded(Failure):
    """The server is overloaded."""


# Failures of the server.


@dataclass(eq=False)
class InternalError(Failure):
    """An internal error."""


@dataclass(eq=False)
class BadGateway(Failure):
    """A gateway before the API failed."""


@dataclass(eq=False)
class UpstreamFailed(Failure):
    """The upstream to which requests are forwarded cannot be reached, or its answer cannot be used."""

    url: str
    why: str


@dataclass(eq=False)
class ManagerFailed(Failure):
    """A response manager raised, or returned a value that cannot be sent."""

    why: str


@dataclass(eq=False)
class StatusFailure(Failure):
    """The error of a status; ``wait`` in milliseconds for messages that name a delay."""

    status: int
    name: str
    wait: int = 1000


def phrase(status: int) -> str:
    """Return the reason phrase of a status as a sentence."""
    try:
        return f"{HTTPStatus(status).phrase}."
    except ValueError:
        return f"Status {status}."
