"""Findings: mistakes of clients, found in the requests that the journal has recorded."""
