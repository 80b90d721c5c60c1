"""The layout of the shared block: features reserve their cells when they are imported, before any block is made.

``fastmock.shared`` imports every module that reserves cells, so that all blocks have the same layout.
"""


class Layout:
    """Cells in a row, numbered from 0.

    Attributes:
        size: the number of reserved cells.
        gauges: the cells that a worker's death sets to 0.
    """

    def __init__(self) -> None:
        self.size = 0
        self.gauges: list[int] = []

    def reserve(self, count: int = 1, gauge: bool = False) -> int:
        """Reserve cells; return the number of the first.

        Args:
            count: how many.
            gauge: whether they hold a number of things in progress.
        """
        first, self.size = self.size, self.size + count
        if gauge:
            self.gauges += range(first, self.size)
        return first


SERVER = Layout()
"""The cells of the whole server: indexes in the block."""
ROW = Layout()
"""The cells of each worker: offsets in its row."""
