"""Files shared by all workers."""
