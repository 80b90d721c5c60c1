"""Who may call."""

from collections.abc import Callable

from fastmock.api import errors
from fastmock.config.model import Auth
from fastmock.wire import RequestHeaders

Authorize = Callable[[RequestHeaders], None]
"""Look at a request's headers; return, or raise a 401."""


def authorizer(settings: Auth) -> Authorize | None:
    """Return the check that the mode asks for; None where it asks for nothing."""
    return None if settings.mode == "off" else _bearer


def _bearer(headers: RequestHeaders) -> None:
    value = headers.get("authorization")
    if value is None or value[:7].lower() != "bearer " or not value[7:].strip():
        raise errors.no_key()
