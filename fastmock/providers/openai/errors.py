"""OpenAI's errors: message, status, type and code of each failure, and the errors of its own endpoints.

Messages are OpenAI's own if known.
"""

from collections.abc import Iterable
from functools import singledispatch
from typing import Any

from fastmock.core import errors
from fastmock.core.durations import duration
from fastmock.core.errors import ApiError, phrase

ORGANIZATION = "org-fastmock"
_DOCS = "https://platform.openai.com/docs/api-reference"
_LIMITS = "https://platform.openai.com/account/rate-limits"
_KEYS = "https://platform.openai.com/account/api-keys"


@singledispatch
def words(error: ApiError) -> ApiError:
    """Return an error with its message; an error that already has one is returned unchanged."""
    return error


@words.register
def _(error: errors.InvalidJson) -> ApiError:
    return ApiError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
        "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
    )


@words.register
def _(error: errors.BodyTooLarge) -> ApiError:
    return ApiError(413, f"Maximum request body size of {error.most} bytes exceeded ('server.max_body_bytes').")


@words.register
def _(error: errors.TooManyValues) -> ApiError:
    return ApiError(400, f"The request body has too many values; at most {error.most} are accepted.")


@words.register
def _(error: errors.BodyTooDeep) -> ApiError:
    return ApiError(400, f"The request body is nested too deeply; at most {error.most} levels are accepted.")


@words.register
def _(error: errors.UnsupportedEncoding) -> ApiError:
    hint = " ('zstd' needs the extra: pip install 'fastmock[zstd]')" if error.coding == "zstd" else ""
    supported = ", ".join(error.supported)
    message = f"Unsupported content-encoding '{error.coding}': supported are {supported} and identity{hint}."
    return ApiError(415, message, None, "unsupported_content_encoding")


@words.register
def _(error: errors.InvalidEncoding) -> ApiError:
    return ApiError(400, f"The request body is not valid {error.coding}, which its content-encoding names.")


@words.register
def _(error: errors.BuffersFull) -> ApiError:
    message = "Too many large bodies are in flight ('server.max_buffered_bytes'). Please try again later."
    return ApiError(503, message, kind="server_error")


@words.register
def _(error: errors.RequestTimeout) -> ApiError:
    return ApiError(408, "Request timed out.", None, "request_timeout", "server_error")


@words.register
def _(error: errors.RouteNotFound) -> ApiError:
    if error.path == "/v1" or error.path.startswith("/v1/"):
        return ApiError(404, f"Invalid URL ({error.method} {error.path})")
    return ApiError(
        404,
        f"Unknown request URL: {error.method} {error.path}. Please check the URL for typos, or see the docs at "
        f"{_DOCS}/.",
        None,
        "unknown_url",
    )


@words.register
def _(error: errors.MethodNotAllowed) -> ApiError:
    message = (
        f"Not allowed to {error.method} on {error.path}. (HINT: Perhaps you meant to use a different HTTP method?)"
    )
    return ApiError(405, message, None, "method_not_supported")


@words.register
def _(error: errors.UpgradeRequired) -> ApiError:
    message = "WebSocket connections are not supported here. Please send the request over HTTP."
    return ApiError(426, message, None, "websocket_not_supported")


@words.register
def _(error: errors.KeyMissing) -> ApiError:
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from "
        f"{_KEYS}.",
    )


@words.register
def _(error: errors.KeyInvalid) -> ApiError:
    message = f"Incorrect API key provided: {masked(error.key)}. You can find your API key at {_KEYS}."
    return ApiError(401, message, None, "invalid_api_key")


def masked(key: str) -> str:
    """Return a key with all but its first 8 and last 4 characters masked; a short key is returned unmasked."""
    return key if len(key) <= 12 else f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"


@words.register
def _(error: errors.ModelMissing) -> ApiError:
    return ApiError(400, "you must provide a model parameter")


@words.register
def _(error: errors.ModelNotFound) -> ApiError:
    message = f"The model `{error.name}` does not exist or you do not have access to it."
    return ApiError(404, message, None, "model_not_found")


