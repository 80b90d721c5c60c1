"""``POST /v1/embeddings``."""

import base64
from typing import Any

import numpy as np
import orjson

from fastmock.api import checks, errors
from fastmock.api.heads import Heads
from fastmock.api.rulebook import Findings, read_source
from fastmock.config.load import Config
from fastmock.content.tokens import count
from fastmock.content.vectors import Vector, embed
from fastmock.wire import Reply, Request

_SIZES = {"text-embedding-3-large": 3072}
_SIZE = 1536  # of text-embedding-3-small, text-embedding-ada-002 and any model that is not known
_MOST_INPUTS = 2048

Input = str | list[int]


class Embeddings:
    """The endpoint."""

    def __init__(self, config: Config, made: Heads, findings: Findings) -> None:
        """Read the default file, which may fix the vector; what is wrong goes to ``findings``."""
        self._listed = checks.listed(config.settings.models)
        self._seed = config.settings.seed
        self._json = made.get(200)
        self._fixed = _fixed(config, findings)

    def __call__(self, request: Request, unique: str) -> Reply:
        """Answer a request."""
        body = checks.parse(request.body)
        model = checks.model_of(body)
        if self._listed is not None and model not in self._listed:
            raise errors.no_such_model(model)
        inputs = _inputs(body.get("input"))
        size = next((size for name, size in _SIZES.items() if model.startswith(name)), _SIZE)
        keep = _dimensions(body.get("dimensions"), model, size)
        form = body.get("encoding_format")
        if form not in (None, "float", "base64"):
            raise errors.not_among("encoding_format", form, "'float' and 'base64'")
        vectors = (self._vector(content, size, keep) for content in inputs)
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector,
            }
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(count(content) if isinstance(content, str) else len(content) for content in inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": data, "model": model, "usage": usage}
        reply = Reply(self._json, f"req_{unique}", orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))
        reply.model = model
        return reply

    def _vector(self, content: Input, size: int, keep: int) -> Vector:
        return embed(content, size, keep, self._seed) if self._fixed is None else self._fixed


def _inputs(value: Any) -> list[Input]:
    """Return the inputs, of whichever of the four forms; raise OpenAI's error for any other."""
    if type(value) is str and value:
        return [value]
    if type(value) is not list or not value:
        raise errors.bad_embeddings_input()
    if all(type(token) is int for token in value):
        return [value]
    if len(value) > _MOST_INPUTS:
        raise errors.too_long("input", _MOST_INPUTS, len(value))
    for item in value:
        if type(item) is not type(value[0]) or not item:
            raise errors.bad_embeddings_input()
        if type(item) is not str and not (type(item) is list and all(type(token) is int for token in item)):
            raise errors.bad_embeddings_input()
    return value


def _dimensions(value: Any, model: str, size: int) -> int:
    if value is None:
        return size
    if type(value) is not int:
        raise errors.wrong_type("dimensions", "an integer", value)
    if model == "text-embedding-ada-002":
        raise errors.ApiError(400, "This model does not support specifying dimensions.")
    if not 1 <= value <= size:
        raise errors.out_of_range("dimensions", value, 1, size)
    return value


def _fixed(config: Config, findings: Findings) -> Vector | None:
    """Return the vector that ``responses.embeddings.default`` fixes, normalised; None where it fixes none."""
    source, path = config.settings.responses.embeddings.default, ("responses", "embeddings", "default")
    if source is None:
        return None
    if source.content is not None:
        findings.error((*path, "content"), "cannot be a text; give a 'response_file' or a 'response'")
        return None
    document, file, inside = read_source(config, source, path, findings)
    if document is None:
        return None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        findings.error(inside, "must be an object with a list 'data'", file)
        return None
    vector = data[0].get("embedding") if data and isinstance(data[0], dict) else None
    if not vector:
        return None
    numbers = isinstance(vector, list) and all(type(x) in (int, float) for x in vector) and any(vector)
    if not numbers:
        findings.error((*inside, "data", 0, "embedding"), "must be a list of numbers, not all 0", file)
        return None
    exact = np.array(vector, dtype=np.float64)
    unit: Vector = (exact / np.sqrt((exact * exact).sum())).astype(np.float32)
    return unit
