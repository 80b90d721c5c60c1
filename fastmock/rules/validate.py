"""Checks of rules when a configuration is compiled."""

from collections.abc import Collection

from fastmock.core.diagnostics import Diagnostics
from fastmock.core.problems import SettingPath, did_you_mean
from fastmock.rules.match import Match, iter_nested
from fastmock.rules.regex import PatternError, readable


def check_regexes(match: Match, path: SettingPath, diagnostics: Diagnostics) -> None:
    """Report the invalid and the backtracking patterns of a match."""
    for inner, at in iter_nested(match, path):
        if inner.content_regex is None:
            continue
        try:
            _, slow = readable(inner.content_regex)
        except PatternError as error:
            diagnostics.error((*at, "content_regex"), str(error))
        else:
            if slow:
                diagnostics.warn(
                    (*at, "content_regex"),
                    "needs features that RE2 lacks: it backtracks, and does not match if it takes longer than 20 ms",
                )


def check_endpoints(match: Match, path: SettingPath, kinds: Collection[str], diagnostics: Diagnostics) -> None:
    """Check the kinds of endpoint that a match names: ``kinds`` are those that routes have."""
    for inner, at in iter_nested(match, path):
        if inner.endpoint is not None and inner.endpoint not in kinds:
            near = did_you_mean(inner.endpoint, kinds) or f"; known are {', '.join(kinds)}"
            diagnostics.error((*at, "endpoint"), f"names no kind of endpoint: {inner.endpoint!r}{near}")