@words.register
def _(error: errors.ParameterMissing) -> ApiError:
    return ApiError(400, f"Missing required parameter: '{error.param}'.", error.param, "missing_required_parameter")


@words.register
def _(error: errors.WrongType) -> ApiError:
    message = f"Invalid type for '{error.param}': expected {error.expected}, but got {json_type(error.value)} instead."
    return ApiError(400, message, error.param, "invalid_type")


def json_type(value: Any) -> str:
    """Return the name of a JSON value's type in OpenAI's messages, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "an integer", float: "a decimal number", list: "an array", dict: "an object"}
    return names.get(type(value), "an unknown type")


@words.register
def _(error: errors.InvalidParameter) -> ApiError:
    return ApiError(400, f"Invalid '{error.param}': {error.why}", error.param, error.code)


@words.register
def _(error: errors.UnsupportedValue) -> ApiError:
    message = f"Invalid value: '{error.value}'. Supported values are: {error.supported}."
    return ApiError(400, message, error.param, "invalid_value")


@words.register
def _(error: errors.OutOfRange) -> ApiError:
    low = error.value < error.least
    return ApiError(
        400,
        f"Invalid '{error.param}': {error.number} {'below minimum' if low else 'above maximum'} value. Expected a "
        f"value {'>=' if low else '<='} {error.least if low else error.most}, but got {error.value} instead.",
        error.param,
        f"{error.number}_below_min_value" if low else f"{error.number}_above_max_value",
    )


@words.register
def _(error: errors.EmptyArray) -> ApiError:
    message = "empty array. Expected an array with minimum length 1, but got an empty array instead."
    return ApiError(400, f"Invalid '{error.param}': {message}", error.param, "empty_array")


@words.register
def _(error: errors.ArrayTooLong) -> ApiError:
    return ApiError(
        400,
        f"Invalid '{error.param}': array too long. Expected an array with maximum length {error.most}, but got an "
        f"array with length {error.length} instead.",
        error.param,
        "array_above_max_length",
    )


@words.register
def _(error: errors.StringTooLong) -> ApiError:
    return ApiError(
        400,
        f"Invalid '{error.param}': string too long. Expected a string with maximum length {error.most}, but got a "
        f"string with length {error.length} instead.",
        error.param,
        "string_above_max_length",
    )


@words.register
def _(error: errors.TooManyProperties) -> ApiError:
    return ApiError(
        400,
        f"Invalid '{error.param}': too many properties. Expected an object with at most {error.most} properties, "
        f"but got an object with {error.length} properties instead.",
        error.param,
        "object_above_max_properties",
    )


@words.register
def _(error: errors.PatternMismatch) -> ApiError:
    message = f"Invalid '{error.param}': string does not match pattern. Expected a string that matches the pattern "
    return ApiError(400, f"{message}'{error.pattern}'.", error.param, "invalid_value")


@words.register
def _(error: errors.OnlyWith) -> ApiError:
    message = f"'{error.param}' is only allowed when '{error.other}' are specified."
    return ApiError(400, f"Invalid value for '{error.param}': {message}", error.param)


@words.register
def _(error: errors.ToolNotFound) -> ApiError:
    message = f"no function named '{error.name}' was specified in the '{error.holder}' parameter."
    return ApiError(400, f"Invalid value for '{error.param}': {message}", error.param)


@words.register
def _(error: errors.InvalidSchema) -> ApiError:
    return ApiError(400, f"Invalid schema for {error.holder}: {schema_fault(error)}", error.param, error.code)


def schema_fault(error: errors.InvalidSchema) -> str:
    """Return the message about a schema, which both providers share."""
    return f"{error.why}." if error.path is None else f"In context={tuple(error.path)!r}, {error.why}."


@words.register
def _(error: errors.ContextExceeded) -> ApiError:
    total = error.prompt + error.completion
    message = f"This model's maximum context length is {error.window} tokens"
    if error.param == "prompt":
        message += f", however you requested {total} tokens ({error.prompt} in your prompt; {error.completion} for the "
        message += "completion). Please reduce your prompt; or completion length."
    elif error.prompt > error.window:
        message += (
            f". However, your messages resulted in {error.prompt} tokens. Please reduce the length of the messages."
        )
    else:
        message += (
            f". However, you requested {total} tokens ({error.prompt} in the messages, {error.completion} in the "
        )
        message += "completion). Please reduce the length of the messages or completion."
    return ApiError(400, message, error.param, "context_length_exceeded")


@words.register
def _(error: errors.AnswerTooLarge) -> ApiError:
    message = f"The answer would have {error.size} {error.of}; one answer may have at most {error.most}."
    return ApiError(400, message, code="invalid_value")


@words.register
def _(error: errors.NoRuleMatched) -> ApiError:
    message = "No rule matches this request, as strict mode demands ('responses.strict')."
    if error.nearest is not None:
        message += f" The nearest rule is '{error.nearest}': {'; '.join(error.differences)}."
    return ApiError(404, message, None, "no_rule_matched")


@words.register
def _(error: errors.NoRecordingMatched) -> ApiError:
    message = "No recording matches this request ('cassettes.on_miss')."
    if error.nearest is not None:
        message += f" The nearest one is {error.nearest}."
    if error.differences:
        text = "; ".join(error.differences)
        message += f" {text[0].upper()}{text[1:]}." if error.nearest is None else f" Of this request, {text}."
    return ApiError(404, message, None, "no_recording_matched")


@words.register
def _(error: errors.RecordingsUsedUp) -> ApiError:
    times = "once" if error.count == 1 else f"{error.count} times"
    message = f"This request was recorded {times} and is repeated more often; its last recording is {error.last}."
    return ApiError(404, message, None, "recordings_used_up")


@words.register
def _(error: errors.StreamingDisabled) -> ApiError:
    message = "Streaming is turned off on this server ('streaming.enabled' is false); send 'stream': false."
    return ApiError(400, message, "stream", "unsupported_value")


@words.register
def _(error: errors.LimitReached) -> ApiError:
    return ApiError(
        429,
        f"Rate limit reached for {error.name} in organization {ORGANIZATION} on {error.label}: Limit {error.most}, "
        f"Used {error.used}, Requested {error.wanted}. Please try again in {duration(error.wait)}. "
        f"Visit {_LIMITS} to learn more.",
        None,
        "rate_limit_exceeded",
        error.unit if error.unit == "requests" else "tokens",
    )


@words.register
def _(error: errors.LimitTooSmall) -> ApiError:
    return ApiError(
        429,
        f"Request too large for {error.name} in organization {ORGANIZATION} on {error.label}: Limit {error.most}, "
        f"Requested {error.wanted}. The input or output tokens must be reduced in order to run successfully. Visit "
        f"{_LIMITS} to learn more.",
        None,
        "rate_limit_exceeded",
        error.unit if error.unit == "requests" else "tokens",
    )


@words.register
def _(error: errors.RateLimited) -> ApiError:
    return words(errors.LimitReached(error.name, "requests per min (RPM)", "requests", 500, 500, 1, error.wait))


@words.register
def _(error: errors.QuotaExceeded) -> ApiError:
    return ApiError(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        None,
        "insufficient_quota",
        "insufficient_quota",
    )


@words.register
def _(error: errors.QueueFull) -> ApiError:
    message = f"{error.most} are being answered, and the queue is full. Please try again later."
    return ApiError(429, f"Too many requests at a time: {message}", kind="requests")


@words.register
def _(error: errors.Overloaded) -> ApiError:
    return ApiError(
        503,
        "That model is currently overloaded with other requests. You can retry your request, or contact us through our "
        "help center at help.openai.com if the error persists.",
        kind="server_error",
    )


@words.register
def _(error: errors.InternalError) -> ApiError:
    message = "The server had an error while processing your request. Sorry about that!"
    return ApiError(500, message, kind="server_error")


@words.register
def _(error: errors.BadGateway) -> ApiError:
    return ApiError(502, "Bad gateway.", kind="server_error")


@words.register
def _(error: errors.UpstreamFailed) -> ApiError:
    message = f"The upstream {error.url} failed: {error.why}."
    return ApiError(502, message, None, "upstream_failed", "server_error")


@words.register
def _(error: errors.ManagerFailed) -> ApiError:
    return ApiError(500, f"The response manager failed: {error.why}", kind="server_error")


_OF_STATUS = {
    408: errors.RequestTimeout,
    500: errors.InternalError,
    502: errors.BadGateway,
    503: errors.Overloaded,
}


@words.register
def _(error: errors.StatusFailure) -> ApiError:
    if error.status == 429:
        return words(errors.RateLimited(error.name, error.wait))
    if (known := _OF_STATUS.get(error.status)) is not None:
        return words(known())
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return ApiError(error.status, phrase(error.status), kind=kind)


# Errors of OpenAI's own endpoints.


def no_call_id(index: int) -> ApiError:
    """400: a tool message has no call id; ``index`` is the message's."""
    message = "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'."
    return ApiError(400, message, f"messages.[{index}].tool_call_id")


