"""A provider: everything that distinguishes one API from another, in one object."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fastmock.core.credentials import SESSION_HEADER, Headers, key_in, session_in
from fastmock.core.errors import ApiError, Failure
from fastmock.core.headers import HeaderFactory
from fastmock.core.http import Query, Request, query_value


@dataclass(frozen=True)
class LimitHeaders:
    """The headers that show rate limits.

    Attributes:
        names: template of the header names by unit; ``{}`` stands for ``limit``, ``remaining`` or ``reset``.
        reset: formats a reset, given in milliseconds from now.
        short: precomputed results of ``reset`` for short times.
    """

    names: Mapping[str, str]
    reset: Callable[[int], str]
    short: Sequence[str] = ()

    @property
    def all_names(self) -> Iterator[str]:
        """The names of all limit headers."""
        return (name.format(part) for part in ("limit", "remaining", "reset") for name in self.names.values())


@dataclass(frozen=True)
class Keys:
    """Names of keys in the JSON of a provider's responses, for faults that change their values.

    Attributes:
        output_tokens: the keys of the number of completion tokens.
        arguments: regular expressions for the key, with its colon, of a tool call's arguments or of a delta of them.
    """

    output_tokens: tuple[str, ...]
    arguments: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Provider:
    """A provider.

    Attributes:
        name: the name of the provider.
        bases: base paths.
        paths: prefixes of its paths after the base.
        api: compiles its API from ``engine.services.Services``; returns an ``Api``.
        sign: a header that identifies its requests on paths that several providers share; empty without one.
        key_headers: headers that may contain the API key; the first one present counts.
        public_url: URL of its public API, without a path; empty without one.
        key_parameter: query parameter for the API key if no header contains it; empty without one.
        keys: see Keys.
        heads: creates response heads: constant headers, and the header of the request id.
        limit_headers: see LimitHeaders.
        words_of: turns a failure into an error with the provider's message.
        envelope: serializes an error with a message as a response body; the other argument is the request id.
        error_event: serializes an error, with or without a message, as an event of a stream.
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
    keys: Keys = field(repr=False)
    public_url: str = ""
    key_parameter: str = ""

    def words(self, error: ApiError) -> ApiError:
        """Return an error with the provider's message and all other attributes of the original."""
        return in_words(error, self.words_of)

    def key_of(self, request: Request) -> str | None:
        """Return the API key of a request; None without one."""
        return self._key_in(request.headers, request.query)

    def _key_in(self, headers: Headers, query: Query) -> str | None:
        key = next((key for name in self.key_headers if (key := key_in(headers, name)) is not None), None)
        return query_value(query, self.key_parameter) if key is None and self.key_parameter else key

    def session_of(self, request: Request, headers: Headers | None = None) -> str:
        """Return the session of a request; see ``credentials.session_in``.

        ``headers``: its headers as a dictionary, if there is one: lookups in it are faster.
        """
        found = request.headers if headers is None else headers
        if found.get(SESSION_HEADER) is None and not self.key_parameter:
            for name in self.key_headers:  # a key without a colon names no session: that is decided in 0.4 µs, not 3
                value = found.get(name)
                if value is not None and ":" in value:
                    break
            else:
                return ""
        return session_in(found, lambda: self._key_in(found, request.query))

    @property
    def header_names(self) -> Iterator[str]:
        """The names of the headers of its responses."""
        yield from self.heads.names
        yield from self.limit_headers.all_names

    def owns(self, path: str) -> bool:
        """Return whether a path belongs to this provider alone."""
        return path.startswith(self._prefixes)

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        return tuple(f"{base}{path}" for base in self.bases for path in self.paths)


class Providers(tuple[Provider, ...]):
    """The served providers; the first one answers requests that match no other."""

    __slots__ = ()

    def owner(self, path: str) -> Provider | None:
        """Return the only provider of a path; None if there are several or none."""
        return next((provider for provider in self if provider.owns(path)), None)

    def find(self, request: Request) -> Provider:
        """Return the provider of a request: by its path, else by the header that identifies the provider's clients."""
        if (found := self.owner(request.path)) is not None:
            return found
        signed = (one for one in self if one.sign and request.headers.get(one.sign) is not None)
        return next(signed, self[0])


def in_words(error: ApiError, words_of: Callable[[ApiError], ApiError]) -> ApiError:
    """Return an error with the message from ``words_of`` and all other attributes of the original."""
    worded = words_of(error)
    if isinstance(error, Failure):
        worded = worded.replace(
            headers=error.headers,
            model=error.model,
            rule=error.rule,
            fault=error.fault,
            limit=error.limit,
            check=error.check,
        )
    return worded.replace(**error.overrides) if error.overrides else worded


def provider_of(request: Request) -> Provider:
    """Return the provider of a request that is being answered."""
    provider = request.provider
    assert isinstance(provider, Provider)  # noqa: S101 - the App sets it before anything else
    return provider
