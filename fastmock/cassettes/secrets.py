"""Keep secrets out of cassettes: API keys, cookies, organization ids, and all else that is named like a credential.

They are found by the name of their field, by the values that the request itself sends, and by their form.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote

import orjson
import re2

from fastmock.cassettes.named_values import Value, kind_of, looks_random, named_values
from fastmock.core.credentials import REDACTED, is_credential

_FORMS = (
    # Keys of providers; ids of organizations and projects, also within messages of errors; bearer tokens; JWTs.
    r"\b(?:sk|pk|rk|ek|sess|ak|gsk|hf|xai|pplx|ghp|gho|github_pat)[-_][A-Za-z0-9_-]{12,}"
    r"|\b(?:org|proj)[-_][A-Za-z0-9]{12,}|\bAIza[A-Za-z0-9_-]{30,}|\bAKIA[A-Z0-9]{16}"
    r"|\b(?:[Bb]earer|[Bb]asic) +[A-Za-z0-9._~+/=-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}"
)
_USER = r"://[^\s/@:\"'<>\\]{0,128}:[^\s/@\"'<>\\]{1,256}@"  # the user and the password in a URL
# For Python a token must not begin within a word with hyphens: a text of many beginnings would take quadratic time.
_PYTHON_FORMS = _FORMS.replace(r"\beyJ", r"(?<![A-Za-z0-9_-])eyJ")
_VALUES = re.compile(rf"{_PYTHON_FORMS}|(?<=://){_USER[3:-1]}(?=@)".encode())
# A parameter in the query of a URL, wherever it is in a text, or in a form.
_PARAMETERS = re.compile(rb"(?:^|[?&]|\\u0026)(?:amp;)?([\w.-]{1,60})=([^\s&#\"'<>\\]{1,4096})")
_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.log_errors = False
# Searching alone takes a tenth of the time of Python's own substitution, and most texts hold no secret.
_may_hold_values = re2.compile(f"{_FORMS}|{_USER}".encode(), _OPTIONS).search
_may_hold_parameters = re2.compile(
    rb"(?i)(?:key|secret|passw(?:or)?d|passphrase|passcode|pwd|credential|cookie|org(?:ani[sz]ation)?(?:[-_]?id)?"
    rb"|project(?:[-_]?id)?)s?=|(?:token|pass|jwt|sig|signature)=|(?:auth|cookie)[\w.-]{0,60}=",
    _OPTIONS,
).search
_is_signature = re.compile(r"(?:.*[-_])?sig(?:nature)?", re.IGNORECASE).fullmatch
_is_hidden = re.compile(rb"\*+|" + re.escape(REDACTED.encode())).fullmatch
_SHORTEST = 8  # characters of a secret that is searched for by its value
_MASK = REDACTED.encode()

Hide = Callable[[bytes], bytes]
"""Returns the text in place of a secret."""


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Return whether a header, a parameter of a query or a field of a form holds a secret."""
    return is_credential(name) or kind_of(name) in ("secret", "ambiguous") or _is_signature(name) is not None


def redact_fields(fields: Mapping[str, Sequence[str]], secrets: Iterable[bytes] = ()) -> dict[str, list[str]]:
    """Return the fields of a query or a form without their secrets."""
    return {
        scrub_text(name, secrets): [REDACTED if is_secret(name) else scrub_text(value, secrets) for value in values]
        for name, values in fields.items()
    }


def scrub_text(text: str, secrets: Iterable[bytes] = ()) -> str:
    """Return a text without secrets; see ``scrub``."""
    return scrub(text.encode(errors="replace"), secrets).decode(errors="replace")


def scrub(text: bytes, secrets: Iterable[bytes] = ()) -> bytes:
    """Return a text, JSON or not, with a mark in place of all secrets; JSON stays valid.

    ``secrets``: the values to remove wherever they are.
    """
    return _without(text, secrets, lambda _: _MASK, lambda value: value.quote + _MASK + value.quote)


def mask(body: bytes, secrets: Iterable[bytes] = ()) -> bytes:
    """Return the body of an answer with asterisks in place of all secrets, so that its length stays the same."""
    return _without(
        body, secrets, _asterisks, lambda value: (b"1" if value.quote else b"*") * (value.end - value.begin)
    )


def _asterisks(secret: bytes) -> bytes:
    return b"*" * len(secret)


def _without(text: bytes, secrets: Iterable[bytes], hide: Hide, hide_field: Callable[[Value], bytes]) -> bytes:
    parts, end = [], 0
    for value in named_values(text):
        parts += [text[end : value.begin], hide_field(value)]
        end = value.end
    text = b"".join((*parts, text[end:])) if parts else text
    if _may_hold_parameters(text) is not None:

        def hidden(found: re.Match[bytes]) -> bytes:
            if not _holds_secret(found):
                return found[0]
            return text[found.start() : found.start(2)] + hide(found[2])

        text = _PARAMETERS.sub(hidden, text)
    for secret in secrets:
        text = text.replace(secret, hide(secret))
    return text if _may_hold_values(text) is None else _VALUES.sub(lambda found: hide(found[0]), text)


def _holds_secret(parameter: re.Match[bytes]) -> bool:
    return is_secret(parameter[1].decode()) and not _is_hidden(parameter[2])


def places_of_secrets(text: bytes) -> Iterator[str]:
    """Yield a description of each secret in a text, without the secret."""
    for value in named_values(text):
        yield f"field '{value.name}'"
    if _may_hold_parameters(text) is not None:
        for found in filter(_holds_secret, _PARAMETERS.finditer(text)):
            yield f"parameter '{found[1].decode()}' of a URL or a form"
    for form in _VALUES.finditer(text):
        yield f"a text like {form[0][:4].decode(errors='replace')}…"


def secrets_of(
    headers: Iterable[tuple[str, str]], query: Mapping[str, Sequence[str]], body: bytes = b""
) -> list[bytes]:
    """Return the secrets that a request sends, the longest first, in each form in which they may be written."""
    values = [value for name, value in headers if is_secret(name)]
    values += [value for name, many in query.items() if is_secret(name) for value in many]
    parts = {part for value in values for part in (value, *re.split(r"[ =:;,]+", value), *_basic(value))}
    found = {part.encode() for part in parts if len(part) >= _SHORTEST}
    for value in named_values(body):
        if looks_random(secret := body[value.begin : value.end]):
            found.add(secret)
    found |= {form for secret in found for form in _written(secret)}
    return sorted(found, key=lambda part: (-len(part), part))


def _basic(value: str) -> Iterator[str]:
    """Yield the user and the password of HTTP basic authentication."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() == "basic":
        try:
            yield from base64.b64decode(encoded.strip(), validate=True).decode().split(":", 1)
        except (binascii.Error, UnicodeDecodeError):
            return


def _written(secret: bytes) -> Iterator[bytes]:
    """Yield a secret as it is written in JSON and in URLs."""
    try:
        yield orjson.dumps(secret.decode())[1:-1]
    except UnicodeDecodeError:
        return
    yield quote(secret, safe="").encode()
