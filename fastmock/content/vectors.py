"""Embeddings: deterministic vectors hashed from the text.

A vector is the sum of its features' vectors: the words, the pairs of neighbouring words, and a small part of the whole
text, so that texts which share words are close and distinct texts differ. Everything is summed in integers and the norm
is taken without BLAS, so that the bytes are the same on any machine.
"""

import hashlib
import re
from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

_WORD = re.compile(r"\w+")
_SPREAD = 32  # positions a feature touches
_WHOLE = 24  # divides the part of the whole text: bytes of ±127 to about ±5, against ±64 a word
_STEPS = (np.arange(1, _SPREAD + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).reshape(1, -1)
_ONE = np.uint64(0xBF58476D1CE4E5B9)
_TWO = np.uint64(0x94D049BB133111EB)
_WORD_WEIGHT = 64
_PAIR_WEIGHT = 24


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread 64 bits over 64 bits (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * _ONE
    x = (x ^ (x >> np.uint64(27))) * _TWO
    return x ^ (x >> np.uint64(31))


def embed(content: str | Sequence[int], size: int, keep: int, seed: int) -> Vector:
    """Return the vector of a text or of a token array.

    Args:
        content: the text, or the ids of its tokens.
        size: dimensions of the model's own vectors.
        keep: dimensions wanted; the vector is cut to them and normalised again, as OpenAI's are.
        seed: another seed gives other vectors.

    Returns:
        ``keep`` float32 values with L2 norm 1.0.
    """
    if isinstance(content, str):
        hashes = [crc32(word.encode()) for word in _WORD.findall(content.lower())]
        whole = content.encode()
    else:
        hashes = [crc32(b"%d" % (token % 2**64)) for token in content]
        whole = b",".join(b"%d" % token for token in content)
    base = np.frombuffer(hashlib.shake_128(b"%d:%b" % (seed, whole)).digest(size), dtype=np.int8)
    total = base.astype(np.int64) // _WHOLE
    if hashes:
        words = _mix(np.array(hashes, dtype=np.uint64) + np.uint64(seed * 0xBF58476D1CE4E5B9 % 2**64))
        features, weights = words, np.full(len(words), _WORD_WEIGHT)
        if len(words) > 1:
            pairs = _mix(words[:-1] * np.uint64(3) + words[1:])
            features = np.concatenate((words, pairs))
            weights = np.concatenate((weights, np.full(len(pairs), _PAIR_WEIGHT)))
        spots = _mix(features.reshape(-1, 1) + _STEPS)
        signed = np.where(spots & np.uint64(1), weights.reshape(-1, 1), -weights.reshape(-1, 1))
        places = (spots >> np.uint64(33)) % np.uint64(size)
        total += np.bincount(places.ravel().astype(np.int64), signed.ravel(), size).astype(np.int64)
    kept = total[:keep]
    squares = int((kept * kept).sum())
    if squares == 0:  # every kept value happened to be 0
        kept, squares = np.eye(1, keep, dtype=np.int64)[0], 1
    unit: Vector = (kept / np.sqrt(np.float64(squares))).astype(np.float32)
    return unit
