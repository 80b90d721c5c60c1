"""Who may call."""

import re
from collections.abc import Callable

from fastmock.api import errors
from fastmock.config.model import Auth
from fastmock.wire import RequestHeaders

Authorize = Callable[[RequestHeaders], None]
"""Look at a request's headers; return, or raise a 401."""


def authorizer(settings: Auth) -> Authorize | None:
    """Return the check that the mode asks for; None where it asks for nothing."""
    return None if settings.mode == "off" else _bearer


_token = re.compile(r"bearer +\S", re.IGNORECASE).match


def _bearer(headers: RequestHeaders) -> None:
    value = headers.get("authorization")
    if value is None or not _token(value):
        raise errors.no_key()
