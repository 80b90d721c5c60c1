"""``POST /v1/embeddings``."""

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import orjson
from pybase64 import b64encode

from fastmock.config.config import Config
from fastmock.content.embedding_vectors import Vector, embed
from fastmock.core import errors
from fastmock.core.arrays import np
from fastmock.core.completion import ChatRequest, Tokenizer
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import LargeReply, Reply, Request
from fastmock.core.json import parse
from fastmock.core.problems import SettingPath
from fastmock.engine.answer_size import MAX_EMBEDDING_TOKENS, check_inputs
from fastmock.engine.cache import LARGEST_RESPONSE, LONGEST_BODY, Entry
from fastmock.engine.plain_rules import PlainRules
from fastmock.engine.services import Services
from fastmock.engine.template_compiler import read_source
from fastmock.providers.openai import params
from fastmock.providers.openai.errors import bad_embeddings_input, fixed_dimensions, too_many_embedding_tokens
from fastmock.rules.settings import EmbeddingPattern, TimedReplySpec
from fastmock.shared.cache_counts import HITS, MISSES

_SIZES = {"text-embedding-3-large": 3072}
_SIZE = 1536  # of text-embedding-3-small, text-embedding-ada-002 and unknown models
_MOST_INPUTS = 2048
_TOGETHER = 8
_WINDOW = 8192  # maximum tokens of one input
_LAST_TOKEN = 100_276  # of cl100k_base
_OVERHEAD = 500  # bytes of a cached input besides its vector
_LARGE = 500_000  # numbers in a response that is joined while it is sent

_LITTLE = sys.byteorder == "little"

Input = str | list[int]
_Key = tuple[Sequence[object], str, int, str | None]
"""The key of a cached input: itself, the model, the dimensions and the encoding."""


