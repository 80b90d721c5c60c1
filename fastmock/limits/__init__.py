"""Rate limits, quotas and the request queue."""
