"""Refuse requests that providers refuse: checks beyond types and required fields."""
