"""Authentication of API requests."""

import re
from collections.abc import Callable
from hmac import compare_digest

from fastmock.config.settings import Auth
from fastmock.core import errors
from fastmock.core.credentials import bearer_token, without_session
from fastmock.core.http import Request
from fastmock.core.provider import provider_of

Guard = Callable[[Request], None]
"""Checks a request before it is processed; returns, or raises the error to respond with."""

_MOST_ACCEPTED = 1024
_secret_form = re.compile(r"sk-[\w-]+").fullmatch


def authorizer(settings: Auth) -> Guard | None:
    """Return the check for the configured mode; None for ``off``."""
    keys = [key.encode() for key in settings.keys]
    accepted: set[str | None] = set()  # headers accepted before: a client sends the same key again and again

    def remember(value: str | None) -> None:
        """Cache an accepted header, if it contains a key itself; otherwise another header may have authenticated it."""
        if value and bearer_token(value) is not None and len(accepted) < _MOST_ACCEPTED:
            accepted.add(value)

    def bearer(request: Request) -> None:
        value = request.authorization = request.headers.get("authorization")
        if value not in accepted:
            _sent_key(request)
            remember(value)

    def secret(request: Request) -> None:
        value = request.authorization = request.headers.get("authorization")
        if value not in accepted:
            if not _secret_form(without_session(key := _sent_key(request))):
                raise errors.KeyInvalid(key)
            remember(value)

    def one_of_keys(request: Request) -> None:
        key = _sent_key(request)
        # Compare with every key, each in constant time, so that the duration reveals nothing.
        if not sum(compare_digest(sent.encode(), known) for sent in (key, without_session(key)) for known in keys):
            raise errors.KeyInvalid(key)

    return {"bearer": bearer, "sk": secret, "keys": one_of_keys, "off": None}[settings.mode]


def _sent_key(request: Request) -> str:
    """Return the API key of a request; raise KeyMissing if there is none."""
    key = provider_of(request).key_of(request)
    if key is None:
        raise errors.KeyMissing
    return key
