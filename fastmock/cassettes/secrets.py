"""Keep secrets out of cassettes: API keys, cookies, organization ids, and all else that is named like a credential.

They are found by the name of their field, by the values that the request itself sends, and by their form.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote

import orjson

from fastmock.cassettes.byte_patterns import compiled
from fastmock.cassettes.named_values import is_plausible, kind_of, looks_random, named_values
from fastmock.core.credentials import REDACTED, is_credential

_HAS_DIGIT = r"(?=[A-Za-z_-]{0,64}[0-9])"  # words with hyphens have none; a longer look would take quadratic time
_FORMS = (
    # Keys of providers; ids of organizations and projects, also within messages of errors.
    r"\b(?:sk|pk|rk|ek|sess|ak|gsk|hf|xai|pplx|gh[opsur]|github_pat|glpat|xox[abeprs]|xapp|npm|pypi|shp[a-z]{2}|whsec"
    r"|tvly|nvapi|fw|dop_v1|lsv2_pt|lsv2_sk|lin_api|ntn|figd|dckr_pat|sbp|org|proj)[-_]<digit>[A-Za-z0-9_-]{12,}"
    r"|\br8_<digit>[A-Za-z0-9]{20,}|\bSG\.<digit>[A-Za-z0-9_-]{12,}\.[A-Za-z0-9_-]{12,}|\bhvs\.<digit>[A-Za-z0-9_-]{12,}"
    r"|\bya29\.<digit>[A-Za-z0-9_-]{12,}|\bATATT3x[A-Za-z0-9_=-]{12,}|\bAIza[A-Za-z0-9_-]{30,}|\bAKIA[A-Z0-9]{16}"
    # Tokens in headers, JWTs, private keys.
    r"|\b(?:[Bb]earer|[Bb]asic|[Tt]oken) +<token>[A-Za-z0-9._~+/=-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]{20,}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)
_RE2_FORMS = _FORMS.replace("<digit>", "").replace("<token>", "")
_USER = r"://[^\s/@:\"'<>\\]{0,128}:[^\s/@\"'<>\\]{1,256}@"  # the user and the password in a URL
# For Python a token must not begin within a word with hyphens: a text of many beginnings would take quadratic time.
_PYTHON_FORMS = (
    _FORMS.replace(r"\beyJ", r"(?<![A-Za-z0-9_-])eyJ")
    .replace("<digit>", _HAS_DIGIT)
    .replace("<token>", r"(?=[A-Za-z._~+/-]{0,64}[0-9=])")
)
_VALUES = re.compile(rf"{_PYTHON_FORMS}|(?<=://){_USER[3:-1]}(?=@)".encode())
# A parameter in the query of a URL, wherever it is in a text, or in a form.
_PARAMETERS = re.compile(rb"(?:^|[?&]|\\u0026)(?:amp;)?([\w.-]{1,60})=([^\s&#\"'<>\\]{1,4096})")
# Searching alone takes a tenth of the time of Python's own substitution, and most texts hold no secret.
_may_hold_values = compiled(f"{_RE2_FORMS}|{_USER}").search
_may_hold_parameters = compiled(
    rb"(?i)(?:key|secret|passw(?:or)?d|passphrase|passcode|pwd|credential|cookie|org(?:ani[sz]ation)?(?:[-_]?id)?"
    rb"|project(?:[-_]?id)?)s?=|(?:token|pass|jwt|sig|signature)=|(?:auth|cookie)[\w.-]{0,60}="
).search
_is_signature = re.compile(r"(?:.*[-_])?sig(?:nature)?", re.IGNORECASE).fullmatch
# A parameter ends at the space of a mark.
_is_hidden_parameter = re.compile(rb"\*+|\[redacted(?:(?: |%20)[0-9a-f]{8})?\]?").fullmatch
_SHORTEST = 8  # characters of a secret that is searched for by its value
_MASK = REDACTED.encode()


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
    return _without(text, secrets, lambda _: _MASK, _mark)


def _mark(value: bytes, is_ambiguous: bool) -> bytes:
    """Return the mark of a value; one that may be no secret still differs from others."""
    return b"[redacted %s]" % blake2b(value, digest_size=4).hexdigest().encode() if is_ambiguous else _MASK


def mask(body: bytes, secrets: Iterable[bytes] = ()) -> bytes:
    """Return the body of an answer with asterisks in place of all secrets, so that its length stays the same."""
    return _without(body, secrets, _asterisks, lambda value, _: _asterisks(value), of_answer=True)


def _asterisks(secret: bytes) -> bytes:
    return b"*" * len(secret)


def _without(
    text: bytes,
    secrets: Iterable[bytes],
    hide: Callable[[bytes], bytes],
    hide_named: Callable[[bytes, bool], bytes],
    of_answer: bool = False,
) -> bytes:
    """Return a text without secrets.

    Args:
        text: the text.
        secrets: the values to remove wherever they are.
        hide: returns the text in place of a secret.
        hide_named: returns that in place of a named one; it is told whether the name is ambiguous.
        of_answer: see ``named_values``.
    """
    parts, end = [], 0
    for value in named_values(text, of_answer):
        hidden = hide_named(text[value.begin : value.end], value.is_ambiguous)
        parts += [text[end : value.begin], value.quote, hidden, value.quote]
        end = value.end
    text = b"".join((*parts, text[end:])) if parts else text
    if _may_hold_parameters(text) is not None:

        def without_value(found: re.Match[bytes]) -> bytes:
            if not _holds_secret(found, of_answer):
                return found[0]
            is_ambiguous = kind_of(found[1].decode()) == "ambiguous"
            return text[found.start() : found.start(2)] + hide_named(found[2], is_ambiguous)

        text = _PARAMETERS.sub(without_value, text)
    for secret in secrets:
        text = text.replace(secret, hide(secret))
    return text if _may_hold_values(text) is None else _VALUES.sub(lambda found: hide(found[0]), text)


def _holds_secret(parameter: re.Match[bytes], of_answer: bool) -> bool:
    name, value = parameter[1].decode(), parameter[2]
    if _is_hidden_parameter(value) or (of_answer and not is_plausible(value)):
        return False
    return is_secret(name) and (kind_of(name) != "ambiguous" or looks_random(value) is not None)


def places_of_secrets(text: bytes, of_answer: bool = False) -> Iterator[str]:
    """Yield a description of each secret in a text, without the secret."""
    for value in named_values(text, of_answer):
        yield f"field '{value.name}'"
    if _may_hold_parameters(text) is not None:
        for found in _PARAMETERS.finditer(text):
            if _holds_secret(found, of_answer):
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
        if is_plausible(secret := body[value.begin : value.end]):  # else it may be any word
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
