"""A provider: all that distinguishes one API from another, in one object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastmock.core.credentials import key_in
from fastmock.core.errors import ApiError, Failure
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Request


@dataclass(frozen=True)
class LimitHeaders:
    """The headers that show rate limits.

    Attributes:
        names: the template of the names for each unit that is shown; ``{}`` stands for ``limit``, ``remaining`` or
            ``reset``.
        reset: writes a reset, given in milliseconds from now.
        short: the same for the shortest, ready.
    """

    names: Mapping[str, str]
    reset: Callable[[int], str]
    short: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Provider:
    """A provider.

    Attributes:
        name: its name.
        bases: the bases of its paths.
        paths: the beginnings of its paths after the base.
        api: compiles its API from ``engine.services.Services``; returns an ``Api``.
        sign: a header by which requests for paths that several providers have are known; empty without one.
        key_headers: the headers in which an API key is sent; the first that has one counts.
        heads: makes the heads of its answers: constant headers, and the header of the request id.
        limit_headers: see LimitHeaders.
        words_of: puts a failure into words.
        envelope: writes an error, which is in words, as a body; the other argument is the request id.
        error_event: writes an error, which need not be in words, as a stream has it in its midst.
    """

    name: str
    bases: tuple[str, ...]
    paths: tuple[str, ...]
    sign: str
    key_headers: tuple[str, ...]
    heads: HeaderFactory = field(repr=False)
    limit_headers: LimitHeaders = field(repr=False)
    words_of: Callable[[ApiError], ApiError] = field(repr=False)
    envelope: Callable[[ApiError, str], bytes] = field(repr=False)
    error_event: Callable[[ApiError, str], bytes] = field(repr=False)
    api: Callable[[Any], Any] = field(repr=False)

    def words(self, error: ApiError) -> ApiError:
        """Return an error in the provider's words, with all that is known of it beside them."""
        return in_words(error, self.words_of)

    def key_of(self, request: Request) -> str | None:
        """Return the API key that a request was sent with; None without one."""
        return next((key for name in self.key_headers if (key := key_in(request.headers, name)) is not None), None)


def in_words(error: ApiError, words_of: Callable[[ApiError], ApiError]) -> ApiError:
    """Return an error in the words of ``words_of``, with all that is known of it beside them."""
    worded = words_of(error)
    if isinstance(error, Failure):
        worded = worded.but(
            headers=error.headers,
            model=error.model,
            rule=error.rule,
            fault=error.fault,
            limit=error.limit,
            check=error.check,
        )
    return worded.but(**error.overrides) if error.overrides else worded


def provider_of(request: Request) -> Provider:
    """Return the provider of a request that is being answered."""
    provider = request.provider
    assert isinstance(provider, Provider)  # noqa: S101 - the App sets it before anything else
    return provider
