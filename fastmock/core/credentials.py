"""Credentials: the headers that hold them, API keys, sessions, and the header names to redact."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

_bearer = re.compile(r"bearer +(\S.*)", re.IGNORECASE | re.DOTALL).match


class Headers(Protocol):
    """Headers of a request, by name in lower case."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a header; None if it is missing."""


def bearer_token(value: str) -> str | None:
    """Return the token in a value of ``authorization``; None if there is none."""
    found = _bearer(value)
    return found[1].strip() if found else None


CREDENTIALS = frozenset(
    (
        *("authorization", "x-api-key", "api-key", "openai-api-key", "anthropic-api-key", "x-goog-api-key"),
        *("ocp-apim-subscription-key", "x-amz-security-token", "x-auth-token", "x-access-token"),
        *("proxy-authorization", "cookie"),
    )
)
"""Headers that hold a credential, in lower case. Each provider names the headers of its API key."""

_NO_CREDENTIALS = frozenset(
    ("x-fastmock-key", "idempotency-key", "x-idempotency-key", "sec-websocket-key", "authority", ":authority")
)
_credential_form = re.compile(
    r"auth(?!or(?!i[sz])|entic(?!at))|cookie|token$|jwt$|(?:^|[-_.]|user|db)pass$"
    r"|(?:key|secret|password|passwd|passphrase|passcode|pwd|credential)s?$"
).search

REDACTED = "[redacted]"
SESSION_HEADER = "x-fastmock-session"
LONGEST_SESSION = 128
"""Maximum length in characters of a session name in the header; the rest is cut off."""

_session_in_key = re.compile(r"(?!sk-)[a-z0-9._-]{1,64}", re.IGNORECASE | re.ASCII).fullmatch


@lru_cache(maxsize=1024)
def is_credential(name: str) -> bool:
    """Return whether a header, or a field, holds a credential: by ``CREDENTIALS``, or by the form of its name.

    Gateways and proxies add their own headers (``x-litellm-api-key``, ``helicone-auth``, ``x-vault-token``), too many
    for a list.
    """
    name = name.lower()
    return name in CREDENTIALS or (name not in _NO_CREDENTIALS and _credential_form(name) is not None)


def key_in(headers: Headers, name: str) -> str | None:
    """Return the API key in a header, in ``authorization`` after ``Bearer``; None if there is none."""
    value = headers.get(name)
    if value is None:
        return None
    return bearer_token(value) if name == "authorization" else value.strip() or None


def split_key(sent: str) -> tuple[str, str]:
    """Split ``session:key`` into the session, empty without one, and the key.

    A session has at most 64 letters, digits, ``-``, ``_`` and ``.``, and does not begin with ``sk-``: sessions are
    shown in the journal, so a part of a real key must never be taken for one.
    """
    session, _, key = sent.partition(":")
    return (session, key) if key and _session_in_key(session) else ("", sent)


def without_session(key: str) -> str:
    """Return an API key without its session: the key of ``name:key``."""
    return split_key(key)[1]


def session_in(headers: Headers, key_of: Callable[[], str | None]) -> str:
    """Return the session of a request; empty without one.

    It is the header ``x-fastmock-session``, else the part of the API key before a colon. ``key_of`` returns the key.
    """
    session = headers.get(SESSION_HEADER)
    return split_key(key_of() or "")[0] if session is None else session.strip()[:LONGEST_SESSION]


def session_of(headers: Headers) -> str:
    """Return the session that headers name, for any provider; see ``session_in``."""
    return session_in(
        headers, lambda: next((key for name in ("authorization", "x-api-key") if (key := key_in(headers, name))), None)
    )
