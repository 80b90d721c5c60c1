"""Read files of other programs, and write what they hold as recordings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from fastmock.cassettes.canonical import Canonical
from fastmock.cassettes.recorder import Exchange
from fastmock.core.http import Request

Imported = bytes | str
"""The line of a cassette, or the reason why there is none."""
_CANONICAL = Canonical()


class ImportFailedError(Exception):
    """A file cannot be imported; the message names it."""


def documents_of(path: Path) -> Iterator[tuple[str, object]]:
    """Yield the documents of a file with their names: one of JSON or YAML, or a JSON document on each line.

    Raises:
        ImportFailedError: it cannot be parsed.
    """
    data = path.read_bytes()
    try:
        if path.suffix == ".jsonl":
            for number, line in enumerate(data.splitlines(), 1):
                if line.strip():
                    yield f"{path}:{number}", orjson.loads(line)
        elif path.suffix in (".yaml", ".yml"):
            from fastmock.cassettes.importers.vcr_yaml import load_vcr_yaml  # imports PyYAML

            yield str(path), load_vcr_yaml(data)
        else:
            yield str(path), orjson.loads(data)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImportFailedError(f"{path} cannot be parsed: {reason}") from None


def line_of(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: str | bytes,
    status: int,
    answer_headers: Mapping[str, str],
    content: bytes,
) -> bytes:
    """Return the line of a cassette for a request and its answer, without secrets; its times are not known."""
    parts = urlsplit(url)
    query: dict[str, list[str]] = parse_qs(parts.query, keep_blank_values=True)
    request = Request(method.upper(), unquote(parts.path) or "/", headers, body, query)
    exchange = Exchange(request, 0.0)
    exchange.begin(status, [*answer_headers.items()])
    if content:
        exchange.add(content, 0.0)
    return exchange.line(0.0, _CANONICAL)


def text(value: Any) -> str:
    """Return a value as text; empty for None."""
    return "" if value is None else str(value)
