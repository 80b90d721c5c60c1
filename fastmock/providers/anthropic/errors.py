"""Anthropic's errors: message, status and type of each failure.

Messages are Anthropic's own if known; failures without one here get OpenAI's message.
"""

from collections.abc import Mapping
from functools import singledispatch
from types import MappingProxyType

import orjson

from fastmock.core import errors
from fastmock.core.durations import duration
from fastmock.core.errors import ApiError, Failure, phrase
from fastmock.providers.openai import errors as openai

_KINDS: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        502: "api_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
_OTHER_KINDS = "invalid_request_error", "api_error"  # types for other statuses below 500, and from 500
_COMMON_KINDS = "invalid_request_error", "server_error"  # generic types, which are replaced by the type of the status
_LIMITS = "For details, refer to: https://docs.anthropic.com/en/api/rate-limits. You can see the response headers for "
_LIMITS += "current usage. Please reduce"
_LESS = "or contact sales about an increase."
_INTERNAL_ERROR, _OVERLOADED = "Internal server error", "Overloaded"


@singledispatch
def words(error: ApiError) -> ApiError:
    """Return an error with its message, and with the type of its status."""
    worded = openai.words(error) if isinstance(error, Failure) else error
    if error.verbatim and worded.kind not in _COMMON_KINDS:
        return worded
    return worded.replace(kind=_kind(worded.status))


def _kind(status: int) -> str:
    return _KINDS.get(status, _OTHER_KINDS[status >= 500])


def _error(status: int, message: str) -> ApiError:
    return ApiError(status, message, kind=_kind(status))


def invalid(path: str, reason: str) -> ApiError:
    """400: a field, given by its dotted path, is invalid."""
    return ApiError(400, f"{path}: {reason}")


@words.register
def _(error: errors.InvalidJson) -> ApiError:
    return _error(400, "The request body is not valid JSON")


@words.register
def _(error: errors.KeyMissing) -> ApiError:
    return _error(401, "x-api-key header is required")


@words.register
def _(error: errors.KeyInvalid) -> ApiError:
    return _error(401, "invalid x-api-key")


@words.register
def _(error: errors.ModelNotFound) -> ApiError:
    return _error(404, f"model: {error.name}")


@words.register
def _(error: errors.RouteNotFound) -> ApiError:
    return _error(404, "Not found")


@words.register
def _(error: errors.InvalidSchema) -> ApiError:
    return _error(400, f"{error.param}: {openai.schema_fault(error)}")


@words.register
def _(error: errors.ContextExceeded) -> ApiError:
    prompt, window = error.prompt, error.window
    if prompt > window:
        return _error(400, f"prompt is too long: {prompt} tokens > {window} maximum")
    message = f"input length and `max_tokens` exceed context limit: {prompt} + {error.completion} > {window}"
    return _error(400, f"{message}, decrease input length or `max_tokens` and try again")


@words.register
def _(error: errors.LimitReached) -> ApiError:
    message = (
        f"This request would exceed your organization's rate limit of {error.most} {error.label} for {error.name}: "
    )
    message += f"{error.used} used, {error.wanted} requested. Please try again in {duration(error.wait)}. "
    return _limited(message, error.unit)


@words.register
def _(error: errors.LimitTooSmall) -> ApiError:
    message = (
        f"This request would exceed your organization's rate limit of {error.most} {error.label} for {error.name} "
    )
    return _limited(f"{message}by itself: {error.wanted} requested. ", error.unit)


@words.register
def _(error: errors.RateLimited) -> ApiError:
    return _limited("This request would exceed your organization's rate limit of 500 requests per minute. ", "requests")


def _limited(message: str, unit: str) -> ApiError:
    reason = "the number of requests" if unit == "requests" else "the prompt length or the maximum tokens requested"
    return _error(429, f"{message}{_LIMITS} {reason}, {_LESS}")


@words.register
def _(error: errors.QuotaExceeded) -> ApiError:
    message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
    return _error(400, f"{message}purchase credits.")


@words.register(errors.Overloaded)
@words.register(errors.BuffersFull)
def _(error: Failure) -> ApiError:
    return _error(529, _OVERLOADED)


@words.register
def _(error: errors.InternalError) -> ApiError:
    return _error(500, _INTERNAL_ERROR)


@words.register
def _(error: errors.StatusFailure) -> ApiError:
    known = {500: _INTERNAL_ERROR, 529: _OVERLOADED}
    return _error(error.status, known.get(error.status) or phrase(error.status))


def envelope(error: ApiError, request_id: str) -> bytes:
    """Return an error as a response body."""
    inner = {"type": error.kind, "message": error.message}
    return orjson.dumps({"type": "error", "error": inner, "request_id": request_id})
