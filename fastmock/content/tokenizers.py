"""How many tokens a text has: estimated, or counted exactly by the extra ``tokens``. All that counts goes this way."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from itertools import accumulate

import re2

from fastmock.core.http import Tokenizer

TokenizerOf = Callable[[str], Tokenizer]
"""Return the vocabulary of a model, by its name."""

_PIECE = 4  # bytes
_LONGEST_COUNTED = 1 << 20  # characters of a text that are counted exactly, which takes some 25 ms
# Characters. The tokenizer takes time with the square of a word's length, and keeps the words it has seen: 700 new ones
# of 200 kB took 425 MiB.
_LONGEST_WORD = 256
_HAS_LONG_WORD = re2.compile(r"\S{257}")
_MOST_TEXTS = 8192  # of tokens, that are kept
_WORDS = re.compile(r"\w+|[^\w\s]+")
_PARTS = re.compile(r"\s*(?:\w+|[^\w\s]+)\s*\Z|\s*\w+|\s*[^\w\s]+|\s+\Z")  # words and signs
# Not one token, so that splintr-rs makes its tables of merges now, for all workers, and not in the first request that
# needs them, which would take 0.1 to 0.3 s.
_MERGED = "ünï 你好 qxzjv"

# Models before gpt-4o; all others, those of tomorrow and of other makers too, are counted as o200k.
# TimedReplySpec: tiktoken's table of models.
_CL100K = re.compile(
    r"(?:ft:)?(?:gpt-4(?!o|\.|\d)|gpt-3\.?5|text-embedding-|text-davinci-00[23]|davinci-002|babbage-002)"
)


class Estimate:
    """A quarter of the UTF-8 bytes, rounded up.

    OpenAI's rule of thumb is four characters of English a token; bytes instead of characters keep the estimate near for
    scripts that take more tokens a character.
    """

    def count(self, text: str) -> int:
        """See http.Tokenizer."""
        return ((len(text) if text.isascii() else len(text.encode())) + 3) >> 2

    def count_all(self, texts: Sequence[str]) -> int:
        """See http.Tokenizer."""
        total = 0
        for text in texts:
            total += ((len(text) if text.isascii() else len(text.encode())) + 3) >> 2
        return total

    def tokens(self, text: str) -> list[bytes]:
        """See http.Tokenizer: as many as ``count`` says."""
        data = text.encode()
        return [data[place : place + _PIECE] for place in range(0, len(data), _PIECE)]

    def decode(self, tokens: Sequence[int]) -> None:
        """See http.Tokenizer: the numbers of tokens mean nothing here."""

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """See http.Tokenizer: words, each with its share of the tokens."""
        return shared_out(text, self.count(text))


class Exact:
    """A vocabulary of OpenAI's, ``cl100k_base`` or ``o200k_base``, as the package splintr-rs ships it."""

    def __init__(self, name: str) -> None:
        """Load it, which takes 0.2 to 0.4 s.

        Raises:
            ImportError: the extra ``tokens`` is not installed.
        """
        tokenizer = import_module("splintr").Tokenizer.from_pretrained(name)
        self._encode: Callable[[str], list[int]] = tokenizer.encode_ordinary
        self._bytes: Callable[[int], bytes] = tokenizer.decode_token_bytes
        self._text = lru_cache(_MOST_TEXTS)(self._text_of)  # 0.1 µs a token, 0.9 without
        self._encode(_MERGED)

    def count(self, text: str) -> int:
        """See http.Tokenizer; a huge text, and words without an end, are counted in part and estimated."""
        if len(text) <= _LONGEST_WORD:
            return len(self._encode(text))
        if len(text) > _LONGEST_COUNTED:
            return self.count(text[:_LONGEST_COUNTED]) * len(text) // _LONGEST_COUNTED
        if not _HAS_LONG_WORD.search(text):
            return len(self._encode(text))
        return sum(len(self._encode(part)) if exact else ESTIMATE.count(part) for exact, part in _parted(text))

    def count_all(self, texts: Sequence[str]) -> int:
        """See http.Tokenizer."""
        if max(map(len, texts), default=0) > _LONGEST_WORD:
            return sum(map(self.count, texts))
        return sum(map(len, map(self._encode, texts)))

    def tokens(self, text: str) -> list[bytes]:
        """See http.Tokenizer; what is not counted exactly is cut as an estimate is."""
        if len(text) <= _LONGEST_WORD or (len(text) <= _LONGEST_COUNTED and not _HAS_LONG_WORD.search(text)):
            return self._tokens(text)
        found: list[bytes] = []
        for exact, part in _parted(text[:_LONGEST_COUNTED]):
            found += self._tokens(part) if exact else ESTIMATE.tokens(part)
        return found + ESTIMATE.tokens(text[_LONGEST_COUNTED:])

    def decode(self, tokens: Sequence[int]) -> str | None:
        """See http.Tokenizer."""
        try:
            return b"".join(bytes(self._bytes(token)) for token in tokens).decode(errors="replace")
        except (ValueError, OverflowError):
            return None

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """See http.Tokenizer."""
        if len(text) > _LONGEST_COUNTED:
            return shared_out(text, self.count(text))
        if len(text) <= _LONGEST_WORD or not _HAS_LONG_WORD.search(text):
            return self._pieces(text)
        parts = (self._pieces(part) if exact else ESTIMATE.pieces(part) for exact, part in _parted(text))
        return [piece for part in parts for piece in part]

    def _text_of(self, token: int) -> str | None:
        """Return the text of a token; None where it begins or ends inside a character."""
        try:
            return bytes(self._bytes(token)).decode()
        except UnicodeDecodeError:
            return None

    def _pieces(self, text: str) -> list[tuple[int, str]]:
        ids = self._encode(text)
        texts = list(map(self._text, ids))
        if None not in texts:
            return [(1, text) for text in texts if text is not None]
        found = []
        held, tokens = b"", 0
        for token in (bytes(self._bytes(one)) for one in ids):
            held += token
            tokens += 1
            try:
                found.append((tokens, held.decode()))
            except UnicodeDecodeError:  # it ends inside a character
                continue
            held, tokens = b"", 0
        return found

    def _tokens(self, text: str) -> list[bytes]:
        return [bytes(self._bytes(token)) for token in self._encode(text)]


