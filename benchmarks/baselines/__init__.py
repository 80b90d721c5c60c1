"""Baselines for fastmock, measured in the same run."""
