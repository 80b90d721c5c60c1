"""Which recordings were replayed, over all workers: a byte for each."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Protocol

from fastmock.shared.block import Share
from fastmock.shared.counters import Counters
from fastmock.shared.layout import SERVER

MOST = 1 << 20
"""Recordings whose use is known; that of further ones is not."""
USED = 1 << 7
"""The bit of a use; the lower ones are for components that differed."""
_COUNT = 0  # the counter of a key
_USES = SERVER.reserve(MOST // 8)
_SIGNATURE = SERVER.reserve()


class Uses(Protocol):
    """The uses of numbered recordings."""

    def note(self, number: int, differing: int) -> None:
        """Note a use; ``differing`` has the bits of the components that differed."""

    def of(self, number: int) -> int:
        """Return the bits of a recording; 0 if it was not used."""


class CountedUses:
    """The uses of the recordings of one session, in the counters by key."""

    def __init__(self, counters: Counters, signature: int) -> None:
        """``signature``: identifies the recordings, below 2**64."""
        self._counters = counters
        self._signature = signature

    def note(self, number: int, differing: int) -> None:
        """Note a use; ``differing`` has the bits of the components that differed."""
        for bit in _bits(USED | differing):
            self._counters.count(self._key(number, bit), _COUNT, 1)

    def of(self, number: int) -> int:
        """Return the bits of a recording; 0 if it was not used."""
        return sum(bit for bit in _bits(2 * USED - 1) if self._counters.counted(self._key(number, bit), _COUNT))

    def _key(self, number: int, bit: int) -> int:
        text = b"%d %d %d" % (self._signature, number, bit)
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") or 1


def _bits(value: int) -> Iterator[int]:
    return (1 << place for place in range(8) if value >> place & 1)


class RecordingUses:
    """The uses of the recordings that are for all sessions."""

    def __init__(self, share: Share, signature: int) -> None:
        """``signature``: identifies the recordings, below 2**64; uses of others are forgotten."""
        self._share = share
        self._signature = signature
        self._bytes = memoryview(bytearray(1))
        share.on_join(self._join)
        share.on_reset(self._forget)

    def note(self, number: int, differing: int) -> None:
        """Note a use; ``differing`` has the bits of the components that differed."""
        if number < MOST:
            value = USED | differing
            if (known := self._bytes[number]) != known | value:
                with self._share.lock:
                    self._bytes[number] |= value

    def of(self, number: int) -> int:
        """Return the bits of a recording; 0 if it was not used."""
        return self._bytes[number] if number < MOST else USED

    def _join(self) -> None:
        begin = _USES * 8
        self._bytes = self._share.numbers.cast("B")[begin : begin + MOST]
        with self._share.lock:
            if self._share.numbers[_SIGNATURE] != self._signature:
                self._share.numbers[_SIGNATURE] = self._signature
                self._forget()

    def _forget(self) -> None:
        """Forget all uses; with the lock held."""
        self._bytes[:] = bytes(MOST)
