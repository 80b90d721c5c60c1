"""Failures as data: the reasons for which a request is refused, or for which its answer fails.

Whoever finds one raises it; the provider of the request's route puts it into its own words, status and envelope (see
``core.provider``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import orjson

from fastmock.core.http import Headers


class ApiError(Exception):
    """An error answer, in words.

    Attributes:
        status: HTTP status.
        message, kind, param, code: the envelope's ``message``, ``type``, ``param`` and ``code``.
        headers: more headers for the answer.
        fault: the fault that it is, if it was made on purpose.
        verbatim: whether no provider changes its status and words.
        overrides: words that a fault gives it, by the names of these attributes, whatever the provider says.
        limit: the limit that was hit.
        check: the check of ``validation`` that refused the request.
        model, rule: the model that was asked for and the rule that won, where they are known.
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

    def but(self, **changes: Any) -> Self:
        """Return the same error with some attributes changed."""
        other = self.__class__.__new__(self.__class__, *self.args)
        other.__dict__.update(self.__dict__, **changes)
        return other

    def renamed(self, rename: Callable[[str], str]) -> Self:
        """Return the same error with its parameters called otherwise."""
        param: str | None = vars(self).get("param")  # most failures are about none
        return self if param is None else self.but(param=rename(param))

    def envelope(self) -> dict[str, dict[str, Any]]:
        """Return the envelope in OpenAI's form, which the control API shares; all four keys are always there."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps(self.envelope())


class Failure(ApiError):  # noqa: N818 - what fails is named, not that it is an error
    """An error as data. It has no words, and no status, before a provider gives it some."""

    def __init__(self) -> None:
        """Most have attributes of their own."""

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


# The request as HTTP.


@dataclass(eq=False)
class InvalidJson(Failure):
    """The body is not a JSON object, or not UTF-8."""


@dataclass(eq=False)
class BodyTooLarge(Failure):
    """The body is longer than ``server.max_body_bytes``."""

    most: int


@dataclass(eq=False)
class TooManyValues(Failure):
    """The body has more JSON values than are read."""

    most: int


@dataclass(eq=False)
class BodyTooDeep(Failure):
    """The body is nested too deeply."""

    most: int


@dataclass(eq=False)
class UnsupportedEncoding(Failure):
    """The body is compressed with a coding that is not understood; ``supported`` are those that are."""

    coding: str
    supported: tuple[str, ...]

    def __post_init__(self) -> None:
        self.headers = (("accept-encoding", ", ".join(self.supported)),)


@dataclass(eq=False)
class InvalidEncoding(Failure):
    """The body is not compressed as its ``content-encoding`` says."""

    coding: str


@dataclass(eq=False)
class BuffersFull(Failure):
    """The bodies and large answers in flight take as much memory as they may."""

    def __post_init__(self) -> None:
        self.headers = (("retry-after", "1"),)


@dataclass(eq=False)
class RequestTimeout(Failure):
    """The request took too long."""


@dataclass(eq=False)
class RouteNotFound(Failure):
    """Nothing is served under this path."""

    method: str
    path: str


@dataclass(eq=False)
class MethodNotAllowed(Failure):
    """Other methods are served under this path; ``allowed`` is the header's value."""

    method: str
    path: str
    allowed: str

    def __post_init__(self) -> None:
        self.headers = (("allow", self.allowed),)


@dataclass(eq=False)
class UpgradeRequired(Failure):
    """A WebSocket was asked for; clients such as Codex go on over HTTP when they see status 426."""

    def __post_init__(self) -> None:
        self.headers = (("upgrade", "HTTP/1.1"),)


# Who asks, and for which model.


@dataclass(eq=False)
class KeyMissing(Failure):
    """No API key was sent."""


@dataclass(eq=False)
class KeyInvalid(Failure):
    """The API key is not one that may call."""

    key: str


@dataclass(eq=False)
class ModelMissing(Failure):
    """No model is named."""


@dataclass(eq=False)
class ModelNotFound(Failure):
    """The model is not listed, and only listed models are served."""

    name: str


# Parameters. A parameter is named by its path, as in ``messages[0].role``.


