"""Anthropic's ``POST /v1/messages`` and ``/v1/messages/count_tokens``."""

from collections.abc import Callable
from typing import Any

import orjson
from typing_extensions import override

from fastmock.config.settings import Settings
from fastmock.content.filler import lorem
from fastmock.content.tokenizers import TokenizerOf
from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.headers import make_answer_heads
from fastmock.core.http import Reply, Request
from fastmock.core.json import parse
from fastmock.engine.dialect import DialectEndpoint
from fastmock.engine.event_template import DialectTemplates
from fastmock.engine.responder import Responder
from fastmock.providers.anthropic.headers import HEADS, PING, error_event
from fastmock.providers.anthropic.messages import request as messages_request
from fastmock.providers.anthropic.messages.render import MessagesRenderer
from fastmock.providers.anthropic.messages.request import MessagesRequest

_THINKING = 24  # words of the default thinking


class Messages(DialectEndpoint):
    """The endpoints."""

    def __init__(
        self, responder: Responder, tokenizers: TokenizerOf, settings: Settings, validate: Callable[[ChatRequest], None]
    ) -> None:
        self._tokenizers = tokenizers
        self._validate = validate
        self._thinking = lorem(_THINKING, settings.seed, "thinking")
        templates = DialectTemplates("messages", MessagesRenderer(self._thinking), responder.per_chunk)
        super().__init__(responder, templates, make_answer_heads(HEADS, error_event, ping=PING))

    @override
    def read(self, request: Request, unique: str) -> MessagesRequest:
        chat = self.parse(parse(request.body), unique)
        chat.request = request
        self._validate(chat)
        return chat

    def parse(self, body: dict[str, Any], unique: str) -> MessagesRequest:
        """Parse a request body."""
        return messages_request.parse(body, unique, self._tokenizers, self._thinking)

    def reparse(self, chat: ChatRequest, body: dict[str, Any], unique: str) -> MessagesRequest:
        """Parse a chat completion from a response manager, made while it answers ``chat``."""
        assert isinstance(chat, MessagesRequest)  # noqa: S101 - created by ``parse``
        return messages_request.reparse(chat, body, unique, self._tokenizers)

    @override
    def translate_error(self, error: errors.ApiError, chat: ChatRequest) -> errors.ApiError:
        assert isinstance(chat, MessagesRequest)  # noqa: S101
        return messages_request.translate_error(error, chat.sent)

    def count_tokens(self, request: Request, unique: str) -> Reply:
        """Count the tokens of a request without answering it."""
        body = parse(request.body)
        chat = messages_request.parse(body, unique, self._tokenizers, self._thinking, counted_only=True)
        chat.request = request
        self._validate(chat)
        self._responder.check_model(chat)
        return Reply(self._heads.whole, f"req_{unique}", orjson.dumps({"input_tokens": chat.prompt_tokens}))
