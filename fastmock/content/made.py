"""Text made up where nothing says it: lorem ipsum, an echo, or words that count. A token of it is a word."""

from hashlib import blake2b
from itertools import cycle, islice

from fastmock.content.pieces import words

LOREM = """
Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna
aliqua. Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat. Duis
aute irure dolor in reprehenderit in voluptate velit esse cillum dolore eu fugiat nulla pariatur. Excepteur sint
occaecat cupidatat non proident, sunt in culpa qui officia deserunt mollit anim id est laborum.
""".split()  # noqa: SIM905 - read as text
_SENTENCES = [0, *(place + 1 for place, word in enumerate(LOREM[:-1]) if word.endswith("."))]


def lorem(tokens: int, seed: int, message: str) -> str:
    """Return ``tokens`` words of lorem ipsum, from the beginning of a sentence that the seed and the message choose."""
    digest = blake2b(b"%d:%b" % (seed, message.encode(errors="replace")), digest_size=4).digest()
    start = _SENTENCES[int.from_bytes(digest, "big") % len(_SENTENCES)]
    return " ".join(islice(cycle(LOREM), start, start + tokens))


def echo(tokens: int, message: str) -> str:
    """Return the first ``tokens`` words of ``message``, again from the first when they run out."""
    said = words(message.strip())
    if tokens <= len(said):
        return "".join(said[:tokens])
    return " ".join(islice(cycle(message.split()), tokens))


def counter(tokens: int) -> str:
    """Return ``w1 w2 …``: a word that is lost, doubled or out of order shows."""
    return " ".join(f"w{number}" for number in range(1, tokens + 1))
