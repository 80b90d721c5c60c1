"""Memory that all workers share."""
