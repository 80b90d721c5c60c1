"""Endpoints whose responses come from a response manager instead of the compiled rules alone."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Protocol, runtime_checkable

import orjson

from fastmock.content.template import TemplateError, literal
from fastmock.core import errors
from fastmock.core.completion import Answer, ChatRequest
from fastmock.core.http import Progress, Reply, Request, Stream
from fastmock.core.ids import unique as new_unique
from fastmock.core.json import parse
from fastmock.core.problems import dotted
from fastmock.engine.responder import Responder
from fastmock.engine.response_template import ChoiceFormatError, Document, Rendering, ResponseTemplate
from fastmock.responses import Generate

_LOG = logging.getLogger("fastmock")


class _RulesError(errors.ApiError):
    """An error that the rules raise to a manager, with a message; ``failure`` is the original error."""

    failure: errors.ApiError


class _OriginalRequest:
    """The request that a manager is answering, if it came in another dialect than chat.

    Attributes:
        stop: the stop sequence that ended the rules' answer to the manager; None if it ended by itself. A chat
            completion does not include it.
    """

    def __init__(self, responder: Responder, dialect: "OtherDialect", chat: ChatRequest) -> None:
        self._responder = responder
        self._dialect = dialect
        self._chat = chat
        self.stop: str | None = None

    def answer(self, body: Document, unique: str, file: str | None) -> Reply | Stream:
        """Answer a chat completion by the rules, on behalf of the original request."""
        chat = self._dialect.reparse(self._chat, body, unique)
        template, answers = self._responder.select(chat, file)
        if (cached := self._chat.cached_tokens) or chat.cached_tokens:
            chat.add_details().cached_tokens = cached  # the messages of the manager were not cached
        self.stop = answers[0].stop if answers else None
        return self._responder.send(chat, template, answers)


_original: ContextVar[_OriginalRequest | None] = ContextVar("original", default=None)


class RuleEndpoint(Protocol):
    """An endpoint answered by the compiled rules."""

    def answer(self, body: Document, unique: str, file: str | None = None) -> Reply | Stream:
        """Answer a parsed request, by the rules or by a response file."""


def compiled(
    endpoint: RuleEndpoint, words: Callable[[errors.ApiError], errors.ApiError], serves_others: bool = False
) -> Generate:
    """Return the default implementation of a manager's method: the response of the rules, as a dictionary.

    Args:
        endpoint: the endpoint.
        words: adds the provider's message to errors.
        serves_others: whether it also gets requests from other dialects, converted to its own.
    """

    def generate(body: Document, file: str | None) -> Document:
        whole, unique, original = {**body, "stream": False}, new_unique(), _original.get()
        try:
            if original is not None and serves_others:
                answer = original.answer(whole, unique, file)
            else:
                answer = endpoint.answer(whole, unique, file)
        except errors.ApiError as error:
            worded = words(error)
            raised = _RulesError(worded.status, worded.message)
            raised.__dict__.update(worded.__dict__, failure=error)
            raise raised from None
        assert isinstance(answer, Reply)  # noqa: S101 - it would only be a stream if one was requested
        document: Document = orjson.loads(answer.body)
        return document

    return generate


_counting = Lock()


@contextmanager
def _counted(progress: Progress) -> Iterator[None]:
    """Count a running call of a manager; calls may run in several threads."""
    with _counting:
        progress.cells[Progress.MANAGER] += 1
    try:
        yield
    finally:
        with _counting:
            progress.cells[Progress.MANAGER] -= 1


def managed(generate: Generate, body: Document, file: str | None, progress: Progress) -> Document:
    """Let a manager create a response; its own failure becomes a 500 with the reason.

    Raises:
        ApiError: that 500; or the error that the manager raised, verbatim; or the error of the rules that it called.
    """
    try:
        with _counted(progress):
            document = generate(body, file)
    except _RulesError as error:
        raise error.failure from None
    except errors.ApiError as error:
        raise error.replace(verbatim=True) from None
    except Exception as error:
        _LOG.exception("the response manager failed")
        raise errors.ManagerFailed(f"{type(error).__name__}: {error}") from None
    if not isinstance(document, dict):
        raise errors.ManagerFailed(f"it returned {type(document).__name__}, not a dictionary")
    return document


class Dialect(Protocol):
    """The requests and responses of one completions endpoint."""

    def read(self, request: Request, unique: str) -> ChatRequest:
        """Parse and validate a request; see ``validation``."""

    def parse(self, body: Document, unique: str) -> ChatRequest:
        """Parse a request body."""

    def rendering(self, template: ResponseTemplate) -> Rendering:
        """Return a template in the dialect."""

    def deliver(
        self, chat: ChatRequest, rendering: Rendering, answers: Sequence[Answer] | None = None
    ) -> Reply | Stream:
        """Send a response with the answers of a template, or ``answers`` instead, and store it if requested."""


@runtime_checkable
class OtherDialect(Dialect, Protocol):
    """A dialect whose requests a manager gets in the form of chat completions."""

    def reparse(self, chat: ChatRequest, body: Document, unique: str) -> ChatRequest:
        """Parse a chat completion from a manager, made while it answers ``chat``."""

    def translate_error(self, error: errors.ApiError, chat: ChatRequest) -> errors.ApiError:
        """Return an error about the chat completion with the parameter names of the original request."""


class ManagedCompletions:
    """Completions of any dialect, from a manager; missing parts of its response are filled in."""

    def __init__(self, responder: Responder, dialect: Dialect, generate: Generate, progress: Progress) -> None:
        self._progress = progress
        self._responder = responder
        self._dialect = dialect
        self._generate = generate

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        dialect = self._dialect
        chat = dialect.read(request, unique)
        if not isinstance(dialect, OtherDialect):
            return dialect.deliver(chat, dialect.rendering(self._template(chat)))
        original = _OriginalRequest(self._responder, dialect, chat)
        before = _original.set(original)
        try:
            template = self._template(chat)
            answers = None if original.stop is None else _with_stop(template.answers(chat), original.stop)
            return dialect.deliver(chat, dialect.rendering(template), answers)
        except errors.ApiError as error:
            raise dialect.translate_error(error, chat) from None
        finally:
            _original.reset(before)

    def _template(self, chat: ChatRequest) -> ResponseTemplate:
        """Return the template of the manager's response."""
        document = managed(self._generate, chat.body, self._responder.response_file(chat), self._progress)
        try:
            template = self._responder.template(literal(document))
        except ChoiceFormatError as fault:
            raise errors.ManagerFailed(f"invalid response: {dotted(fault.path)} {fault}") from None
        except (TemplateError, RecursionError) as error:
            raise errors.ManagerFailed(f"invalid response: {error}") from None
        # One choice stands for all requested ones; several are used as they are.
        one_for_all = chat.choices > 1 and len(document["choices"]) == 1
        return template.for_choices(chat.choices) if one_for_all else template


def _with_stop(answers: list[Answer], stop: str) -> list[Answer]:
    """Return answers that ended at a stop sequence."""
    return [answer._replace(stop=stop) if answer.finish_reason == "stop" else answer for answer in answers]


class ManagedEmbeddings:
    """Embeddings from a manager."""

    def __init__(self, endpoint: Callable[[Request, str], Reply], generate: Generate, progress: Progress) -> None:
        self._progress = progress
        self._endpoint = endpoint
        self._generate = generate

    def __call__(self, request: Request, unique: str) -> Reply:
        """Answer a request; it is validated as always, and the manager's response is sent unchanged."""
        reply = self._endpoint(request, unique)
        document = managed(self._generate, parse(request.body), None, self._progress)
        try:
            reply.body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise errors.ManagerFailed(str(error)) from None
        return reply
