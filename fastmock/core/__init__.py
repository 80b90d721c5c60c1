"""Contracts between the packages, and helpers that depend on none of them."""
