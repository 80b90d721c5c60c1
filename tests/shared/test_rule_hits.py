"""Counts of the uses of rules, over several workers."""

import pytest

from fastmock.shared import rule_hits
from fastmock.shared.block import Share, shared_numbers
from fastmock.shared.rule_hits import TO_HITS, RuleHits

pytestmark = pytest.mark.unit


def workers(count):
    numbers = shared_numbers(count)
    found = []
    for number in range(count):
        share = Share(numbers)
        share.join(numbers, number)
        found.append(RuleHits(share))
    return found


def use(hits, key):
    hits.share.numbers[hits.share.row + hits.place(key) + TO_HITS] += 1


def test_uses_are_summed_over_workers():
    one, two = workers(2)
    for hits in (one, two, two):
        use(hits, 77)
    use(one, 78)
    assert [hits.counted(77) for hits in (one, two)] == [3, 3]
    assert [hits.counted(key) for hits in (one, two) for key in (78, 79)] == [1, 0, 1, 0]


def test_forgotten_rule_gives_its_place_up():
    one, two = workers(2)
    use(one, 77)
    use(two, 77)
    one.forget(77)
    assert two.counted(77) == 0
    use(two, 77)
    assert one.counted(77) == 1


def test_all_counts_are_reset_together():
    one, two = workers(2)
    use(one, 77)
    use(two, 78)
    one.share.reset()
    assert [two.counted(key) for key in (77, 78)] == [0, 0]


def test_keys_that_share_all_places_displace_one_another_and_are_never_mixed_up():
    [hits] = workers(1)
    keys = [5 + number * rule_hits._MOST for number in range(rule_hits._TRIES + 1)]
    for key in keys:
        use(hits, key)
    assert [hits.counted(key) for key in keys] == [0] + [1] * rule_hits._TRIES
