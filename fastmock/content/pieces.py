"""Text cut into the pieces a stream sends."""

import re

_WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+\Z")


def words(text: str) -> list[str]:
    """Cut ``text`` into words, each with the space before it, the last also with what follows; joined they are it."""
    return _WORD.findall(text)


def pieces(text: str, size: int) -> list[str]:
    """Cut ``text`` into runs of ``size`` words. Nothing empty comes out: no text, no pieces."""
    tokens = words(text)
    return tokens if size == 1 else ["".join(tokens[i : i + size]) for i in range(0, len(tokens), size)]
