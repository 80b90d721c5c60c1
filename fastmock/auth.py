"""Who may call."""

import re
from collections.abc import Callable
from hmac import compare_digest

from fastmock.config.settings import Auth
from fastmock.core import errors
from fastmock.core.credentials import bare, of_bearer
from fastmock.core.http import Request
from fastmock.core.provider import provider_of

Guard = Callable[[Request], None]
"""Look at a request before it is answered; return, or raise what it is answered with."""

_MOST_ACCEPTED = 1024
_secret_form = re.compile(r"sk-[\w-]+").fullmatch


def authorizer(settings: Auth) -> Guard | None:
    """Return the check that the mode asks for; None where it asks for nothing."""
    keys = [key.encode() for key in settings.keys]
    accepted: set[str | None] = set()  # what was sent before and was right: a client sends the same key again and again

    def remember(value: str | None) -> None:
        """Accept a header again that has a key itself; beside one that has none another header may have let in."""
        if value and of_bearer(value) is not None and len(accepted) < _MOST_ACCEPTED:
            accepted.add(value)

    def bearer(request: Request) -> None:
        value = request.authorization = request.headers.get("authorization")
        if value not in accepted:
            _sent_key(request)
            remember(value)

    def secret(request: Request) -> None:
        value = request.authorization = request.headers.get("authorization")
        if value not in accepted:
            if not _secret_form(bare(key := _sent_key(request))):
                raise errors.KeyInvalid(key)
            remember(value)

    def one_of_keys(request: Request) -> None:
        key = _sent_key(request)
        # All of them are compared, each in constant time: how long it takes tells nothing of any.
        if not sum(compare_digest(sent.encode(), known) for sent in (key, bare(key)) for known in keys):
            raise errors.KeyInvalid(key)

    return {"bearer": bearer, "sk": secret, "keys": one_of_keys, "off": None}[settings.mode]


def _sent_key(request: Request) -> str:
    """Return the key that was sent; raise KeyMissing where none was."""
    key = provider_of(request).key_of(request)
    if key is None:
        raise errors.KeyMissing
    return key
