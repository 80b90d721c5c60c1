"""Regular expressions that search bytes in linear time, before Python's own ones work on the few that have a match."""

from typing import Any

import re2

_OPTIONS = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.log_errors = False


def compiled(pattern: str | bytes) -> Any:
    """Return a regular expression in RE2's syntax; raise ``re2.error`` if it is in none."""
    return re2.compile(pattern.encode() if isinstance(pattern, str) else pattern, _OPTIONS)
