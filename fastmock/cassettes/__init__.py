"""Cassettes: recorded requests and their answers, to record, match and replay."""
