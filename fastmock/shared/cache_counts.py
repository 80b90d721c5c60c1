"""The hits and misses of the cache of plans, over all workers."""

from fastmock.shared.block import Share
from fastmock.shared.layout import ROW

HITS, MISSES = ROW.reserve(), ROW.reserve()
"""The cells, in each worker's row, in which it counts."""


def cache_counts(share: Share) -> dict[str, int]:
    """Return the numbers of hits and misses."""
    cells = {"hits": HITS, "misses": MISSES}
    return {name: sum(share.numbers[row + cell] for row in share.rows()) for name, cell in cells.items()}