class Embeddings:
    """The endpoint.

    Attributes:
        rules: the rules.
    """

    def __init__(self, services: Services, factory: HeaderFactory) -> None:
        """Compile the rules, and read the default file, which may contain a fixed vector."""
        config, diagnostics = services.config, services.diagnostics
        self.rules = PlainRules(EmbeddingPattern, config, "embeddings", services.hits, diagnostics)
        self._cache = services.cache
        self._known: dict[Hashable, Entry[_Known]] = services.cache.table()
        self._whole: dict[str | bytes, Entry[_Whole]] = services.cache.table()
        self._keeps_whole = bool(self._cache.max_bytes and not self.rules.rules)
        self._listed = config.settings.models.served()
        self._seed = config.settings.seed
        self._json = factory.get(200)
        self._config = config
        self._profiles, self._tokenizers = services.profiles, services.tokenizers
        source = config.settings.responses.embeddings.default
        self._fixed = _fixed(config, source, ("responses", "embeddings", "default"), diagnostics) if source else None

    def __call__(self, request: Request, unique: str) -> Reply:
        """Answer a request."""
        # A body seen before: 100 texts take a tenth of the time that it takes to join their vectors.
        if (whole := self._whole.get(request.body)) is not None:
            whole.used = True
            self._cache.share.numbers[self._cache.share.row + HITS] += whole.value.inputs
            reply = Reply(self._json, f"req_{unique}", whole.value.body)
            reply.model, reply.prompt_tokens = whole.value.model, whole.value.tokens
        else:
            body = parse(request.body)
            reply = self.answer(body, unique, request=request)
            if self._keeps_whole and len(request.body) <= LONGEST_BODY and reply.size <= LARGEST_RESPONSE:
                self._keep(request.body, reply, body["input"])
        if self._profiles.delays_whole:  # an embedding is only prefill: it takes the time to first token
            self._profiles.delay_of_prefill(reply, reply.model, reply.prompt_tokens, request)
        return reply

    def _keep(self, body: str | bytes, reply: Reply, given: Any) -> None:
        """Cache the response to a body that is seen for the second time."""
        if self._cache.seen_before(body):
            whole = _Whole(reply.body, reply.model, reply.prompt_tokens, len(_inputs(given)))
            self._cache.add(self._whole, body, Entry(whole, reply.size + len(body) + _OVERHEAD))

    def answer(
        self, body: dict[str, Any], unique: str, file: str | None = None, request: Request | None = None
    ) -> Reply:
        """Answer a parsed request; ``file``, from a response manager, may contain a fixed vector."""
        model = params.model_of(body)
        if self._listed is not None and model not in self._listed:
            raise errors.ModelNotFound(model)
        inputs = _inputs(body.get("input"))
        size = next((size for name, size in _SIZES.items() if model.startswith(name)), _SIZE)
        keep = _dimensions(body.get("dimensions"), model, size)
        form = body.get("encoding_format")
        if form not in (None, "float", "base64"):
            raise errors.UnsupportedValue("encoding_format", form, "'float' and 'base64'")
        check_inputs(request, 0, len(inputs) * keep)
        fixed = self._fixed if file is None else self._from_file(file)
        if fixed is not None and body.get("dimensions") not in (None, fixed.dimensions):
            raise fixed_dimensions(fixed.dimensions, keep)
        written: Iterable[bytes]
        if fixed is not None:
            tokenizer = self._tokenizers(model)
            tokens = self._total([_tokens_of(one, tokenizer) for one in inputs], model)
            written = islice(cycle(fixed.base64 if form == "base64" else fixed.floats), len(inputs))
        else:
            given = self._by_rules(inputs, model, unique, body, request) if self.rules.rules else {}
            tokens, written = self._embedded(inputs, model, size, keep, form)
            if given:
                written = _replaced(written, given, keep, _base64 if form == "base64" else _floats)
        quote = b'"' if form == "base64" else b""
        # Joined at most once, at the end: a hundred vectors are 800 kB, and each further step would copy them.
        pieces = []
        separator = b'{"object":"list","data":['
        for index, vector in enumerate(written):
            pieces.append(b'%b{"object":"embedding","index":%d,"embedding":%b' % (separator, index, quote))
            pieces.append(vector)
            separator = quote + b"},"
        usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (tokens, tokens)
        named = orjson.dumps(model)
        if fixed is not None:
            usage, named = fixed.usage or usage, fixed.model or named
        pieces.append(b'%b}],"model":%b,"usage":%b}' % (quote, named, usage))
        if len(inputs) * keep < _LARGE:
            reply = Reply(self._json, f"req_{unique}", b"".join(pieces))
        else:
            size = sum(map(len, pieces))
            reply = LargeReply(self._json, f"req_{unique}", size, size, lambda: _release_parts(pieces))
        reply.model, reply.prompt_tokens = model, tokens
        return reply

    def _by_rules(
        self, inputs: list[Input], model: str, unique: str, body: dict[str, Any], request: Request | None
    ) -> dict[int, list[float]]:
        """Return the vectors of the texts that rules match, by their indexes."""
        found = {}
        for index, text in enumerate(inputs):
            chat = ChatRequest(unique, body, model)
            chat.endpoint, chat.request = "embeddings", request
            chat.user_message = text if isinstance(text, str) else ""
            if (rule := self.rules.pick(chat)) is not None:
                found[index] = self.rules.rules[rule].vector
        return found

    def _embedded(
        self, inputs: list[Input], model: str, size: int, keep: int, form: str | None
    ) -> tuple[int, Iterable[bytes]]:
        """Return the tokens of all inputs, and the serialized vector of each; those of known inputs from the cache."""
        keys: list[_Key] = [(one if type(one) is str else tuple(one), model, keep, form) for one in inputs]
        found: list[Entry[_Known] | None] = list(map(self._known.get, keys))
        tokenizer = self._tokenizers(model)
        counts = [
            _tokens_of(one, tokenizer) if entry is None else entry.value.tokens
            for one, entry in zip(inputs, found, strict=True)
        ]
        tokens = self._total(counts, model)
        known = [entry for entry in found if entry is not None]
        new = [one for one, entry in zip(inputs, found, strict=True) if entry is None]
        numbers, row = self._cache.share.numbers, self._cache.share.row
        numbers[row + HITS] += len(inputs) - len(new)
        numbers[row + MISSES] += len(new)
        if not new:
            for entry in known:
                entry.used = True
            return tokens, [entry.value.vector for entry in known]
        fresh = map(_base64 if form == "base64" else _floats, embed(new, size, keep, self._seed))
        return tokens, self._vectors(keys, found, counts, fresh)

    def _vectors(
        self, keys: list[_Key], found: list["Entry[_Known] | None"], counts: list[int], fresh: Iterator[bytes]
    ) -> Iterator[bytes]:
        """Yield the vectors of inputs, known and fresh ones; those seen for the second time are cached."""
        for key, entry, tokens in zip(keys, found, counts, strict=True):
            if entry is not None:
                entry.used = True
                yield entry.value.vector
                continue
            vector = next(fresh)
            if self._cache.max_bytes and self._cache.seen_before(key):
                exact = bytes(memoryview(vector))  # orjson's may be a part of a larger block
                size = len(exact) + (4 if isinstance(key[0], str) else 40) * len(key[0]) + _OVERHEAD
                self._cache.add(self._known, key, Entry(_Known(tokens, exact), size))
            yield vector

    def _total(self, counts: list[int], model: str) -> int:
        """Return the tokens of all inputs; raise the API's error if they, or one of them, have too many."""
        tokens = sum(counts)
        if tokens > MAX_EMBEDDING_TOKENS:
            raise too_many_embedding_tokens(tokens, MAX_EMBEDDING_TOKENS)
        window = self._profiles.window(model) or _WINDOW
        if (longest := max(counts)) > window:
            raise errors.ContextExceeded(window, longest, 0, "prompt")
        return tokens

    def _from_file(self, file: str) -> "_Fixed | None":
        diagnostics = Diagnostics(self._config)
        source = TimedReplySpec(response_file=file)
        fixed = _fixed(self._config, source, (), diagnostics)
        if diagnostics.problems:
            raise errors.ManagerFailed("; ".join(map(str, diagnostics.problems)))
        return fixed