def shared_out(text: str, tokens: int) -> list[tuple[int, str]]:
    """Cut a text into words and signs, and share so many tokens out among them by their bytes."""
    parts = [found[0] for found in _PARTS.finditer(text)]
    ends = list(accumulate(len(part) if part.isascii() else len(part.encode()) for part in parts))
    shares = [-(-tokens * end // ends[-1]) for end in ends]
    return [(share - before, part) for share, before, part in zip(shares, [0, *shares], parts, strict=False)]


def _parted(text: str) -> Iterator[tuple[bool, str]]:
    """Cut a text at its long words; yield each part, and whether it is short enough to be counted exactly."""
    begin = 0
    for word in _WORDS.finditer(text):
        if word.end() - word.start() > _LONGEST_WORD:
            if begin < word.start():
                yield True, text[begin : word.start()]
            yield False, word[0]
            begin = word.end()
    if begin < len(text):
        yield True, text[begin:]


ESTIMATE = Estimate()


def estimated(model: str) -> Tokenizer:
    """Return what estimates for any model."""
    return ESTIMATE


_exact: dict[str, Tokenizer] = {}


def exact() -> TokenizerOf:
    """Return what counts exactly, by the model's name. The vocabularies are loaded once a process.

    Raises:
        ImportError: the extra ``tokens`` is not installed.
    """
    for name in ("cl100k_base", "o200k_base"):
        if name not in _exact:
            _exact[name] = Exact(name)
    older, newer = _exact["cl100k_base"], _exact["o200k_base"]
    return lambda model: older if _CL100K.match(model) else newer


def available() -> bool:
    """Return whether ``exact`` can count."""
    try:
        import_module("splintr")
    except ImportError:
        return False
    return True
