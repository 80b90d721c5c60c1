"""Endpoints whose answers a response manager says, instead of the compiled rules alone."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Protocol, runtime_checkable

import orjson

from fastmock.content.template import TemplateError, literal
from fastmock.core import errors
from fastmock.core.http import Answer, ChatRequest, Progress, Reply, Request, Stream
from fastmock.core.ids import unique as new_unique
from fastmock.core.json import parse
from fastmock.core.problems import dotted
from fastmock.engine.responder import Responder
from fastmock.engine.response_template import ChoiceFormatError, Document, ResponseTemplate
from fastmock.responses import Generate

_LOG = logging.getLogger("fastmock")


class _OfRules(errors.ApiError):
    """An error that the rules say to a manager, in words; ``failure`` is the same as the rules raised it."""

    failure: errors.ApiError


class _Asked:
    """What a manager is saying an answer to, where that was asked for in another dialect than chat.

    Attributes:
        stop: the text before which what the rules said to the manager ended; None where it ended by itself. A chat
            completion does not tell.
    """

    def __init__(self, responder: Responder, dialect: "OtherDialect", chat: ChatRequest) -> None:
        self._responder = responder
        self._dialect = dialect
        self._ask = chat
        self.stop: str | None = None

    def say(self, body: Document, unique: str, file: str | None) -> Reply | Stream:
        """Answer a chat completion by the rules, as what it stands for."""
        chat = self._dialect.reread(self._ask, body, unique)
        script, answers = self._responder.select(chat, file)
        if (cached := self._ask.cached_tokens) or chat.cached_tokens:
            chat.add_details().cached_tokens = cached  # the prompt itself was not seen before
        self.stop = answers[0].stop if answers else None
        return self._responder.send(chat, script, answers)


_asked: ContextVar[_Asked | None] = ContextVar("asked", default=None)


class Sayer(Protocol):
    """An endpoint as the compiled rules answer it."""

    def say(self, body: Document, unique: str, file: str | None = None) -> Reply | Stream:
        """Answer a parsed request, by the rules or by a response file."""


def compiled(
    endpoint: Sayer, words: Callable[[errors.ApiError], errors.ApiError], serves_others: bool = False
) -> Generate:
    """Return what a manager's own method does by default: say what the rules say, as a dictionary.

    Args:
        endpoint: the endpoint.
        words: puts errors into words.
        serves_others: whether requests in other dialects than its own come to it, in its form.
    """

    def generate(body: Document, file: str | None) -> Document:
        whole, unique, asked = {**body, "stream": False}, new_unique(), _asked.get()
        try:
            if asked is not None and serves_others:
                answer = asked.say(whole, unique, file)
            else:
                answer = endpoint.say(whole, unique, file)
        except errors.ApiError as error:
            worded = words(error)
            said = _OfRules(worded.status, worded.message)
            said.__dict__.update(worded.__dict__, failure=error)
            raise said from None
        assert isinstance(answer, Reply)  # noqa: S101 - only a stream is anything else
        document: Document = orjson.loads(answer.body)
        return document

    return generate


_counting = Lock()


@contextmanager
def _counted(progress: Progress) -> Iterator[None]:
    """Note that a manager is at work; calls may run in several threads."""
    with _counting:
        progress.cells[Progress.MANAGER] += 1
    try:
        yield
    finally:
        with _counting:
            progress.cells[Progress.MANAGER] -= 1


def managed(generate: Generate, body: Document, file: str | None, progress: Progress) -> Document:
    """Have a manager say an answer; its own failure becomes a 500 that says so.

    Raises:
        ApiError: that, or what the manager raised; of either the words stand. Or what the rules said to the manager.
    """
    try:
        with _counted(progress):
            document = generate(body, file)
    except _OfRules as error:
        raise error.failure from None
    except errors.ApiError as error:
        raise error.but(verbatim=True) from None
    except Exception as error:
        _LOG.exception("the response manager failed")
        raise errors.ManagerFailed(f"{type(error).__name__}: {error}") from None
    if not isinstance(document, dict):
        raise errors.ManagerFailed(f"it returned {type(document).__name__}, not a dictionary")
    return document


class Dialect(Protocol):
    """How completions are asked for, and how they are told."""

    def read(self, request: Request, unique: str) -> ChatRequest:
        """Parse a request, and refuse it where the provider does; see ``validation``."""

    def parse(self, body: Document, unique: str) -> ChatRequest:
        """Check a request and return what it asks for."""

    def tell(self, chat: ChatRequest, script: ResponseTemplate, answers: list[Answer] | None = None) -> Reply | Stream:
        """Tell what the script says, or else ``answers``; store it where that is wanted."""


@runtime_checkable
class OtherDialect(Dialect, Protocol):
    """One whose requests a manager gets as those for chat completions."""

    def reread(self, chat: ChatRequest, body: Document, unique: str) -> ChatRequest:
        """Read a chat completion that a manager asks the rules for, to answer ``chat``."""

    def renamed(self, error: errors.ApiError, chat: ChatRequest) -> errors.ApiError:
        """Say an error about the chat completion in terms of what was sent."""


class ManagedCompletions:
    """Completions of any dialect, said by a manager; what its answer lacks is filled in."""

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
            return dialect.tell(chat, self._script(chat))
        asked = _Asked(self._responder, dialect, chat)
        before = _asked.set(asked)
        try:
            script = self._script(chat)
            answers = None if asked.stop is None else _ended(script.answers(chat), asked.stop)
            return dialect.tell(chat, script, answers)
        except errors.ApiError as error:
            raise dialect.renamed(error, chat) from None
        finally:
            _asked.reset(before)

    def _script(self, chat: ChatRequest) -> ResponseTemplate:
        """Return the script that says what the manager says."""
        document = managed(self._generate, chat.body, self._responder.response_file(chat), self._progress)
        try:
            script = self._responder.template(literal(document))
        except ChoiceFormatError as fault:
            raise errors.ManagerFailed(f"wrong answer: {dotted(fault.path)} {fault}") from None
        except (TemplateError, RecursionError) as error:
            raise errors.ManagerFailed(f"wrong answer: {error}") from None
        # One choice stands for as many as were asked for; several are what the manager means.
        one_for_all = chat.choices > 1 and len(document["choices"]) == 1
        return script.for_choices(chat.choices) if one_for_all else script


def _ended(said: list[Answer], stop: str) -> list[Answer]:
    """Return answers as they are where they ended before a text."""
    return [answer._replace(stop=stop) if answer.finish_reason == "stop" else answer for answer in said]


class ManagedEmbeddings:
    """Embeddings, said by a manager."""

    def __init__(self, endpoint: Callable[[Request, str], Reply], generate: Generate, progress: Progress) -> None:
        self._progress = progress
        self._endpoint = endpoint
        self._generate = generate

    def __call__(self, request: Request, unique: str) -> Reply:
        """Answer a request; it is checked as always, and what the manager returns is sent as it is."""
        reply = self._endpoint(request, unique)
        document = managed(self._generate, parse(request.body), None, self._progress)
        try:
            reply.body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise errors.ManagerFailed(str(error)) from None
        return reply
