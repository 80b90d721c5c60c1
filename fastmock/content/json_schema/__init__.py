"""Generate JSON that conforms to a JSON Schema."""
