"""``POST /v1/responses`` and what is asked as it is: ``…/input_tokens`` and ``…/compact``."""

import time
from collections.abc import Callable
from typing import Any

import orjson

from fastmock.config.settings import Settings
from fastmock.content.tokenizers import OfModel
from fastmock.core import errors
from fastmock.core.headers import Heads, of_answers
from fastmock.core.http import Answer, Ask, Reply, Request, Stream
from fastmock.core.json import parse
from fastmock.engine.event_template import Retold
from fastmock.engine.responder import Rulebook
from fastmock.engine.response_template import Script
from fastmock.providers.openai.chat import request as chat_ask
from fastmock.providers.openai.responses import request as responses_ask
from fastmock.providers.openai.responses.render import ResponsesTeller, begun_response, error_event, numbered
from fastmock.providers.openai.responses.request import ResponsesAsk, compacted
from fastmock.providers.openai.responses.stored import StoredResponses

Document = dict[str, Any]


class Responses:
    """The endpoints; see ``managed.Dialect``."""

    def __init__(
        self,
        rulebook: Rulebook,
        vocabularies: OfModel,
        stored: StoredResponses,
        made: Heads,
        settings: Settings,
        model: str,
        validate: Callable[[Ask], None],
    ) -> None:
        """``model`` answers a request that names none."""
        self._rulebook = rulebook
        self._vocabularies = vocabularies
        self._stored = stored
        self._heads = of_answers(made, error_event)
        self._model = model
        self._validate = validate
        self._retold = Retold("responses", ResponsesTeller(settings.seed), rulebook.per_chunk)

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        ask = self.read(request, unique)
        try:
            return self.tell(ask, *self._rulebook.choose(ask))
        except errors.ApiError as error:
            raise responses_ask.renamed(error, ask.sent) from None

    def read(self, request: Request, unique: str) -> ResponsesAsk:
        """See ``managed.Dialect``."""
        ask = self.parse(parse(request.body), unique)
        ask.request = request
        self._validate(ask)
        return ask

    def parse(self, body: Document, unique: str) -> ResponsesAsk:
        """See ``managed.Dialect``."""
        return responses_ask.parse(body, unique, self._vocabularies, self._model, self._stored.history)

    def tell(self, ask: Ask, script: Script, answers: list[Answer] | None = None) -> Reply | Stream:
        """See ``managed.Dialect``."""
        assert isinstance(ask, ResponsesAsk)  # noqa: S101 - ``parse`` made it
        reply = numbered(self._rulebook.send(ask, self._retold.of(script), answers, self._heads))
        if ask.keep:
            self._stored.keep(ask)
        if ask.background and isinstance(reply, Reply) and not ask.stream:
            model = orjson.loads(ask.whole)["model"]
            reply.body = begun_response(ask, b"queued", int(time.time()), ask.echo, model)
            reply.dues = None
        return reply

    def reread(self, ask: Ask, body: Document, unique: str) -> ResponsesAsk:
        """See ``managed.OtherDialect``."""
        return chat_ask.parse(body, unique, self._vocabularies, ResponsesAsk)

    def renamed(self, error: errors.ApiError, ask: Ask) -> errors.ApiError:
        """See ``managed.OtherDialect``."""
        assert isinstance(ask, ResponsesAsk)  # noqa: S101
        return responses_ask.renamed(error, ask.sent)

    def input_tokens(self, request: Request, unique: str) -> Reply:
        """Count the tokens of a request that is not answered."""
        ask = self._unanswered(request, unique)
        return self._reply({"object": "response.input_tokens", "input_tokens": ask.prompt_tokens}, unique)

    def compact(self, request: Request, unique: str) -> Reply:
        """Put a conversation as one item, which stands for it in a later request."""
        ask = self._unanswered(request, unique)
        compaction = {"id": f"cmp_{unique[8:]}", "type": "compaction", "encrypted_content": compacted(ask)}
        usage = {
            "input_tokens": ask.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": ask.prompt_tokens,
        }
        answer = {"id": f"resp_{unique}", "object": "response.compaction", "created_at": int(time.time())}
        return self._reply(answer | {"output": [compaction], "usage": usage}, unique)

    def _unanswered(self, request: Request, unique: str) -> ResponsesAsk:
        ask = self.read(request, unique)
        self._rulebook.check_model(ask)
        return ask

    def _reply(self, document: Document, unique: str) -> Reply:
        return Reply(self._heads.whole, f"req_{unique}", orjson.dumps(document))
