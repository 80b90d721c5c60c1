"""Text cut into the pieces a stream sends."""

import re

_WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+|\s+\Z")
_JSON_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)\s*\Z|\s*\w+|\s*[^\w\s]+|\s+\Z")


def words(text: str) -> list[str]:
    """Cut ``text`` into words, each with the space before it, the last also with what follows; joined they are it.

    JSON, which has few spaces, is cut at its signs too.
    """
    return (_JSON_WORD if text[:1] in ("{", "[") else _WORD).findall(text)


def sized(text: str, size: int) -> list[tuple[int, str]]:
    """Cut ``text`` into runs of ``size`` words, each with how many it has. Nothing empty comes out."""
    said = words(text)
    runs = (said[place : place + size] for place in range(0, len(said), size))
    return [(len(run), "".join(run)) for run in runs]
