"""Helpers for test suites: a server in a process of its own, and clients with a session of their own."""
