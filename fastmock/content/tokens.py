"""How many tokens a text has. All that counts goes through this file, so that an exact counter can replace it."""

from collections.abc import Iterable


def count(text: str) -> int:
    """Estimate the tokens of ``text``: a quarter of its UTF-8 bytes, rounded up.

    OpenAI's rule of thumb is four characters of English a token; bytes instead of characters keep the estimate near for
    scripts that take more tokens a character. 0 only for the empty text.
    """
    return ((len(text) if text.isascii() else len(text.encode())) + 3) >> 2


def count_all(texts: Iterable[str]) -> int:
    """Return what ``count`` gives for each of ``texts``, together; one call instead of many."""
    total = 0
    for text in texts:
        total += ((len(text) if text.isascii() else len(text.encode())) + 3) >> 2
    return total
