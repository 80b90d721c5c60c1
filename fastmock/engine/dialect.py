"""Endpoints that answer by the rules for chat completions in another dialect."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from fastmock.core import errors
from fastmock.core.completion import Answer, ChatRequest
from fastmock.core.headers import AnswerHeads
from fastmock.core.http import Reply, Request, Stream
from fastmock.engine.event_template import DialectTemplates
from fastmock.engine.responder import Responder
from fastmock.engine.response_template import Rendering, ResponseTemplate


class DialectEndpoint(ABC):
    """The endpoint of a dialect; see ``manager.OtherDialect`` and ``plans.Plannable``."""

    def __init__(self, responder: Responder, templates: DialectTemplates, heads: AnswerHeads) -> None:
        """Answer by the rules of ``responder``, with the dialect's templates and heads."""
        self._responder = responder
        self._templates = templates
        self._heads = heads

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        chat = self.read(request, unique)
        try:
            template, answers = self._responder.select(chat)
            return self.deliver(chat, self.rendering(template), answers)
        except errors.ApiError as error:
            raise self.translate_error(error, chat) from None

    @abstractmethod
    def read(self, request: Request, unique: str) -> ChatRequest:
        """Parse and validate a request."""

    def depends_on_body_alone(self, chat: ChatRequest) -> bool:
        """Return whether a request and its response depend on the body and the path alone."""
        return True

    def rendering(self, template: ResponseTemplate) -> Rendering:
        """Return a template in the dialect."""
        return self._templates.of(template)

    def deliver(
        self, chat: ChatRequest, rendering: Rendering, answers: Sequence[Answer] | None = None
    ) -> Reply | Stream:
        """Send a response."""
        return self._responder.send(chat, rendering, answers, self._heads)

    def translate_error(self, error: errors.ApiError, chat: ChatRequest) -> errors.ApiError:
        """Return an error about the chat completion with the parameter names of the original request."""
        return error
