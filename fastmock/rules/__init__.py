"""Which answer a request gets."""