class _Known(NamedTuple):
    """A cached input: its tokens, and its serialized vector."""

    tokens: int
    vector: bytes


class _Whole(NamedTuple):
    """The response to a body that was seen before.

    Attributes:
        body: its bytes, which have neither an id nor a time.
        model: the model; ``tokens`` are those of the prompt.
        inputs: the number of inputs.
    """

    body: bytes
    model: str
    tokens: int
    inputs: int


class _Fixed(NamedTuple):
    """The content of a response file: its vectors, and its usage and model if it has them.

    There may be fewer vectors than inputs; they are repeated.
    """

    floats: list[bytes]
    base64: list[bytes]
    dimensions: int
    usage: bytes | None
    model: bytes | None


def _replaced(
    written: Iterable[bytes], given: Mapping[int, list[float]], size: int, write: Callable[[Vector], bytes]
) -> Iterator[bytes]:
    """Yield serialized vectors of a size, with those that are given instead of others, by their indexes."""
    for index, vector in enumerate(written):
        if (numbers := given.get(index)) is None:
            yield vector
        else:
            padded = np.zeros(size, np.float32)
            padded[: len(numbers)] = numbers[:size]
            yield write(padded)


def _release_parts(pieces: list[bytes]) -> Iterator[bytes]:
    """Yield the pieces, several at a time, and release them."""
    for begin in range(0, len(pieces), _TOGETHER):
        part = b"".join(pieces[begin : begin + _TOGETHER])
        pieces[begin : begin + _TOGETHER] = [b""] * _TOGETHER
        yield part


def _tokens_of(one: Input, tokenizer: Tokenizer) -> int:
    """Count the tokens of an input."""
    return tokenizer.count(one) if isinstance(one, str) else len(one)


def _base64(vector: Vector) -> bytes:
    return b64encode(vector.data if _LITTLE else vector.astype("<f4").data)


def _floats(vector: Vector) -> bytes:
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)


def _inputs(value: Any) -> list[Input]:
    """Return the inputs in any of the four forms; raise OpenAI's error for an invalid input."""
    if type(value) is str and value:
        return [value]
    if type(value) is not list or not value:
        raise bad_embeddings_input()
    if all(type(token) is int for token in value):
        return [_known_tokens(value)]
    if len(value) > _MOST_INPUTS:
        raise errors.ArrayTooLong("input", _MOST_INPUTS, len(value))
    for item in value:
        if type(item) is not type(value[0]) or not item:
            raise bad_embeddings_input()
        if type(item) is not str:
            if type(item) is not list or not all(type(token) is int for token in item):
                raise bad_embeddings_input()
            _known_tokens(item)
    return value


def _known_tokens(tokens: list[int]) -> list[int]:
    if not 0 <= min(tokens) <= max(tokens) <= _LAST_TOKEN:
        raise bad_embeddings_input()
    return tokens


def _dimensions(value: Any, model: str, size: int) -> int:
    if value is None:
        return size
    if type(value) is not int:
        raise errors.WrongType("dimensions", "an integer", value)
    if model == "text-embedding-ada-002":
        raise errors.ApiError(400, "This model does not support specifying dimensions.")
    if not 1 <= value <= size:
        raise errors.OutOfRange("dimensions", value, 1, size)
    return value


def _fixed(config: Config, source: TimedReplySpec, path: SettingPath, diagnostics: Diagnostics) -> _Fixed | None:
    """Return the fixed vectors of a response file; None if it contains none."""
    if source.response_file is None and source.response is None:
        diagnostics.error(path, "must give a 'response_file' or a 'response'")
        return None
    document, file, inside = read_source(config, source, path, diagnostics)
    if document is None:
        return None
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        diagnostics.error(inside, "must be an object with a list 'data'", file)
        return None
    vectors = [entry.get("embedding") if isinstance(entry, dict) else None for entry in data]
    if not any(vectors):
        return None
    for place, vector in enumerate(vectors):
        if not isinstance(vector, list) or not vector or not all(type(x) in (int, float) for x in vector):
            diagnostics.error((*inside, "data", place, "embedding"), "must be a list of numbers", file)
            return None
        if len(vector) != len(vectors[0] or ()):
            diagnostics.error((*inside, "data", place, "embedding"), "has another length than the first", file)
            return None
    usage, model = document.get("usage"), document.get("model")
    return _Fixed(
        [orjson.dumps(vector) for vector in vectors],
        [_base64(np.array(vector, dtype=np.float32)) for vector in vectors],
        len(vectors[0] or ()),
        orjson.dumps(usage) if isinstance(usage, dict) else None,
        orjson.dumps(model) if isinstance(model, str) else None,
    )
