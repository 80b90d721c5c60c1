"""``POST /v1/responses``, ``…/input_tokens`` and ``…/compact``."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from typing_extensions import override

from fastmock.config.settings import Settings
from fastmock.content.tokenizers import TokenizerOf
from fastmock.core import errors
from fastmock.core.completion import Answer, ChatRequest
from fastmock.core.headers import HeaderFactory, make_answer_heads
from fastmock.core.http import Reply, Request, Stream
from fastmock.core.json import parse
from fastmock.engine.dialect import DialectEndpoint
from fastmock.engine.event_template import DialectTemplates
from fastmock.engine.responder import Responder
from fastmock.engine.response_template import Rendering
from fastmock.providers.openai.chat import request as chat_request
from fastmock.providers.openai.responses import request as responses_request
from fastmock.providers.openai.responses.render import ResponsesRenderer, empty_response, error_event, numbered
from fastmock.providers.openai.responses.request import ResponsesRequest, compacted
from fastmock.providers.openai.responses.stored import StoredResponses

Document = dict[str, Any]


class Responses(DialectEndpoint):
    """The endpoints."""

    def __init__(
        self,
        responder: Responder,
        tokenizers: TokenizerOf,
        stored: StoredResponses,
        factory: HeaderFactory,
        settings: Settings,
        model: str,
        validate: Callable[[ChatRequest], None],
    ) -> None:
        """``model``: the default model."""
        self._tokenizers = tokenizers
        self._stored = stored
        self._model = model
        self._validate = validate
        templates = DialectTemplates("responses", ResponsesRenderer(settings.seed), responder.per_chunk)
        super().__init__(responder, templates, make_answer_heads(factory, error_event))

    @override
    def read(self, request: Request, unique: str) -> ResponsesRequest:
        chat = self.parse(parse(request.body), unique)
        chat.request = request
        self._validate(chat)
        return chat

    def parse(self, body: Document, unique: str) -> ResponsesRequest:
        """Parse a request body."""
        return responses_request.parse(body, unique, self._tokenizers, self._model, self._stored.history)

    def messages(self, body: Document) -> list[Document]:
        """Return the conversation of a request body as messages of a chat completion; empty if not all is known."""
        return responses_request.conversation(body, self._stored.history)

    @override
    def depends_on_body_alone(self, chat: ChatRequest) -> bool:
        assert isinstance(chat, ResponsesRequest)  # noqa: S101 - created by ``parse``
        earlier = chat.sent.get("previous_response_id") or chat.sent.get("conversation")
        return not (earlier or chat.background)

    @override
    def deliver(
        self, chat: ChatRequest, rendering: Rendering, answers: Sequence[Answer] | None = None
    ) -> Reply | Stream:
        assert isinstance(chat, ResponsesRequest)  # noqa: S101 - created by ``parse``
        reply = numbered(super().deliver(chat, rendering, answers))
        if chat.store:
            self._stored.keep(chat)
        if chat.background and isinstance(reply, Reply) and not chat.stream:
            model = orjson.loads(chat.whole)["model"]
            reply.body = empty_response(chat, b"queued", int(time.time()), chat.echo, model)
            reply.due_times = None
        return reply

    def reparse(self, chat: ChatRequest, body: Document, unique: str) -> ResponsesRequest:
        """Parse a chat completion from a response manager."""
        return chat_request.parse(body, unique, self._tokenizers, ResponsesRequest)

    @override
    def translate_error(self, error: errors.ApiError, chat: ChatRequest) -> errors.ApiError:
        assert isinstance(chat, ResponsesRequest)  # noqa: S101
        return responses_request.translate_error(error, chat.sent)

    def input_tokens(self, request: Request, unique: str) -> Reply:
        """Count the tokens of a request without answering it."""
        chat = self._unanswered(request, unique)
        return self._reply({"object": "response.input_tokens", "input_tokens": chat.prompt_tokens}, unique)

    def compact(self, request: Request, unique: str) -> Reply:
        """Compact a conversation into one item, which stands for it in a later request."""
        chat = self._unanswered(request, unique)
        compaction = {"id": f"cmp_{unique[8:]}", "type": "compaction", "encrypted_content": compacted(chat)}
        usage = {
            "input_tokens": chat.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": chat.prompt_tokens,
        }
        answer = {"id": f"resp_{unique}", "object": "response.compaction", "created_at": int(time.time())}
        return self._reply(answer | {"output": [compaction], "usage": usage}, unique)

    def _unanswered(self, request: Request, unique: str) -> ResponsesRequest:
        chat = self.read(request, unique)
        self._responder.check_model(chat)
        return chat

    def _reply(self, document: Document, unique: str) -> Reply:
        return Reply(self._heads.whole, f"req_{unique}", orjson.dumps(document))
