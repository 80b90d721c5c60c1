"""Every error the API answers with, as data; one class carries them and one function writes them.

Texts are OpenAI's own where one is known.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson

from fastmock.core.http import Headers

ORGANIZATION = "org-fastmock"
_DOCS = "https://platform.openai.com/docs/api-reference"
_LIMITS = "https://platform.openai.com/account/rate-limits"


class ApiError(Exception):
    """An answer in the error envelope.

    Attributes:
        status: HTTP status.
        message, kind, param, code: the envelope's ``message``, ``type``, ``param`` and ``code``.
        headers: more headers for the answer.
        fault: the fault that it is, if it was made on purpose; and ``as_is`` whether status and words were given for
            it, so that no dialect changes them.
        limit: the limit that was hit.
        rounded: an integer in the message that parsing has rounded, since 64 bits do not hold it.
        check: the check of ``api.validation`` that refused the request.
        model, rule: what was asked for, and what would have been said, where that is known.
    """

    model = ""
    rule = ""
    fault = ""
    limit = ""
    check = ""
    as_is = False
    rounded: int | None = None

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

    def but(self, **changes: Any) -> "ApiError":
        """Return the same error with some attributes changed."""
        other = ApiError(self.status, self.message)
        other.__dict__.update(self.__dict__, **changes)
        return other

    def envelope(self) -> dict[str, dict[str, Any]]:
        """Return the envelope; all four keys are always there."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps(self.envelope())


def in_stream(error: ApiError, request_id: str) -> bytes:
    """Return an error as a stream of chunks says it."""
    return b"data: %b\n\n" % error.body()


def bad_json() -> ApiError:
    """400: the body is not JSON, or not UTF-8."""
    return ApiError(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
        "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
    )


def no_model() -> ApiError:
    """400: no model is named."""
    return ApiError(400, "you must provide a model parameter")


def missing(param: str) -> ApiError:
    """400: a required parameter is not there."""
    return ApiError(400, f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def wrong_type(param: str, expected: str, value: Any) -> ApiError:
    """400: a parameter has the wrong type; ``expected`` with its article, as in ``a string``."""
    message = f"Invalid type for '{param}': expected {expected}, but got {json_type(value)} instead."
    return ApiError(400, message, param, "invalid_type")


def json_type(value: Any) -> str:
    """Name a JSON value's type as OpenAI's messages do, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "an integer", float: "a decimal number", list: "an array", dict: "an object"}
    return names.get(type(value), "an unknown type")


def empty_array(param: str) -> ApiError:
    """400: an array must not be empty."""
    return ApiError(
        400,
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param,
        "empty_array",
    )


def too_long(param: str, most: int, length: int) -> ApiError:
    """400: an array has too many elements."""
    return ApiError(
        400,
        f"Invalid '{param}': array too long. Expected an array with maximum length {most}, but got an array with "
        f"length {length} instead.",
        param,
        "array_above_max_length",
    )


def string_too_long(param: str, most: int, length: int) -> ApiError:
    """400: a string has too many characters."""
    return ApiError(
        400,
        f"Invalid '{param}': string too long. Expected a string with maximum length {most}, but got a string with "
        f"length {length} instead.",
        param,
        "string_above_max_length",
    )


def out_of_range(param: str, value: float, least: float, most: float, kind: str = "integer") -> ApiError:
    """400: an integer, or a ``decimal``, is below its minimum or above its maximum."""
    low = value < least
    error = ApiError(
        400,
        f"Invalid '{param}': {kind} {'below minimum' if low else 'above maximum'} value. Expected a value "
        f"{'>=' if low else '<='} {least if low else most}, but got {value} instead.",
        param,
        f"{kind}_below_min_value" if low else f"{kind}_above_max_value",
    )
    if type(value) is int and not -(2**63) <= value < 2**64:
        error.rounded = value
    return error


def no_such_tool(param: str, name: str, holder: str) -> ApiError:
    """400: a tool has to be called that is not offered; ``holder`` is the parameter that offers tools."""
    message = f"Invalid value for '{param}': no function named '{name}' was specified in the '{holder}' parameter."
    return ApiError(400, message, param)


def only_with(param: str, other: str) -> ApiError:
    """400: a parameter makes sense only with another."""
    return ApiError(400, f"Invalid value for '{param}': '{param}' is only allowed when '{other}' are specified.", param)


def no_call_id(index: int) -> ApiError:
    """400: the result of a tool does not say of which call; ``index`` is the message's."""
    message = "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'."
    return ApiError(400, message, f"messages.[{index}].tool_call_id")


def no_calls_before(index: int) -> ApiError:
    """400: the result of a tool follows no calls; ``index`` is the message's."""
    return ApiError(
        400,
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
        f"messages.[{index}].role",
    )


def no_such_call(index: int, id_: str) -> ApiError:
    """400: the result of a tool is that of none of the calls before it; ``index`` is the message's."""
    message = f"Invalid parameter: 'tool_call_id' of '{id_}' not found in 'tool_calls' of previous message."
    return ApiError(400, message, f"messages.[{index}].tool_call_id")


def calls_without_results(param: str, ids: Iterable[str]) -> ApiError:
    """400: calls have no results; ``param`` is the role that comes in their place, or all messages at their end."""
    message = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(ids)}"
    )
    return ApiError(400, message, param)


