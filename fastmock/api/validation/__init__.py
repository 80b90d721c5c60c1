"""Refuse requests that the providers refuse: checks beyond types and required fields, as one table."""