def no_calls_before(index: int) -> ApiError:
    """400: a tool message follows no tool calls; ``index`` is the message's."""
    return ApiError(
        400,
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
        f"messages.[{index}].role",
    )


def no_such_call(index: int, id_: str) -> ApiError:
    """400: a tool message refers to none of the preceding calls; ``index`` is the message's."""
    message = f"Invalid parameter: 'tool_call_id' of '{id_}' not found in 'tool_calls' of previous message."
    return ApiError(400, message, f"messages.[{index}].tool_call_id")


def calls_without_results(param: str, ids: Iterable[str]) -> ApiError:
    """400: tool calls have no results; ``param`` is the role of the message in their place, or ``messages``."""
    message = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(ids)}"
    )
    return ApiError(400, message, param)


def null_content(index: int) -> ApiError:
    """400: a message lacks its required content; ``index`` is the message's."""
    param = f"messages.[{index}].content"
    return ApiError(400, "Invalid value for 'content': expected a string, got null.", param)


def no_such_completion(id_: str) -> ApiError:
    """404: no stored completion has this id."""
    return ApiError(404, f"No chat completion found with id '{id_}'.", "completion_id", "not_found")


def no_such_response(id_: str) -> ApiError:
    """404: no stored response has this id."""
    return ApiError(404, f"Response with id '{id_}' not found.", "id")


