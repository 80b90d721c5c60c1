"""``POST /v1/moderations``: categories flagged by rules, and scores hashed from the input."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, get_args

import orjson

from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Reply, Request
from fastmock.core.json import parse
from fastmock.engine.answer_size import check_inputs
from fastmock.engine.plain_rules import PlainRules
from fastmock.engine.services import Services
from fastmock.providers.openai import params
from fastmock.rules.settings import Category, ModerationPattern

_MODEL = "omni-moderation-latest"  # default model
_MOST_INPUTS = 2048  # as for embeddings
_CATEGORIES: tuple[str, ...] = get_args(Category)
_OF_IMAGES = frozenset(name for name in _CATEGORIES if name.startswith(("self-harm", "violence")) or name == "sexual")


class Moderations:
    """The endpoint.

    Attributes:
        rules: the rules.
    """

    def __init__(self, services: Services, factory: HeaderFactory) -> None:
        """Compile the rules."""
        config, settings = services.config, services.settings
        self.rules = PlainRules(ModerationPattern, config, "moderations", services.hits, services.diagnostics)
        self._listed = settings.models.served()
        self._seed = settings.seed
        self._json = factory.get(200)
        self._profiles, self._tokenizers = services.profiles, services.tokenizers

    def __call__(self, request: Request, unique: str) -> Reply:
        """Answer a request."""
        body = parse(request.body)
        model = _MODEL
        if body.get("model") is not None:
            model = params.model_of(body)
            if self._listed is not None and model not in self._listed:
                raise errors.ModelNotFound(model)
        results = []
        tokens = 0
        inputs = _inputs(body.get("input"))
        check_inputs(request, len(inputs))
        for text, kinds in inputs:
            chat = ChatRequest(unique, body, model)
            chat.endpoint = "moderations"
            chat.request = request
            chat.user_message = text
            tokens += self._tokenizers(model).count(text)
            results.append(self._result(chat, kinds))
        answer = {"id": f"modr-{unique[8:]}", "model": model, "results": results}
        reply = Reply(self._json, f"req_{unique}", orjson.dumps(answer))
        if self._profiles.delays_whole:  # like an embedding, it is only prefill
            self._profiles.delay_of_prefill(reply, model, tokens, request)
        reply.model, reply.prompt_tokens = model, tokens
        return reply

    def _result(self, chat: ChatRequest, kinds: frozenset[str]) -> dict[str, Any]:
        rule = self.rules.pick(chat)
        flagged: Mapping[Any, float | None] = {} if rule is None else self.rules.rules[rule].flag
        scores = {}
        for name in _CATEGORIES:
            hashed = blake2b(b"%d:%b:%b" % (self._seed, name.encode(), chat.user_message.encode()), digest_size=4)
            share = int.from_bytes(hashed.digest(), "big") / 2**32
            if name not in flagged:
                scores[name] = 1e-6 + 0.001 * share**4  # most scores are close to zero
            else:
                given = flagged[name]
                scores[name] = 0.8 + 0.199 * share if given is None else given
        of_text = kinds & _TEXT
        applied = {name: sorted(kinds if name in _OF_IMAGES else of_text, reverse=True) for name in _CATEGORIES}
        return {
            "flagged": bool(flagged),
            "categories": {name: name in flagged for name in _CATEGORIES},
            "category_scores": scores,
            "category_applied_input_types": applied,
        }


_TEXT = frozenset(("text",))


def _inputs(given: Any) -> list[tuple[str, frozenset[str]]]:
    """Return the input texts, each with its kinds of input."""
    if type(given) is str:
        return [(given, _TEXT)]
    if given is None:
        raise errors.ParameterMissing("input")
    if type(given) is not list:
        raise errors.WrongType("input", "one of a string, array of strings, or array of objects", given)
    if not given:
        raise errors.EmptyArray("input")
    if len(given) > _MOST_INPUTS:
        raise errors.ArrayTooLong("input", _MOST_INPUTS, len(given))
    if type(given[0]) is str:
        for place, text in enumerate(given):
            params.string(text, f"input[{place}]")
        return [(text, _TEXT) for text in given]
    texts, kinds = [], set()
    for place, part in enumerate(given):
        params.object_(part, f"input[{place}]")
        kind = part.get("type")
        params.one_of("text", "image_url")(kind, f"input[{place}].type")
        if kind == "text":
            params.string(part.get("text"), f"input[{place}].text")
            texts.append(part["text"])
        kinds.add("text" if kind == "text" else "image")
    return [(" ".join(texts), frozenset(kinds))]
