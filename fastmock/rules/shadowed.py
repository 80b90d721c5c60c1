"""Find shadowed rules, which can never win."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

import re2

from fastmock.rules.match import Match
from fastmock.rules.regex import readable

_TEXTS = ("model", "content", "content_contains", "content_regex", "system_prompt")
_OTHERS = tuple(name for name in Match.model_fields if name not in _TEXTS)


def hidden(rules: Sequence[Match], only: Iterable[int] | None = None) -> Iterator[tuple[int, int]]:
    """Find rules that can never win.

    Only certain cases are reported; regular expressions are not compared with each other.

    Args:
        rules: in the order in which they are tried.
        only: the numbers of the rules to check; None for all.

    Yields:
        The rule's number and that of the earlier rule that matches whenever it does; its own number if its conditions
        contradict each other.
    """
    for number in range(len(rules)) if only is None else only:
        rule = rules[number]
        if _impossible(rule):
            yield number, number
            continue
        for earlier in range(number):
            if _covers(rules[earlier], rule):
                yield number, earlier
                break


def _impossible(rule: Match) -> bool:
    if rule.not_ is not None and not rule.not_.model_dump(exclude_none=True):
        return True
    text = rule.content
    if text is None:
        return False
    if rule.content_contains is not None and rule.content_contains not in text:
        return True
    return rule.content_regex is not None and _found(rule.content_regex, text) is False


def _covers(first: Match, second: Match) -> bool:
    """Return whether ``first`` certainly matches every request that ``second`` matches."""
    if any((wanted := getattr(first, name)) is not None and wanted != getattr(second, name) for name in _OTHERS):
        return False
    if first.model is not None and not _model_covers(first.model, second.model):
        return False
    if first.content is not None and first.content != second.content:
        return False
    if first.content_contains is not None and not any(
        text is not None and first.content_contains in text for text in (second.content, second.content_contains)
    ):
        return False
    if (
        first.content_regex is not None
        and first.content_regex != second.content_regex
        and (second.content is None or not _found(first.content_regex, second.content))
    ):
        return False
    return first.system_prompt is None or (
        second.system_prompt is not None and first.system_prompt in second.system_prompt
    )


def _model_covers(glob: str, other: str | None) -> bool:
    if glob == "*" or glob == other:
        return True
    return other is not None and not re.search(r"[*?\[]", other) and fnmatchcase(other, glob)


def _found(pattern: str, text: str) -> bool | None:
    """Return whether the pattern is found in ``text``; None if only backtracking, which may not terminate, could
    decide.
    """
    search = _searcher(pattern)
    return search and search(text) is not None


@lru_cache(4096)
def _searcher(pattern: str) -> Callable[[str], object] | None:
    form, _ = readable(pattern)
    return None if form is None else re2.compile(form).search