def bad_schema(what: str, param: str, code: str | None, path: Iterable[str | int], why: str) -> ApiError:
    """400: a JSON Schema that nothing fits; ``what`` names its holder, ``path`` leads to the fault inside it."""
    message = f"Invalid schema for {what}: In context={tuple(path)!r}, {why}."
    return ApiError(400, message, param, code)


def schema_too_large(what: str, param: str, code: str | None, why: str) -> ApiError:
    """400: a JSON Schema exceeds a limit of Structured Outputs; ``what`` names its holder."""
    return ApiError(400, f"Invalid schema for {what}: {why}.", param, code)


def context_exceeded(message: str, param: str) -> ApiError:
    """400: prompt and answer do not fit the model's context window."""
    return ApiError(400, message, param, "context_length_exceeded")


def prompt_too_long(window: int, prompt: int, answer: int) -> ApiError:
    """400: as ``context_exceeded``, in the words of the endpoints that take no messages."""
    message = (
        f"This model's maximum context length is {window} tokens, however you requested {prompt + answer} tokens "
        f"({prompt} in your prompt; {answer} for the completion). Please reduce your prompt; or completion length."
    )
    return context_exceeded(message, "prompt")


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
    """400: the response to go on from is not stored."""
    message = f"Previous response with id '{id_}' not found."
    return ApiError(400, message, "previous_response_id", "previous_response_not_found")


def not_among(param: str, value: Any, supported: str) -> ApiError:
    """400: a value is none of the supported ones."""
    message = f"Invalid value: '{value}'. Supported values are: {supported}."
    return ApiError(400, message, param, "invalid_value")


def bad_embeddings_input() -> ApiError:
    """400: the input of an embeddings request has none of its four forms."""
    return ApiError(400, f"'$.input' is invalid. Please check the API reference: {_DOCS}.")


def fixed_dimensions(fixed: int, wanted: int) -> ApiError:
    """400: a request wants another length of vectors than the file has that fixes them."""
    message = (
        f"Invalid 'dimensions': the vectors of this server's file have {fixed} dimensions, but {wanted} were asked for."
    )
    return ApiError(400, message, "dimensions", "invalid_value")


def null_content(index: int) -> ApiError:
    """400: a message has no content where it has to have one."""
    param = f"messages.[{index}].content"
    return ApiError(400, "Invalid value for 'content': expected a string, got null.", param)


def streaming_off() -> ApiError:
    """400: a stream is asked for and ``streaming.enabled`` is off."""
    message = "Streaming is turned off on this server ('streaming.enabled' is false); send 'stream': false."
    return ApiError(400, message, "stream", "unsupported_value")


def no_key() -> ApiError:
    """401: no bearer token."""
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
        "API from your browser and are prompted for a username and password. You can obtain an API key from "
        "https://platform.openai.com/account/api-keys.",
    )


def wrong_key(key: str) -> ApiError:
    """401: the key is not one that may call; it is shown masked, as OpenAI does."""
    return ApiError(
        401,
        f"Incorrect API key provided: {masked(key)}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        None,
        "invalid_api_key",
    )


def masked(key: str) -> str:
    """Return the first 8 and the last 4 characters of a key with a star for each one between; a short key whole."""
    return key if len(key) <= 12 else f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}"


def no_such_model(model: str) -> ApiError:
    """404: the model is not listed, and only listed models are served."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, message, None, "model_not_found")


def no_such_url(method: str, path: str) -> ApiError:
    """404: nothing is served there."""
    if path == "/v1" or path.startswith("/v1/"):
        return ApiError(404, f"Invalid URL ({method} {path})")
    return ApiError(
        404,
        f"Unknown request URL: {method} {path}. Please check the URL for typos, or see the docs at {_DOCS}/.",
        None,
        "unknown_url",
    )


def wrong_method(method: str, path: str, allowed: str) -> ApiError:
    """405: something else is served there; ``allowed`` is the header's value."""
    message = f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use a different HTTP method?)"
    return ApiError(405, message, None, "method_not_supported", headers=(("allow", allowed),))


def too_large(limit: int) -> ApiError:
    """413: the body is longer than ``server.max_body_bytes``."""
    return ApiError(413, f"Maximum request body size of {limit} bytes exceeded ('server.max_body_bytes').")


def answer_too_large(size: int, of: str, most: int) -> ApiError:
    """400: more is wanted than one answer may hold; ``of`` names the unit."""
    return ApiError(
        400, f"The answer would have {size} {of}; one answer may have at most {most}.", code="invalid_value"
    )


