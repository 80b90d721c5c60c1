"""Where the worker counts its connections."""

from fastmock.shared.layout import ROW

OPENED, REUSED, CLOSED_IDLE = (ROW.reserve() for _ in range(3))
"""Offsets in a row of the connections that were opened, that were reused by another request, and that were closed while
idle.
"""
