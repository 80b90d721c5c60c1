"""Read a request's body and parameters, or raise the API's own error."""

from typing import Any

import orjson

from fastmock.api import errors
from fastmock.config.model import Models
from fastmock.wire import Ask

_MOST_CHOICES = 128
_OPTIONS = frozenset(("stream", "stream_options", "n"))


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
    """Read the parameters that both kinds of completions share: ``stream``, ``stream_options`` and ``n``."""
    body = ask.body
    if _OPTIONS.isdisjoint(body):
        return
    if (stream := body.get("stream")) is not None:
        if type(stream) is not bool:
            raise errors.wrong_type("stream", "a boolean", stream)
        ask.stream = stream
    if (options := body.get("stream_options")) is not None:
        if type(options) is not dict:
            raise errors.wrong_type("stream_options", "an object", options)
        if (usage := options.get("include_usage")) is not None:
            if type(usage) is not bool:
                raise errors.wrong_type("stream_options.include_usage", "a boolean", usage)
            ask.include_usage = usage
    if (choices := body.get("n")) is not None:
        if type(choices) is not int:
            raise errors.wrong_type("n", "an integer", choices)
        if not 1 <= choices <= _MOST_CHOICES:
            raise errors.out_of_range("n", choices, 1, _MOST_CHOICES)
        ask.choices = choices
