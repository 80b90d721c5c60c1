"""Embeddings: deterministic vectors hashed from the text.

A vector is the sum of the vectors of its features: the words, the pairs of neighbouring words, and a small part for the
whole text, so that texts with common words are close and distinct texts differ. Longer words weigh more, because short
ones occur in every text. All sums are of integers and the norm is computed without BLAS, so the bytes are the same on
any machine.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from zlib import crc32

from fastmock.core.arrays import NDArray, np

Vector = NDArray[np.float32]

# Scripts without spaces between words: each character is a word, and pairs make up for the lost word boundaries.
_SIGNS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[^\W{_SIGNS}]+|[{_SIGNS}]")
# ASCII is split by one translation and one split, in a third of the time: letters to lower case, other signs to spaces.
_FOLD = bytes(ord(chr(c).lower()) if c < 128 and (chr(c).isalnum() or c == ord("_")) else 32 for c in range(256))
_SPREAD = 8  # positions that a word or a pair contributes to
_WEIGHTS = np.array(
    [0, 16, 32, 48, 64, 80, 96, 112, 128], np.float64
)  # by the number of letters in a word; the last for longer ones
_TOKEN_LENGTH = 5  # assumed number of letters in a token known only by its id
_PAIR_WEIGHT = 32.0

_BATCH = 25  # texts at a time: enough to share the cost of an array operation, few enough for the core's cache
_PAIRING = np.uint64(0x94D049BB133111EB)
_MULTIPLIERS = np.frombuffer(hashlib.shake_128(b"fastmock spread").digest(8 * _SPREAD), "<u8").astype(np.uint64) | 1
_SIGN = np.uint64(1 << 63)
# The part for the whole text: two slices of one long row of values from -2 to 2, at offsets hashed from the text.
_ROW_BITS = 18
_LARGEST = 3072
_ROW = (np.frombuffer(hashlib.shake_128(b"fastmock row").digest((1 << _ROW_BITS) + _LARGEST), np.uint8) % 5).view(
    np.int8
) - np.int8(2)


def embed(contents: Sequence[str | Sequence[int]], size: int, keep: int, seed: int) -> Iterator[Vector]:
    """Yield the vectors of texts or token arrays.

    Args:
        contents: texts, or arrays of token ids.
        size: dimensions of the model's own vectors, at most 3,072.
        keep: requested dimensions; the vectors are truncated and normalized again, as OpenAI's are.
        seed: another seed gives other vectors.

    Yields:
        For each of ``contents`` ``keep`` float32 values with L2 norm 1.0.
    """
    for start in range(0, len(contents), _BATCH):
        yield from _embed(contents[start : start + _BATCH], size, keep, seed)


def _embed(contents: Sequence[str | Sequence[int]], size: int, keep: int, seed: int) -> Vector:
    """Return the vectors of some texts or token arrays, a row for each."""
    hashes: list[int] = []
    lengths: list[int] = []
    counts = []
    digests = []
    for content in contents:
        if isinstance(content, str):
            whole = content.encode()
            words = whole.translate(_FOLD).split() if content.isascii() else _words(content)
            hashes += map(crc32, words)
            lengths += map(len, words)
            counts.append(len(words))
        else:
            whole = b",".join(b"%d" % token for token in content)
            hashes += [crc32(b"%d" % (token % 2**64)) for token in content]
            lengths += [_TOKEN_LENGTH] * len(content)
            counts.append(len(content))
        digests.append(hashlib.blake2b(b"%d:%b" % (seed, whole), digest_size=8).digest())
    sums = _words_and_pairs(hashes, lengths, counts, size, seed)
    sums += _parts_of_wholes(b"".join(digests), size)
    kept = sums[:, :keep]
    squares = np.einsum("ij,ij->i", kept, kept)  # integers below 2**53: exact in any order
    for row in np.flatnonzero(squares == 0):  # every kept value happened to be 0
        kept[row, 0] = squares[row] = 1
    kept *= (1 / np.sqrt(squares))[:, None]
    return kept.astype(np.float32)


def _parts_of_wholes(digests: bytes, size: int) -> NDArray[np.int8]:
    """Return the parts for whole texts by their digests of 8 bytes each, a row for each."""
    numbers = np.frombuffer(digests, ">u8").astype(np.uint64)
    slices = _slices(size)
    parts: NDArray[np.int8] = slices[(numbers >> np.uint64(64 - _ROW_BITS)).astype(np.intp)]
    parts += slices[(numbers & np.uint64((1 << _ROW_BITS) - 1)).astype(np.intp)]
    return parts


@lru_cache(2)
def _slices(size: int) -> NDArray[np.int8]:
    """Return all slices of the row with a size, without copying it."""
    return np.lib.stride_tricks.sliding_window_view(_ROW, size)


def _words(text: str) -> list[bytes]:
    return [word.encode() for word in _WORD.findall(text.lower())]


def _words_and_pairs(
    hashes: list[int], lengths: list[int], counts: list[int], size: int, seed: int
) -> NDArray[np.float64]:
    """Return the sums of the vectors of words and of pairs of neighbouring words, a row for each of ``counts``."""
    texts, many = len(counts), len(hashes)
    if not many:
        return np.zeros((texts, size))
    features = np.empty(2 * many - 1, np.uint64)
    words, pairs = features[:many], features[many:]
    words[:] = hashes
    words += np.uint64(seed * 0xBF58476D1CE4E5B9 % 2**64)
    np.multiply(words[:-1], _PAIRING, out=pairs)
    pairs += words[1:]
    weights = np.full(2 * many - 1, _PAIR_WEIGHT)
    weights[:many] = _WEIGHTS.take(lengths, mode="clip")
    rows = np.repeat(np.arange(texts, dtype=np.uint64) * np.uint64(size), counts)
    weights[many:][rows[:-1] != rows[1:]] = 0  # pairs do not span two texts
    # One multiplication per position. Its highest bit is the sign, the next ones, scaled without a division, the index.
    spots = _MULTIPLIERS[:, None] * features
    signed = spots & _SIGN
    signed ^= weights.view(np.uint64)
    spots &= ~_SIGN
    spots >>= np.uint64(32)
    spots *= np.uint64(size)
    spots >>= np.uint64(31)
    spots[:, :many] += rows
    spots[:, many:] += rows[:-1]
    sums = np.bincount(spots.view(np.int64).ravel(), signed.view(np.float64).ravel(), texts * size)
    return sums.view(np.float64).reshape(texts, size)  # bincount's type is not known to be that of the weights
