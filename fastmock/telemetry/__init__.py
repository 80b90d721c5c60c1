"""Observers of responses: request log, metrics, journal."""
