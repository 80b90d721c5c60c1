"""Anthropic's ``POST /v1/messages`` and ``/v1/messages/count_tokens``."""

from collections.abc import Callable
from typing import Any

import orjson

from fastmock.config.settings import Settings
from fastmock.content.filler import lorem
from fastmock.content.tokenizers import OfModel
from fastmock.core import errors
from fastmock.core.headers import of_answers
from fastmock.core.http import Answer, Ask, Reply, Request, Stream
from fastmock.core.json import parse
from fastmock.engine.event_template import Retold
from fastmock.engine.responder import Rulebook
from fastmock.engine.response_template import Script
from fastmock.providers.anthropic.headers import HEADS, error_event
from fastmock.providers.anthropic.messages import request as messages_ask
from fastmock.providers.anthropic.messages.render import MessagesTeller
from fastmock.providers.anthropic.messages.request import MessagesAsk

_THINKING = 24  # words that are thought where a rule says nothing of it


class Messages:
    """The endpoints; see ``managed.Dialect``."""

    def __init__(
        self, rulebook: Rulebook, vocabularies: OfModel, settings: Settings, validate: Callable[[Ask], None]
    ) -> None:
        self._rulebook = rulebook
        self._vocabularies = vocabularies
        self._validate = validate
        self._heads = of_answers(HEADS, error_event)
        self._thinking = lorem(_THINKING, settings.seed, "thinking")
        self._retold = Retold("messages", MessagesTeller(self._thinking), rulebook.per_chunk)

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        ask = self.read(request, unique)
        try:
            return self.tell(ask, *self._rulebook.choose(ask))
        except errors.ApiError as error:
            raise messages_ask.renamed(error, ask.sent) from None

    def read(self, request: Request, unique: str) -> MessagesAsk:
        """See ``managed.Dialect``."""
        ask = self.parse(parse(request.body), unique)
        ask.request = request
        self._validate(ask)
        return ask

    def parse(self, body: dict[str, Any], unique: str) -> MessagesAsk:
        """See ``managed.Dialect``."""
        return messages_ask.parse(body, unique, self._vocabularies, self._thinking)

    def tell(self, ask: Ask, script: Script, answers: list[Answer] | None = None) -> Reply | Stream:
        """See ``managed.Dialect``."""
        return self._rulebook.send(ask, self._retold.of(script), answers, self._heads)

    def reread(self, ask: Ask, body: dict[str, Any], unique: str) -> MessagesAsk:
        """See ``managed.OtherDialect``."""
        assert isinstance(ask, MessagesAsk)  # noqa: S101 - ``parse`` made it
        return messages_ask.reread(ask, body, unique, self._vocabularies)

    def renamed(self, error: errors.ApiError, ask: Ask) -> errors.ApiError:
        """See ``managed.OtherDialect``."""
        assert isinstance(ask, MessagesAsk)  # noqa: S101
        return messages_ask.renamed(error, ask.sent)

    def count_tokens(self, request: Request, unique: str) -> Reply:
        """Count the tokens of a request that is not answered."""
        body = parse(request.body)
        ask = messages_ask.parse(body, unique, self._vocabularies, self._thinking, counted_only=True)
        ask.request = request
        self._validate(ask)
        self._rulebook.check_model(ask)
        return Reply(self._heads.whole, f"req_{unique}", orjson.dumps({"input_tokens": ask.prompt_tokens}))
