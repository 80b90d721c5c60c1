"""Signatures of thinking blocks.

A signature is a function of the thinking text alone, so that every worker, replica and version recognizes it.
"""

from base64 import b64decode, b64encode
from hashlib import blake2b

_MARK = b"fastmock-thinking:"
_DIGEST_SIZE = 24


def sign(thinking: str) -> str:
    """Return the signature of a thinking text."""
    return b64encode(_MARK + _digest(thinking)).decode()


def is_forged(thinking: str, signature: str) -> bool:
    """Return whether a signature was made by fastmock for another text; foreign signatures cannot be checked."""
    try:
        content = b64decode(signature, validate=True)
    except ValueError:
        return False
    return content.startswith(_MARK) and content != _MARK + _digest(thinking)


def _digest(thinking: str) -> bytes:
    return blake2b(thinking.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_SIZE).digest()
