"""Generate JSON that fits a schema."""
