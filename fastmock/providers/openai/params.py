"""Parse and check the parameters of a request; raise the API's own error if one is invalid."""

from collections.abc import Callable, Mapping
from typing import Any

from fastmock.core import errors
from fastmock.core.completion import ChatRequest

Check = Callable[[Any, str], None]
"""Takes a parameter's value and its name; raises ApiError if the value is invalid. Not called for None, which means no
value.
"""

_MOST_CHOICES = 128
_LONGEST_MODEL = 256  # characters
MOST_LENGTH = 2**31 - 1
_MOST_STOPS = 4
_LARGE = 2**63
_MOST_ENTRIES, _LONGEST_ENTRY_KEY, _LONGEST_ENTRY = 16, 64, 512


def model_of(body: dict[str, Any]) -> str:
    """Return the model name."""
    model = body.get("model")
    if type(model) is not str or not model:
        raise errors.ModelMissing() if model in (None, "") else errors.WrongType("model", "a string", model)
    if len(model) > _LONGEST_MODEL:
        raise errors.StringTooLong("model", _LONGEST_MODEL, len(model))
    return model


def boolean(value: Any, name: str) -> None:
    """Check that a value is a boolean."""
    if type(value) is not bool:
        raise errors.WrongType(name, "a boolean", value)


def string(value: Any, name: str) -> None:
    """Check that a value is a string."""
    if type(value) is not str:
        raise errors.WrongType(name, "a string", value)


def object_(value: Any, name: str) -> None:
    """Check that a value is an object."""
    if type(value) is not dict:
        raise errors.WrongType(name, "an object", value)


def string_in(holder: Mapping[str, Any], name: str, param: str) -> str:
    """Return a required string; ``param`` is the name of its holder."""
    value = holder.get(name)
    if type(value) is str:
        return value
    raise (
        errors.ParameterMissing(f"{param}.{name}")
        if value is None
        else errors.WrongType(f"{param}.{name}", "a string", value)
    )


def object_in(holder: Mapping[str, Any], name: str, param: str) -> dict[str, Any]:
    """Return a required object; ``param`` is the name of its holder."""
    value = holder.get(name)
    if type(value) is dict:
        return value
    raise (
        errors.ParameterMissing(f"{param}.{name}")
        if value is None
        else errors.WrongType(f"{param}.{name}", "an object", value)
    )


def optional(holder: Mapping[str, Any], name: str, check: Check, param: str) -> None:
    """Check an optional value; ``param`` is the name of its holder."""
    value = holder.get(name)
    if value is not None:
        check(value, f"{param}.{name}")


def integer(least: int, most: int) -> Check:
    """Return a check for an integer within bounds."""

    def check(value: Any, name: str) -> None:
        if type(value) is not int:
            value = _large_integer(value, name)
        if not least <= value <= most:
            raise errors.OutOfRange(name, value, least, most)

    return check


def _large_integer(value: Any, name: str) -> int:
    """Return an integer that was parsed as a float since it exceeds 64 bits."""
    if type(value) is float and abs(value) >= _LARGE and value.is_integer():
        return int(value)
    raise errors.WrongType(name, "an integer", value)


def decimal(least: float, most: float) -> Check:
    """Return a check for a number within bounds."""

    def check(value: Any, name: str) -> None:
        if type(value) not in (int, float):
            raise errors.WrongType(name, "a decimal", value)
        if not least <= value <= most:
            raise errors.OutOfRange(name, value, least, most, "decimal")

    return check


def one_of(*supported: str) -> Check:
    """Return a check for one of some strings."""
    names = [repr(one) for one in supported]
    shown = " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])}, and {names[-1]}"

    def check(value: Any, name: str) -> None:
        string(value, name)
        if value not in supported:
            raise errors.UnsupportedValue(name, value, shown)

    return check


def array_of(check: Check, kinds: str) -> Check:
    """Return a check for an array and its elements; ``kinds`` names the elements, as in ``strings``."""

    def check_each(value: Any, name: str) -> None:
        if type(value) is not list:
            raise errors.WrongType(name, f"an array of {kinds}", value)
        for place, item in enumerate(value):
            check(item, f"{name}[{place}]")

    return check_each


array_of_objects = array_of(object_, "objects")
"""Check that a value is an array of objects."""


def _logit_bias(value: Any, name: str) -> None:
    object_(value, name)
    for token, bias in value.items():
        _BIAS(bias, f"{name}.{token}")


def _stop(value: Any, name: str) -> None:
    if type(value) is list:
        if len(value) > _MOST_STOPS:
            raise errors.ArrayTooLong(name, _MOST_STOPS, len(value))
        for place, item in enumerate(value):
            string(item, f"{name}[{place}]")
    elif type(value) is not str:
        raise errors.WrongType(name, "one of a string or array of strings", value)


def metadata(value: Any, name: str) -> None:
    """Check metadata: at most 16 short strings."""
    object_(value, name)
    if len(value) > _MOST_ENTRIES:
        raise errors.TooManyProperties(name, _MOST_ENTRIES, len(value))
    for key, entry in value.items():
        string(entry, f"{name}.{key}")
        for text, most in ((key, _LONGEST_ENTRY_KEY), (entry, _LONGEST_ENTRY)):
            if len(text) > most:
                raise errors.StringTooLong(f"{name}.{key}", most, len(text))


_BIAS = decimal(-100, 100)

COMMON_CHECKS: Mapping[str, Check] = {
    "stream": boolean,
    "stream_options": object_,
    "n": integer(1, _MOST_CHOICES),
    "max_tokens": integer(0, MOST_LENGTH),
    "max_completion_tokens": integer(1, MOST_LENGTH),
    "temperature": decimal(0, 2),
    "top_p": decimal(0, 1),
    "presence_penalty": decimal(-2, 2),
    "frequency_penalty": decimal(-2, 2),
    "logit_bias": _logit_bias,
    "seed": integer(-_LARGE, _LARGE - 1),
    "stop": _stop,
    "user": string,
    # vLLM's parameters, sent by load generators
    "ignore_eos": boolean,
    "min_tokens": integer(0, MOST_LENGTH),
}
"""Checks of the parameters that both kinds of completions share."""


def read_options(chat: ChatRequest) -> None:
    """Read the checked parameters that both kinds of completions share: streaming and choices.

    ``stream_options.continuous_usage_stats`` is vLLM's, sent by load generators.
    """
    body = chat.body
    chat.stream = body.get("stream") or False
    chat.choices = body.get("n") or 1
    if options := body.get("stream_options"):
        known = ("include_usage", "continuous_usage_stats", "include_obfuscation")
        for name in known:
            if options.get(name) is not None:
                boolean(options[name], f"stream_options.{name}")
        chat.include_usage, continuous, chat.obfuscation = map(options.get, known)
        chat.include_usage = bool(chat.include_usage)
        chat.continuous_usage = bool(continuous and chat.include_usage)


def read_stop(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the checked stop sequences."""
    stop = body.get("stop")
    return (stop,) if type(stop) is str and stop else tuple(filter(None, stop or ()))
