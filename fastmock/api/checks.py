"""Read a request's body and parameters, or raise the API's own error."""

from typing import Any

import orjson

from fastmock.api import errors
from fastmock.config.model import Models
from fastmock.wire import Ask

_MOST_CHOICES = 128
_MOST_LENGTH = 2**31 - 1
_LENGTHS = {"max_tokens": 0, "max_completion_tokens": 1, "min_tokens": 0}
_OPTIONS = frozenset(("stream", "stream_options", "n", "ignore_eos", *_LENGTHS))


def parse(body: str | bytes) -> dict[str, Any]:
    """Return the JSON object in ``body``, whatever content type it was sent with."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise errors.bad_json() from None
    if type(parsed) is not dict:
        raise errors.bad_json()
    return parsed


def model_of(body: dict[str, Any]) -> str:
    """Return the model's name."""
    model = body.get("model")
    if type(model) is not str or not model:
        raise errors.no_model() if model in (None, "") else errors.wrong_type("model", "a string", model)
    return model


def listed(models: Models) -> frozenset[str] | None:
    """Return the names of the only models that are served; None where all are."""
    return frozenset(card.id for card in models.available) if models.strict else None


def read_options(ask: Ask) -> None:
    """Read the parameters that both kinds of completions share: of streams, choices and lengths.

    ``min_tokens``, ``ignore_eos`` and ``stream_options.continuous_usage_stats`` are vLLM's; load generators send them.
    """
    body = ask.body
    if _OPTIONS.isdisjoint(body):
        return
    ask.stream = _boolean(body, "stream")
    if (options := body.get("stream_options")) is not None:
        if type(options) is not dict:
            raise errors.wrong_type("stream_options", "an object", options)
        ask.include_usage = _boolean(options, "include_usage", "stream_options.")
        ask.continuous_usage = _boolean(options, "continuous_usage_stats", "stream_options.") and ask.include_usage
    if (choices := body.get("n")) is not None:
        _integer(choices, "n", 1, _MOST_CHOICES)
        ask.choices = choices
    _boolean(body, "ignore_eos")
    for name, least in _LENGTHS.items():
        if (length := body.get(name)) is not None:
            _integer(length, name, least, _MOST_LENGTH)


def _boolean(holder: dict[str, Any], name: str, before: str = "") -> bool:
    value = holder.get(name)
    if type(value) is bool:
        return value
    if value is None:
        return False
    raise errors.wrong_type(before + name, "a boolean", value)


def _integer(value: Any, name: str, least: int, most: int) -> None:
    if type(value) is not int:
        raise errors.wrong_type(name, "an integer", value)
    if not least <= value <= most:
        raise errors.out_of_range(name, value, least, most)
