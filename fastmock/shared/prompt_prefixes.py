"""Prefixes of the prompts that were seen before, by any worker."""

from collections.abc import Sequence

from fastmock.shared.block import Share
from fastmock.shared.layout import SERVER

_MOST = 1 << 16
_PREFIXES = SERVER.reserve(_MOST)  # their hashes


class PromptPrefixes:
    """The prefixes, as seen by one worker."""

    def __init__(self, share: Share) -> None:
        self._share = share

    def add(self, hashes: Sequence[int]) -> int:
        """Remember the hashes of ever longer prefixes of a prompt, for all workers.

        Each is below 2**64. On a collision the new hash replaces the old one.

        Returns:
            The number of hashes, from the first, that were known already.
        """
        numbers = self._share.numbers
        known = 0
        for number in hashes:
            if numbers[_PREFIXES + number % _MOST] != number:
                break
            known += 1
        for number in hashes[known:]:
            numbers[_PREFIXES + number % _MOST] = number
        return known
