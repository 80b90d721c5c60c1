"""Paginated lists: one page at a time, with the ids of its first and last items."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastmock.core import errors
from fastmock.core.http import Query, query_value
from fastmock.providers.openai import params

_LIMIT, _MOST = 20, 100


def newest_first(query: Query, default: str = "asc") -> bool:
    """Return whether the query asks for the newest items first."""
    order = query_value(query, "order") or default
    params.one_of("asc", "desc")(order, "order")
    return order == "desc"


_integer = re.compile(r"-?\d{1,18}", re.ASCII).fullmatch


def page(ids: Sequence[str], query: Query, most: int = _MOST) -> tuple[Sequence[str], bool, str | None]:
    """Return the requested page of a list, whether more follows, and the id in ``after`` if it is unknown."""
    after, limit = query_value(query, "after"), query_value(query, "limit")
    if limit is not None and not _integer(limit):
        raise errors.WrongType("limit", "an integer", limit)
    if limit is not None and not 1 <= int(limit) <= most:
        raise errors.OutOfRange("limit", int(limit), 1, most)
    unknown = None
    if after in ids:
        ids = ids[ids.index(after) + 1 :]
    else:
        unknown = after
    size = _LIMIT if limit is None else int(limit)
    return ids[:size], len(ids) > size, unknown


def as_list(items: Sequence[Mapping[str, Any]], more: bool) -> dict[str, Any]:
    """Return a page in the API's format."""
    ends = {"first_id": items[0]["id"] if items else None, "last_id": items[-1]["id"] if items else None}
    return {"object": "list", "data": items, **ends, "has_more": more}
