"""The endpoint ``POST /v1/chat/completions``."""

from collections.abc import Callable

from fastmock.content.tokenizers import OfModel
from fastmock.core.http import Answer, Ask, Reply, Request, Stream
from fastmock.core.json import parse
from fastmock.engine.responder import Rulebook
from fastmock.engine.response_template import (
    Document,
    Script,
)
from fastmock.providers.openai.chat import request as chat_ask
from fastmock.providers.openai.chat.request import ChatAsk
from fastmock.providers.openai.chat.stored import StoredCompletions


class Chat:
    """The endpoint; see ``managed.Dialect``."""

    def __init__(
        self, rulebook: Rulebook, vocabularies: OfModel, stored: StoredCompletions, validate: Callable[[Ask], None]
    ) -> None:
        self._rulebook = rulebook
        self._vocabularies = vocabularies
        self._stored = stored
        self._validate = validate

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        # As read() and parse() do it: their calls cost 0.3 µs.
        ask = chat_ask.parse(parse(request.body), unique, self._vocabularies, ChatAsk)
        ask.request = request
        self._validate(ask)
        if ask.special and ask.keep:
            return self.tell(ask, *self._rulebook.choose(ask))
        return self._rulebook.answer(ask)

    def read(self, request: Request, unique: str) -> Ask:
        """See ``managed.Dialect``."""
        ask = self.parse(parse(request.body), unique)
        ask.request = request
        self._validate(ask)
        return ask

    def parse(self, body: Document, unique: str) -> Ask:
        """See ``managed.Dialect``."""
        return chat_ask.parse(body, unique, self._vocabularies, ChatAsk)

    def tell(self, ask: Ask, script: Script, answers: list[Answer] | None = None) -> Reply | Stream:
        """See ``managed.Dialect``."""
        reply = self._rulebook.send(ask, script, answers)
        if ask.keep:
            self._stored.keep(ask, script.whole(ask, answers))
        return reply

    def say(self, body: Document, unique: str, file: str | None = None) -> Reply | Stream:
        """Answer a parsed request, by the rules or by a response file."""
        return self._rulebook.answer(self.parse(body, unique), file)
