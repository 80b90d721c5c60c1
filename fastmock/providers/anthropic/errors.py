"""What all of Anthropic's endpoints have in common: who speaks that way, keys, headers, errors.

Texts are Anthropic's own where one is known.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

import orjson

from fastmock.core.errors import ApiError, bad_json, phrase
from fastmock.core.headers import Heads
from fastmock.core.http import Request

_ORGANIZATION = "fa57a0c4-0000-4000-8000-000000000000"

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
_OTHER_KINDS = "invalid_request_error", "api_error"  # below 500, and from there on
_BAD_JSON = bad_json().message
_NO_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
_LIMITS = "For details, refer to: https://docs.anthropic.com/en/api/rate-limits. You can see the response headers for "
_LIMITS += "current usage. Please reduce"
_LESS = "or contact sales about an increase."
# What has words of its own here, by code or by status.
_WORDS: Mapping[str | int | None, str] = MappingProxyType(
    {
        "insufficient_quota": f"{_NO_CREDIT}purchase credits.",
        "rate_limit_exceeded": "This request would exceed your organization's rate limit of 500 requests per minute. "
        f"{_LIMITS} the number of requests, {_LESS}",
        500: "Internal server error",
        529: "Overloaded",
    }
)


def heads() -> Heads:
    """Return what makes the heads of answers."""
    return Heads((("anthropic-organization-id", _ORGANIZATION),), "request-id")


def speaks(request: Request) -> bool:
    """Return whether a request is for this dialect: by its path, or by the header that its clients send."""
    return (
        request.path.removeprefix("/v1").startswith("/messages") or request.headers.get("anthropic-version") is not None
    )


def invalid(path: str, what: str) -> ApiError:
    """400: a field, given by its path with dots, is wrong."""
    return ApiError(400, f"{path}: {what}")


def put(error: ApiError) -> ApiError:
    """Return an error with the status and the words that it has here."""
    status, message = error.status, error.message
    if error.as_is:
        return error
    if error.code == "insufficient_quota":
        status = 400
    elif status == 503:
        status, message = 529, _WORDS[529]
    elif message == _BAD_JSON:
        message = "The request body is not valid JSON"
    elif error.code == "model_not_found":
        message = f"model: {error.message.partition('`')[2].partition('`')[0]}"
    elif status == 401:
        message = "invalid x-api-key" if error.code == "invalid_api_key" else "x-api-key header is required"
    elif status == 404:
        message = "Not found"
    elif error.code == "context_length_exceeded":
        message = _too_long(message)
    elif error.kind == "server_error":
        message = _WORDS.get(status, message)
    message = _WORDS.get(error.code, message)
    kind = _KINDS.get(status, "invalid_request_error")
    return error.but(status=status, message=message, kind=kind)


def given(error: ApiError) -> ApiError:
    """Return an error whose words stand; its kind is that of its status where nothing else was said of it."""
    said = error.kind not in ("invalid_request_error", "server_error")
    return error.but(as_is=True, kind=error.kind if said else _kind(error.status))


def limit_reached(model: str, label: str, unit: str, limit: int, used: int, wanted: int, wait: str) -> ApiError:
    """429: see ``errors.limit_reached``."""
    message = f"This request would exceed your organization's rate limit of {limit} {label} for {model}: {used} used, "
    return _limited(f"{message}{wanted} requested. Please try again in {wait}. {_LIMITS} ", unit)


def too_much_at_once(model: str, label: str, unit: str, limit: int, wanted: int) -> ApiError:
    """429: see ``errors.too_much_at_once``."""
    message = f"This request would exceed your organization's rate limit of {limit} {label} for {model} by itself: "
    return _limited(f"{message}{wanted} requested. {_LIMITS} ", unit)


def _limited(message: str, unit: str) -> ApiError:
    message += (
        "the number of requests, " if unit == "requests" else "the prompt length or the maximum tokens requested, "
    )
    return ApiError(429, message + _LESS, None, "rate_limit_exceeded", _KINDS[429]).but(as_is=True)


def of_status(status: int) -> ApiError:
    """Return the error that a status stands for."""
    return ApiError(status, _WORDS.get(status) or phrase(status), kind=_kind(status))


def _kind(status: int) -> str:
    return _KINDS.get(status, _OTHER_KINDS[status >= 500])


def _too_long(message: str) -> str:
    """Say in Anthropic's words what OpenAI's say of a prompt, or a prompt and its answer, that exceed the window."""
    window, *numbers = re.findall(r"\d+", message)
    if len(numbers) == 1:
        return f"prompt is too long: {numbers[0]} tokens > {window} maximum"
    _, prompt, answer = numbers
    limit = f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {window}"
    return f"{limit}, decrease input length or `max_tokens` and try again"


def in_stream(error: ApiError, request_id: str) -> bytes:
    """Return an error as a stream of events says it."""
    return b"event: error\ndata: %b\n\n" % envelope(put(error), request_id)


def envelope(error: ApiError, request_id: str) -> bytes:
    """Return the body that says an error, which ``put`` returned."""
    inner = {"type": error.kind, "message": error.message}
    return orjson.dumps({"type": "error", "error": inner, "request_id": request_id})
