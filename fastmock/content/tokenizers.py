"""Token counts: estimated, or exact with the extra ``tokens``. All token counting goes through this module."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from itertools import accumulate

import re2

from fastmock.core.completion import Tokenizer

TokenizerOf = Callable[[str], Tokenizer]
"""Returns the tokenizer of a model, by its name."""

_PIECE = 4  # bytes
_LONGEST_COUNTED = 1 << 20  # characters of a text that are counted exactly, which takes about 25 ms
# Characters. The tokenizer's time grows with the square of a word's length, and it caches the words: 700 new ones of
# 200 kB took 425 MiB.
_LONGEST_WORD = 256
_HAS_LONG_WORD = re2.compile(r"\S{257}")
_MOST_TEXTS = 8192  # of tokens, in the cache
_WORDS = re.compile(r"\w+|[^\w\s]+")
_PARTS = re.compile(r"\s*(?:\w+|[^\w\s]+)\s*\Z|\s*\w+|\s*[^\w\s]+|\s+\Z")  # words and punctuation
# Not a single token, so that splintr-rs builds its merge tables now, for all workers, and not in the first request that
# needs them, which would take 0.1 to 0.3 s.
_MERGED = "ünï 你好 qxzjv"

# Models before gpt-4o; all others, including future models and those of other providers, are counted as o200k.
# Source: tiktoken's table of models.
_CL100K = re.compile(
    r"(?:ft:)?(?:gpt-4(?!o|\.|\d)|gpt-3\.?5|text-embedding-|text-davinci-00[23]|davinci-002|babbage-002)"
)


class Estimate:
    """Estimates tokens as a quarter of the UTF-8 bytes, rounded up.

    OpenAI's rule of thumb is four characters of English per token; bytes instead of characters keep the estimate close
    for scripts with more tokens per character.
    """

    def count(self, text: str) -> int:
        """Return the estimated number of tokens."""
        return ((len(text) if text.isascii() else len(text.encode())) + 3) >> 2

    def count_all(self, texts: Sequence[str]) -> int:
        """Return the estimated number of tokens of all texts together."""
        total = 0
        for text in texts:
            total += ((len(text) if text.isascii() else len(text.encode())) + 3) >> 2
        return total

    def tokens(self, text: str) -> list[bytes]:
        """Split a text into pieces of four bytes, one for each estimated token."""
        data = text.encode()
        return [data[place : place + _PIECE] for place in range(0, len(data), _PIECE)]

    def decode(self, tokens: Sequence[int]) -> None:
        """Return None: an estimate has no token ids."""

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """Split a text into words, each with its share of the tokens."""
        return shared_out(text, self.count(text))


class Exact:
    """One of OpenAI's vocabularies, ``cl100k_base`` or ``o200k_base``, from the package splintr-rs."""

    def __init__(self, name: str) -> None:
        """Load the vocabulary, which takes 0.2 to 0.4 s.

        Raises:
            ImportError: the extra ``tokens`` is not installed.
        """
        tokenizer = import_module("splintr").Tokenizer.from_pretrained(name)
        self._encode: Callable[[str], list[int]] = tokenizer.encode_ordinary
        self._bytes: Callable[[int], bytes] = tokenizer.decode_token_bytes
        self._text = lru_cache(_MOST_TEXTS)(self._text_of)  # 0.1 µs a token, 0.9 without the cache
        self._encode(_MERGED)

    def count(self, text: str) -> int:
        """Return the number of tokens; very long texts and words are counted in part and estimated."""
        if len(text) <= _LONGEST_WORD:
            return len(self._encode(text))
        if len(text) > _LONGEST_COUNTED:
            return self.count(text[:_LONGEST_COUNTED]) * len(text) // _LONGEST_COUNTED
        if not _HAS_LONG_WORD.search(text):
            return len(self._encode(text))
        return sum(len(self._encode(part)) if exact else ESTIMATE.count(part) for exact, part in _parted(text))

    def count_all(self, texts: Sequence[str]) -> int:
        """Return the number of tokens of all texts together."""
        if max(map(len, texts), default=0) > _LONGEST_WORD:
            return sum(map(self.count, texts))
        return sum(map(len, map(self._encode, texts)))

    def tokens(self, text: str) -> list[bytes]:
        """Split a text into its tokens; parts that are not counted exactly are split by the estimate."""
        if len(text) <= _LONGEST_WORD or (len(text) <= _LONGEST_COUNTED and not _HAS_LONG_WORD.search(text)):
            return self._tokens(text)
        found: list[bytes] = []
        for exact, part in _parted(text[:_LONGEST_COUNTED]):
            found += self._tokens(part) if exact else ESTIMATE.tokens(part)
        return found + ESTIMATE.tokens(text[_LONGEST_COUNTED:])

    def decode(self, tokens: Sequence[int]) -> str | None:
        """Return the text of token ids; None if one is unknown."""
        try:
            return b"".join(bytes(self._bytes(token)) for token in tokens).decode(errors="replace")
        except (ValueError, OverflowError):
            return None

    def pieces(self, text: str) -> list[tuple[int, str]]:
        """Split a text between tokens, but not inside of a character."""
        if len(text) > _LONGEST_COUNTED:
            return shared_out(text, self.count(text))
        if len(text) <= _LONGEST_WORD or not _HAS_LONG_WORD.search(text):
            return self._pieces(text)
        parts = (self._pieces(part) if exact else ESTIMATE.pieces(part) for exact, part in _parted(text))
        return [piece for part in parts for piece in part]

    def _text_of(self, token: int) -> str | None:
        """Return the text of a token; None if it starts or ends inside a character."""
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
    """Split a text into words and punctuation, and distribute the tokens among them by their bytes."""
    parts = [found[0] for found in _PARTS.finditer(text)]
    ends = list(accumulate(len(part) if part.isascii() else len(part.encode()) for part in parts))
    shares = [-(-tokens * end // ends[-1]) for end in ends]
    return [(share - before, part) for share, before, part in zip(shares, [0, *shares], parts, strict=False)]


def _parted(text: str) -> Iterator[tuple[bool, str]]:
    """Split a text at its long words; yield each part, and whether it is short enough to be counted exactly."""
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
    """Return the estimate, for any model."""
    return ESTIMATE


_exact: dict[str, Tokenizer] = {}


def exact() -> TokenizerOf:
    """Return the exact tokenizers, by model name. The vocabularies are loaded once per process.

    Raises:
        ImportError: the extra ``tokens`` is not installed.
    """
    for name in ("cl100k_base", "o200k_base"):
        if name not in _exact:
            _exact[name] = Exact(name)
    older, newer = _exact["cl100k_base"], _exact["o200k_base"]
    return lambda model: older if _CL100K.match(model) else newer


def available() -> bool:
    """Return whether ``exact`` is available."""
    try:
        import_module("splintr")
    except ImportError:
        return False
    return True
