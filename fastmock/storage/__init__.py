"""Files that all workers share."""
