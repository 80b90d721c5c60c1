"""The syntax of variables in templates: ``$name`` and ``${name}``."""

VARIABLE = r"\$(?:[A-Za-z_]\w*|\{\w+\})"
MARK = "\0fastmock\0"
"""Prefix of the name of an unquoted variable, to distinguish it from the same text in quotes."""
