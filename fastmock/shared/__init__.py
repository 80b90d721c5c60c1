"""Memory shared by all workers."""
