"""Keep secrets out of cassettes: API keys, cookies, organization ids, and all else that is named like a credential."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import re2

from fastmock.core.credentials import REDACTED, is_credential

_NAMED = (
    r"(?:x[-_])?(?:proxy[-_])?authorization|(?:set[-_])?cookies?"
    r"|[\w-]{0,40}(?:api|access|auth|secret|private|session|refresh|admin|service|bearer|subscription|security|id)"
    r"[-_]?(?:key|token)"
    r"|[\w-]{0,40}(?:secret|password|passwd|credentials?)"
    r"|(?:[a-z]{1,20}[-_])?(?:org|organization|project)(?:[-_]?id)?"
)
_FORMS = (
    # Keys of providers; ids of organizations and projects, also within messages of errors; bearer tokens; JWTs.
    r"\b(?:sk|pk|rk|ek|sess|ak|gsk|hf|xai|pplx|ghp|gho|github_pat)[-_][A-Za-z0-9_-]{12,}"
    r"|\b(?:org|proj)[-_][A-Za-z0-9]{12,}|\bAIza[A-Za-z0-9_-]{30,}|\bAKIA[A-Z0-9]{16}"
    r"|\b[Bb]earer +[A-Za-z0-9._~+/=-]{8,}|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}"
)
# A name and its value in JSON, and in JSON within a JSON string, where quotes are escaped.
_JSON = rf'("(?i:{_NAMED})"\s*:\s*")((?:[^"\\]|\\.)*)'
_NESTED = rf'(\\"(?i:{_NAMED})\\"\s*:\s*\\")((?:[^"\\]|\\\\(?:\\["\\]|[^"\\])|\\[^"\\])*)'
# For Python a token must not begin within a word with hyphens: a text of many beginnings would take quadratic time.
_PYTHON_FORMS = _FORMS.replace(r"\beyJ", r"(?<![A-Za-z0-9_-])eyJ")
_FIELDS = [re.compile(form.encode(), re.DOTALL) for form in (_JSON, _NESTED)]
_VALUES = re.compile(_PYTHON_FORMS.encode())
_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.log_errors = False
# Searching alone takes a tenth of the time of Python's own substitution, and most texts hold no secret.
_may_hold_fields = re2.compile(rf'\\?"(?i:{_NAMED})\\?"\s*:'.encode(), _OPTIONS).search
_may_hold_values = re2.compile(_FORMS.encode(), _OPTIONS).search
_is_named = re.compile(rf"(?:{_NAMED}|token|key)", re.IGNORECASE).fullmatch
_SHORTEST = 8  # characters of a secret that is searched for by its value
_MASK = REDACTED.encode()


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Return whether a header, a parameter of a query or a field of a form holds a secret."""
    return is_credential(name) or _is_named(name) is not None


def redact_fields(fields: Mapping[str, Sequence[str]], secrets: Iterable[bytes] = ()) -> dict[str, list[str]]:
    """Return the fields of a query or a form without their secrets."""
    return {
        scrub_text(name, secrets): [REDACTED if is_secret(name) else scrub_text(value, secrets) for value in values]
        for name, values in fields.items()
    }


def scrub_text(text: str, secrets: Iterable[bytes] = ()) -> str:
    """Return a text without secrets; see ``scrub``."""
    return scrub(text.encode(errors="replace"), secrets).decode()


def scrub(text: bytes, secrets: Iterable[bytes] = ()) -> bytes:
    """Return a text, JSON or not, with a mark in place of all secrets; JSON stays valid.

    ``secrets``: the values to remove wherever they are.
    """
    if _may_hold_fields(text) is not None:
        for field in _FIELDS:
            text = field.sub(lambda found: found[1] + _MASK, text)
    for secret in secrets:
        text = text.replace(secret, _MASK)
    return text if _may_hold_values(text) is None else _VALUES.sub(_MASK, text)


def mask(body: bytes, secrets: Iterable[bytes] = ()) -> bytes:
    """Return the body of an answer with asterisks in place of all secrets, so that its length stays the same."""
    if _may_hold_fields(body) is not None:
        for field in _FIELDS:
            body = field.sub(lambda found: found[1] + b"*" * len(found[2]), body)
    for secret in secrets:
        body = body.replace(secret, b"*" * len(secret))
    return body if _may_hold_values(body) is None else _VALUES.sub(lambda one: b"*" * len(one[0]), body)


def secrets_of(headers: Iterable[tuple[str, str]], query: Mapping[str, Sequence[str]]) -> list[bytes]:
    """Return the secrets that a request sends, the longest first."""
    values = [value for name, value in headers if is_secret(name)]
    values += [value for name, many in query.items() if is_secret(name) for value in many]
    parts = {part for value in values for part in (value, *re.split(r"[ =:;,]+", value))}
    return sorted((part.encode() for part in parts if len(part) >= _SHORTEST), key=lambda part: (-len(part), part))