@dataclass(eq=False)
class ParameterMissing(Failure):
    """A required parameter is not there."""

    param: str


@dataclass(eq=False)
class WrongType(Failure):
    """A parameter has the wrong type; ``expected`` with its article, as in ``a string``."""

    param: str
    expected: str
    value: Any


@dataclass(eq=False)
class InvalidParameter(Failure):
    """A parameter is wrong for the reason ``why``, a sentence without its subject."""

    param: str
    why: str
    code: str | None = "invalid_value"


@dataclass(eq=False)
class UnsupportedValue(Failure):
    """A value is none of the supported ones, which ``supported`` lists."""

    param: str
    value: Any
    supported: str


@dataclass(eq=False)
class OutOfRange(Failure):
    """A number, an ``integer`` or a ``decimal`` by ``number``, is below its minimum or above its maximum."""

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
    """A string does not match the pattern that it has to."""

    param: str
    pattern: str


@dataclass(eq=False)
class OnlyWith(Failure):
    """A parameter is only allowed together with another."""

    param: str
    other: str


@dataclass(eq=False)
class ToolNotFound(Failure):
    """A tool has to be called that is not offered; ``holder`` is the parameter that offers tools."""

    param: str
    name: str
    holder: str


@dataclass(eq=False)
class InvalidSchema(Failure):
    """A JSON Schema that nothing fits.

    Attributes:
        holder: its holder, as in ``function 'f'``.
        code: the code that the error has with OpenAI.
        path: leads to the fault inside of it; None where a limit of Structured Outputs is exceeded.
        why: the fault.
    """

    holder: str
    param: str
    code: str | None
    path: tuple[str | int, ...] | None
    why: str


# Lengths and sizes.


@dataclass(eq=False)
class ContextExceeded(Failure):
    """Prompt and completion do not fit the model's context window; all in tokens.

    ``param`` is the parameter that has the prompt, ``messages`` or ``prompt``.
    """

    window: int
    prompt: int
    completion: int
    param: str


@dataclass(eq=False)
class AnswerTooLarge(Failure):
    """More is wanted than one answer may hold; ``of`` names the unit."""

    size: int
    of: str
    most: int


@dataclass(eq=False)
class StreamingDisabled(Failure):
    """A stream is asked for and ``streaming.enabled`` is off."""


# Limits and overload.


@dataclass(eq=False)
class LimitReached(Failure):
    """A rate limit is used up.

    Attributes:
        name: the model.
        label, unit: the limit, as in ``requests per min (RPM)``, and ``requests`` or ``tokens``.
        most, used, wanted: the limit, and how much of it is used and wanted.
        wait: milliseconds until the request would pass.
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
    """A request wants more than a rate limit ever lets through, so that waiting does not help; see LimitReached."""

    name: str
    label: str
    unit: str
    most: int
    wanted: int


@dataclass(eq=False)
class QuotaExceeded(Failure):
    """The money is spent; waiting does not help, so there is no ``retry-after``."""


@dataclass(eq=False)
class RateLimited(Failure):
    """Too many requests a minute, where nothing is counted; ``wait`` in milliseconds."""

    name: str
    wait: int = 1000

    def __post_init__(self) -> None:
        self.headers = (("retry-after", "1"), ("retry-after-ms", "1000"))


@dataclass(eq=False)
class QueueFull(Failure):
    """As many requests as may are answered and wait; ``most`` are answered at a time."""

    most: int


@dataclass(eq=False)
class Overloaded(Failure):
    """There is too much to do."""


# Failures of the server.


@dataclass(eq=False)
class InternalError(Failure):
    """The server failed."""


@dataclass(eq=False)
class BadGateway(Failure):
    """A server before the API failed."""


@dataclass(eq=False)
class ManagerFailed(Failure):
    """A response manager raised, or returned a value that cannot be sent."""

    why: str


@dataclass(eq=False)
class StatusFailure(Failure):
    """The error that a status stands for; ``wait`` in milliseconds where its words name one."""

    status: int
    name: str
    wait: int = 1000


def phrase(status: int) -> str:
    """Return HTTP's name of a status, as a sentence."""
    try:
        return f"{HTTPStatus(status).phrase}."
    except ValueError:
        return f"Status {status}."
