"""From a parsed request to the bytes of its response."""
