"""Memory shared by all workers. Each of these modules reserves its cells in it; see ``shared.layout``."""

from fastmock.shared import (  # noqa: F401
    block,
    cache_counts,
    connection_counts,
    counters,
    in_flight,
    lateness,
    metric_series,
    prompt_prefixes,
    queue,
    rate_buckets,
    readiness,
    recording_uses,
    rule_hits,
    script_starts,
)