def too_many_embedding_tokens(tokens: int, most: int) -> ApiError:
    """400: the inputs of a request for embeddings are too long together."""
    kind = "max_tokens_per_request"
    return ApiError(400, f"Requested {tokens} tokens, max {most} tokens per request", None, kind, kind)


def out_of_buffers() -> ApiError:
    """503: the bodies and large answers in flight take as much memory as they may."""
    message = "Too many large requests and answers are in flight ('server.max_buffered_bytes'). Please try again later."
    return ApiError(503, message, kind="server_error", headers=(("retry-after", "1"),))


def unknown_content_encoding(coding: str, known: Iterable[str]) -> ApiError:
    """415: the body is compressed in a way that is not understood."""
    hint = " ('zstd' needs the extra: pip install 'fastmock[zstd]')" if coding == "zstd" else ""
    message = f"Unsupported content-encoding '{coding}': supported are {', '.join(known)} and identity{hint}."
    return ApiError(
        415, message, None, "unsupported_content_encoding", headers=(("accept-encoding", ", ".join(known)),)
    )


def damaged_body(coding: str) -> ApiError:
    """400: the body is not compressed as it says."""
    return ApiError(400, f"The request body is not valid {coding}, which its content-encoding names.")


def upgrade_required() -> ApiError:
    """426: a WebSocket was asked for; clients such as Codex go on over HTTP when they see this status."""
    return ApiError(
        426,
        "WebSocket connections are not supported here. Please send the request over HTTP.",
        None,
        "websocket_not_supported",
        headers=(("upgrade", "HTTP/1.1"),),
    )


def manager_failed(why: str) -> ApiError:
    """500: a response manager raised, or returned what cannot be sent."""
    return ApiError(500, f"The response manager failed: {why}", kind="server_error")


def server_error() -> ApiError:
    """500: a defect of the mock."""
    return ApiError(
        500, "The server had an error while processing your request. Sorry about that!", kind="server_error"
    )


def limit_reached(model: str, label: str, unit: str, limit: int, used: int, wanted: int, wait: str) -> ApiError:
    """429: a rate limit; ``label`` and ``unit`` say which, ``wait`` how long it takes until the request would pass."""
    return ApiError(
        429,
        f"Rate limit reached for {model} in organization {ORGANIZATION} on {label}: Limit {limit}, Used {used}, "
        f"Requested {wanted}. Please try again in {wait}. Visit {_LIMITS} to learn more.",
        None,
        "rate_limit_exceeded",
        unit if unit == "requests" else "tokens",
    )


def too_much_at_once(model: str, label: str, unit: str, limit: int, wanted: int) -> ApiError:
    """429: more than a rate limit ever lets through; waiting does not help."""
    return ApiError(
        429,
        f"Request too large for {model} in organization {ORGANIZATION} on {label}: Limit {limit}, Requested {wanted}. "
        f"The input or output tokens must be reduced in order to run successfully. Visit {_LIMITS} to learn more.",
        None,
        "rate_limit_exceeded",
        unit if unit == "requests" else "tokens",
    )


def rate_limited(model: str) -> ApiError:
    """429: too many requests a minute, where nothing is counted."""
    error = limit_reached(model, "requests per min (RPM)", "requests", 500, 500, 1, "1s")
    return error.but(headers=(("retry-after", "1"), ("retry-after-ms", "1000")))


def of_status(status: int, model: str) -> ApiError:
    """Return the error that a status stands for, without headers."""
    known = {408: timed_out, 429: lambda: rate_limited(model), 500: server_error, 502: bad_gateway, 503: overloaded}
    if status in known:
        return known[status]().but(headers=())
    return ApiError(status, phrase(status), kind="invalid_request_error" if status < 500 else "server_error")


def phrase(status: int) -> str:
    """Return what HTTP calls a status, as a sentence."""
    try:
        return f"{HTTPStatus(status).phrase}."
    except ValueError:
        return f"Status {status}."


def quota_exceeded() -> ApiError:
    """429: the money is spent; waiting does not help, so there is no ``retry-after``."""
    return ApiError(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        None,
        "insufficient_quota",
        "insufficient_quota",
    )


def too_many_at_a_time(most: int) -> ApiError:
    """429: as many are answered, and wait, as may."""
    message = f"Too many requests at a time: {most} are being answered, and the queue is full. Please try again later."
    return ApiError(429, message, kind="requests")


def bad_gateway() -> ApiError:
    """502: something before the API failed."""
    return ApiError(502, "Bad gateway.", kind="server_error")


def overloaded() -> ApiError:
    """503: too much to do."""
    return ApiError(
        503,
        "That model is currently overloaded with other requests. You can retry your request, or contact us through our "
        "help center at help.openai.com if the error persists.",
        kind="server_error",
    )


def timed_out() -> ApiError:
    """408: the request took too long."""
    return ApiError(408, "Request timed out.", None, "request_timeout", "server_error")
