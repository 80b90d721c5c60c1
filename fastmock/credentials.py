"""What counts as a credential: one list, by which requests are let in and what is shown of them is redacted."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

_bearer = re.compile(r"bearer +(\S.*)", re.IGNORECASE | re.DOTALL).match


class _Headers(Protocol):
    def get(self, name: str, /) -> str | None: ...


def _of_bearer(value: str) -> str | None:
    found = _bearer(value)
    return found[1].strip() if found else None


def _plain(value: str) -> str | None:
    return value.strip() or None


def _never(value: str) -> None:
    """It is a secret, but not one that lets in here."""


CREDENTIALS: Mapping[str, Callable[[str], str | None]] = MappingProxyType(
    {
        "authorization": _of_bearer,
        "x-api-key": _plain,
        **dict.fromkeys(
            (
                *("api-key", "openai-api-key", "anthropic-api-key", "x-goog-api-key", "ocp-apim-subscription-key"),
                *("x-amz-security-token", "x-auth-token", "x-access-token", "proxy-authorization", "cookie"),
            ),
            _never,
        ),
    }
)
"""The headers that have one, in lower case, each with what reads the API key in it."""

REDACTED = "[redacted]"
SESSION_HEADER = "x-fastmock-session"
LONGEST_SESSION = 128
"""Characters of a session's name; of a longer one the rest is left out."""


def key_in(headers: _Headers, name: str) -> str | None:
    """Return the API key in a header; None where there is none."""
    value = headers.get(name)
    return None if value is None else CREDENTIALS[name](value)


def bare(key: str) -> str:
    """Return an API key without the session that it begins with: of ``name:key`` the key."""
    return key.partition(":")[2] or key


def session_of(headers: _Headers) -> str:
    """Return the session that a request is of; empty without one.

    The header ``x-fastmock-session`` says so, else what stands before a colon in the API key.
    """
    session = headers.get(SESSION_HEADER)
    if session is None:
        key = next((key for name in ("authorization", "x-api-key") if (key := key_in(headers, name))), "")
        session, _, rest = key.partition(":")
        if not rest:
            return ""
    return session.strip()[:LONGEST_SESSION]
