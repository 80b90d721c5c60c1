"""The version of fastmock."""

__version__ = "0.1.0"
