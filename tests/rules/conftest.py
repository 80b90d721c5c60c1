"""A fixture of the tests of rules."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def patient() -> Iterator[None]:
    """Let a pattern that backtracks take its time: a busy machine may take some of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastmock.rules.index.BACKTRACKING_SECONDS", 10)
        yield
