"""Series of metrics that all workers share."""

import pytest

from fastmock.shared.metric_series import MOST_COUNTS, Meters
from tests.support import joined_shares

pytestmark = pytest.mark.unit


def test_metric_series_have_one_place_across_workers_until_full():
    shares = joined_shares(2)
    one, other = map(Meters, shares)
    places = [(one if number % 2 else other).counts.place(("x", str(number))) for number in range(MOST_COUNTS)]
    assert None not in places
    assert one.counts.place(("y",)) is other.counts.place(("y",)) is None
    for number in range(MOST_COUNTS):
        for meters in (one, other):
            shares[0].numbers[meters.counts.place(("x", str(number)))] += number
    assert {labels: values[0] for labels, values in one.counts.sums()} == {
        ("x", str(number)): 2 * number for number in range(MOST_COUNTS)
    }
