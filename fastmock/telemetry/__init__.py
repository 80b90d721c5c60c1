"""Observers of answers: request log, metrics, journal."""