def no_such_conversation(id_: str) -> ApiError:
    """404: no conversation has this id."""
    return ApiError(404, f"Conversation with id '{id_}' not found.")


def no_such_item(id_: str) -> ApiError:
    """404: no item has this id."""
    return ApiError(404, f"Item with id '{id_}' not found.")


def no_previous_response(id_: str) -> ApiError:
    """400: the previous response is not stored."""
    message = f"Previous response with id '{id_}' not found."
    return ApiError(400, message, "previous_response_id", "previous_response_not_found")


def bad_embeddings_input() -> ApiError:
    """400: the input of an embeddings request has none of the four valid forms."""
    return ApiError(400, f"'$.input' is invalid. Please check the API reference: {_DOCS}.")


def fixed_dimensions(fixed: int, wanted: int) -> ApiError:
    """400: the requested length of vectors differs from that of the fixed ones."""
    message = (
        f"Invalid 'dimensions': the vectors of this server's file have {fixed} dimensions, but {wanted} were requested."
    )
    return ApiError(400, message, "dimensions", "invalid_value")


def too_many_embedding_tokens(tokens: int, most: int) -> ApiError:
    """400: the inputs of an embeddings request have too many tokens in total."""
    kind = "max_tokens_per_request"
    return ApiError(400, f"Requested {tokens} tokens, max {most} tokens per request", None, kind, kind)
