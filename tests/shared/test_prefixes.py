"""Prefixes of prompts that all workers share."""

import pytest

from fastmock.shared.in_flight import InFlight
from fastmock.shared.lateness import LatenessMeter
from fastmock.shared.prompt_prefixes import PromptPrefixes
from tests.support import joined_shares

pytestmark = pytest.mark.unit


def test_prompt_cache_prefixes_are_shared_by_workers():
    shares = joined_shares(2)
    one, other = map(PromptPrefixes, shares)
    assert one.add([11, 22]) == 0
    assert other.add([11, 22, 33]) == 2
    assert InFlight(shares[1]).count() == LatenessMeter(shares[0]).last_minute().frames == 0
