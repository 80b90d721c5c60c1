"""Checks shared by several of OpenAI's endpoints."""

import re
from functools import lru_cache

from fastmock.core import errors
from fastmock.providers.openai.schema_checks import violation
from fastmock.validation.check import RESPONSES, Contents, Document

_REASONING = re.compile(r"(?:o1|o3|o4|gpt-5)(?![0-9])(?!.*chat)")
_OPTIONAL_REASONING = re.compile(r"gpt-5\.[1-9]")  # models that only reason if an effort is given
_DEFAULTS = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}
_NEVER = ("logprobs", "top_logprobs", "logit_bias", "stop")
_is_token = re.compile(r"[0-9]+").fullmatch


@lru_cache(1024)
def reasons(model: str) -> bool:
    """Return whether a model reasons before it answers; a fine-tuned model counts as its base model."""
    return _REASONING.match(model.removeprefix("ft:")) is not None


def refuse_reasoning_parameters(contents: Contents) -> None:
    """Reject parameters that reasoning models do not support."""
    model, body = contents.model.removeprefix("ft:"), contents.body
    if not reasons(model):
        return
    if body.get("max_tokens") is not None:
        message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
        raise errors.ApiError(400, f"{message}instead.", "max_tokens", "unsupported_parameter")
    if _OPTIONAL_REASONING.match(model):
        effort = body.get("reasoning_effort") or (body.get("reasoning") or {}).get("effort")
        if effort in (None, "none"):
            return
    if contents.endpoint != RESPONSES and (temperature := body.get("temperature")) not in (None, 1):
        message = f"Unsupported value: 'temperature' does not support {temperature} with this model. Only the default "
        raise errors.ApiError(400, f"{message}(1) value is supported.", "temperature", "unsupported_value")
    for name, default in _DEFAULTS.items():
        if body.get(name) not in (None, default):
            raise _unsupported(name, contents)
    for name in _NEVER:
        if body.get(name):
            raise _unsupported(name, contents)


def _unsupported(name: str, contents: Contents) -> errors.ApiError:
    code = None if contents.endpoint == RESPONSES else "unsupported_parameter"
    return errors.ApiError(400, f"Unsupported parameter: '{name}' is not supported with this model.", name, code)


def refuse_stream_options(contents: Contents) -> None:
    """Reject stream options without a stream."""
    if contents.body.get("stream_options") is not None and not contents.body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise errors.ApiError(400, message, "stream_options")


def refuse_biased_texts(contents: Contents) -> None:
    """Reject keys of ``logit_bias`` that are not token numbers."""
    for key in contents.body.get("logit_bias") or ():
        if not _is_token(key):
            message = f"Invalid key in 'logit_bias': {key}. You should only be submitting non-negative integers."
            raise errors.ApiError(400, message, "logit_bias")


def functions_of(contents: Contents) -> list[tuple[str, Document]]:
    """Return the functions of a request, each with the parameter that contains it."""
    if contents.functions is None:
        contents.functions = _functions_in(contents)
    return contents.functions


def _functions_in(contents: Contents) -> list[tuple[str, Document]]:
    body = contents.body
    tools = [(f"tools[{place}]", tool) for place, tool in enumerate(body.get("tools") or ())]
    if contents.endpoint == RESPONSES:
        return [(at, tool) for at, tool in tools if tool.get("type") == "function"]
    found = [(f"{at}.function", tool["function"]) for at, tool in tools if tool.get("type") == "function"]
    return found or [(f"functions[{place}]", one) for place, one in enumerate(body.get("functions") or ())]


def refuse_function_schemas(contents: Contents) -> None:
    """Reject function schemas that do not describe an object, or that have arrays without ``items``."""
    _refuse_functions(contents, strict=False)


def refuse_strict_functions(contents: Contents) -> None:
    """Reject strict functions whose schemas use features that strict mode does not support."""
    _refuse_functions(contents, strict=True)


def _refuse_functions(contents: Contents, strict: bool) -> None:
    for at, function in functions_of(contents):
        schema = function.get("parameters")
        if type(schema) is dict and (function.get("strict") is True) == strict and (found := violation(schema, strict)):
            raise found.error(f"function '{function.get('name')}'", f"{at}.parameters", "invalid_function_parameters")
