"""Embeddings: deterministic vectors hashed from the text.

A vector is the sum of its features' vectors: the words, the pairs of neighbouring words, and a small part of the whole
text, so that texts which share words are close and distinct texts differ. The longer a word, the more it counts, for
the short ones are in every text. Everything is summed in whole numbers and the norm is taken without BLAS, so that the
bytes are the same on any machine.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

# Scripts that do not part words by spaces: each sign is a word, and pairs make up for what is lost.
_SIGNS = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[^\W{_SIGNS}]+|[{_SIGNS}]")
# ASCII is cut by one translation and one split, in a third of the time: letters to lower case, all but words to spaces.
_FOLD = bytes(ord(chr(c).lower()) if c < 128 and (chr(c).isalnum() or c == ord("_")) else 32 for c in range(256))
_SPREAD = 8  # positions a word or a pair touches
_WEIGHTS = np.array([0, 16, 32, 48, 64, 80, 96, 112, 128], np.float64)  # by a word's letters; of more, the last
_TOKEN_LENGTH = 5  # letters that a token, of which only the id is known, is taken to have
_PAIR_WEIGHT = 32.0
_BATCH = 32  # texts at a time, so that what is worked on stays in the core's cache

_PAIRING = np.uint64(0x94D049BB133111EB)
_MULTIPLIERS = np.frombuffer(hashlib.shake_128(b"fastmock spread").digest(8 * _SPREAD), "<u8").astype(np.uint64) | 1
# The part of the whole text: two stretches of one long row of -2 to 2, at places hashed from the text.
_ROW_BITS = 18
_ROW_MASK = (1 << _ROW_BITS) - 1
_LARGEST = 3072
_ROW = (np.frombuffer(hashlib.shake_128(b"fastmock row").digest((1 << _ROW_BITS) + _LARGEST), np.uint8) % 5).view(
    np.int8
) - np.int8(2)


def embed(contents: Sequence[str | Sequence[int]], size: int, keep: int, seed: int) -> Vectors:
    """Return the vectors of texts or token arrays.

    Args:
        contents: texts, or the ids of their tokens.
        size: dimensions of the model's own vectors, at most 3,072.
        keep: dimensions wanted; the vectors are cut to them and normalised again, as OpenAI's are.
        seed: another seed gives other vectors.

    Returns:
        A row of ``keep`` float32 values with L2 norm 1.0 for each of ``contents``.
    """
    rows = [_embed(contents[i : i + _BATCH], size, keep, seed) for i in range(0, len(contents), _BATCH)]
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _embed(contents: Sequence[str | Sequence[int]], size: int, keep: int, seed: int) -> Vectors:
    hashes: list[int] = []
    weights: list[int] = []
    ends = []
    firsts = []
    seconds = []
    for content in contents:
        if isinstance(content, str):
            whole = content.encode()
            words = whole.translate(_FOLD).split() if content.isascii() else _words(content)
            hashes += map(crc32, words)
            weights += map(len, words)
        else:
            whole = b",".join(b"%d" % token for token in content)
            hashes += [crc32(b"%d" % (token % 2**64)) for token in content]
            weights += [_TOKEN_LENGTH] * len(content)
        ends.append(len(hashes))
        digest = int.from_bytes(hashlib.blake2b(b"%d:%b" % (seed, whole), digest_size=8).digest(), "big")
        firsts.append(digest & _ROW_MASK)
        seconds.append(digest >> _ROW_BITS & _ROW_MASK)
    stretches = _stretches(size)
    part = stretches[firsts] + stretches[seconds]
    total = part + _words_and_pairs(hashes, weights, ends, size, seed) if hashes else part.astype(np.float64)
    kept = total[:, :keep]
    squares = np.einsum("ij,ij->i", kept, kept)  # whole numbers below 2**53: exact in any order
    if not squares.all():  # every kept value of a text happened to be 0
        kept[squares == 0, 0] = 1
        squares[squares == 0] = 1
    inverse = 1 / np.sqrt(squares)
    unit: Vectors = np.multiply(kept, inverse[:, None], dtype=np.float32, casting="same_kind")
    return unit


def _words(text: str) -> list[bytes]:
    return [word.encode() for word in _WORD.findall(text.lower())]


@lru_cache
def _stretches(size: int) -> npt.NDArray[np.int8]:
    """Return every stretch of ``size`` values of the row; a view, for there are 2**18 of them."""
    return np.lib.stride_tricks.sliding_window_view(_ROW, size)


def _words_and_pairs(
    hashes: list[int], lengths: list[int], ends: list[int], size: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return the sums of the word and pair vectors, a row a text; ``ends`` says where each text's words end."""
    count = len(hashes)
    features = np.empty(2 * count - 1, np.uint64)
    words, pairs = features[:count], features[count:]
    words[:] = hashes
    words += np.uint64(seed * 0xBF58476D1CE4E5B9 % 2**64)
    np.multiply(words[:-1], _PAIRING, out=pairs)
    pairs += words[1:]
    counts = np.full((2 * count - 1, 1), _PAIR_WEIGHT)
    _WEIGHTS.take(lengths, mode="clip", out=counts[:count, 0])
    # One multiplication a spot: its high bits are the position, scaled without a division, and one more is the sign.
    spots = features[:, None] * _MULTIPLIERS
    spots >>= np.uint64(32)
    signed = np.where(spots & np.uint64(1), counts, -counts)
    spots >>= np.uint64(1)
    spots *= np.uint64(size)
    spots >>= np.uint64(31)
    where = spots.view(np.int64)
    if len(ends) > 1:
        owners = np.repeat(np.arange(len(ends)) * size, np.diff(ends, prepend=0))
        where += np.concatenate((owners, owners[:-1]))[:, None]
        signed[count:][owners[:-1] != owners[1:]] = 0  # pairs do not reach from one text into the next
    sums = np.bincount(where.ravel(), signed.ravel(), len(ends) * size).astype(np.float64, copy=False)
    return sums.reshape(len(ends), size)
