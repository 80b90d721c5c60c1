"""Endpoints whose answers a response manager says, instead of the compiled rules alone."""

import logging
from collections.abc import Callable
from typing import Protocol

import orjson

from fastmock.api import checks, errors
from fastmock.api.rulebook import Rulebook
from fastmock.api.script import Document, Script, ShapeError
from fastmock.config.problems import dotted
from fastmock.content.ids import unique as new_unique
from fastmock.content.template import TemplateError, literal
from fastmock.wire import Answer, Ask, Reply, Request, Stream

Generate = Callable[[Document, str | None], Document]
"""A manager's method: the request's body and the file of the rule that won in, a whole answer out."""

_LOG = logging.getLogger("fastmock")


class Sayer(Protocol):
    """An endpoint as the compiled rules answer it."""

    def say(self, body: Document, unique: str, file: str | None = None) -> Reply | Stream:
        """Answer a parsed request, by the rules or by a response file."""


def compiled(endpoint: Sayer) -> Generate:
    """Return what a manager's own method does by default: say what the rules say, as a dictionary."""

    def generate(body: Document, file: str | None) -> Document:
        answer = endpoint.say({**body, "stream": False}, new_unique(), file)
        assert isinstance(answer, Reply)  # noqa: S101 - only a stream is anything else
        document: Document = orjson.loads(answer.body)
        return document

    return generate


def managed(generate: Generate, body: Document, file: str | None) -> Document:
    """Have a manager say an answer; its own failure becomes a 500 that says so."""
    try:
        document = generate(body, file)
    except errors.ApiError:
        raise
    except Exception as error:
        _LOG.exception("the response manager failed")
        raise errors.manager_failed(f"{type(error).__name__}: {error}") from None
    if not isinstance(document, dict):
        raise errors.manager_failed(f"it returned {type(document).__name__}, not a dictionary")
    return document


class Dialect(Protocol):
    """How completions are asked for, and how they are told."""

    def parse(self, body: Document, unique: str) -> Ask:
        """Check a request and return what it asks for."""

    def tell(self, ask: Ask, script: Script, answers: list[Answer] | None = None) -> Reply | Stream:
        """Tell what the script says, or else ``answers``; store it where that is wanted."""


class ManagedCompletions:
    """Completions of any dialect, said by a manager; what its answer lacks is filled in."""

    def __init__(self, rulebook: Rulebook, dialect: Dialect, generate: Generate) -> None:
        self._rulebook = rulebook
        self._dialect = dialect
        self._generate = generate

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        ask = self._dialect.parse(checks.parse(request.body), unique)
        ask.request = request
        document = managed(self._generate, ask.body, self._rulebook.file(ask))
        try:
            script = self._rulebook.script_of(literal(document))
        except ShapeError as fault:
            raise errors.manager_failed(f"wrong answer: {dotted(fault.path)} {fault}") from None
        except (TemplateError, RecursionError) as error:
            raise errors.manager_failed(f"wrong answer: {error}") from None
        # One choice stands for as many as were asked for; several are what the manager means.
        one_for_all = ask.choices > 1 and len(document["choices"]) == 1
        script = script.for_choices(ask.choices) if one_for_all else script
        return self._dialect.tell(ask, script)


class ManagedEmbeddings:
    """Embeddings, said by a manager."""

    def __init__(self, endpoint: Callable[[Request, str], Reply], generate: Generate) -> None:
        self._endpoint = endpoint
        self._generate = generate

    def __call__(self, request: Request, unique: str) -> Reply:
        """Answer a request; it is checked as always, and what the manager returns is sent as it is."""
        reply = self._endpoint(request, unique)
        document = managed(self._generate, checks.parse(request.body), None)
        try:
            reply.body = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise errors.manager_failed(str(error)) from None
        return reply
