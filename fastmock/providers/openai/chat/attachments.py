"""Count the tokens of files and documents in a prompt, which no rule examines."""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from fastmock.core.completion import Tokenizer

_PAGE_TOKENS = 1500  # per page of a PDF: the lower bound in Anthropic's documentation of PDF support
_PAGE, _PAGES = b"/Type /Page", b"/Type /Pages"


def file_tokens(file: Any, tokenizer: Tokenizer) -> int:
    """Count an OpenAI ``file``: base64 data, plain or as a data URL; a file given by id counts as one page."""
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if not isinstance(data, str):
        return _PAGE_TOKENS
    kind, _, encoded = data.rpartition(",")
    return _data_tokens(encoded, "pdf" if not kind or "pdf" in kind else kind, tokenizer)


def block_tokens(block: Mapping[str, Any], tokenizer: Tokenizer) -> int:
    """Count an Anthropic ``document`` or ``search_result``."""
    tokens = sum(map(tokenizer.count, _texts(block)))
    source = block.get("source")
    if not isinstance(source, Mapping):
        return tokens
    data = source.get("data")
    if source.get("type") == "base64" and isinstance(data, str):
        return tokens + _data_tokens(data, str(source.get("media_type")), tokenizer)
    if source.get("type") in ("url", "file"):
        tokens += _PAGE_TOKENS
    return tokens


def _texts(block: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of a block."""
    source = block.get("source")
    for name in ("title", "context"):
        if isinstance(text := block.get(name), str):
            yield text
    if isinstance(source, str):  # in a search result
        yield source
        yield from _said(block.get("content"))
    elif isinstance(source, Mapping) and source.get("type") == "text" and isinstance(source.get("data"), str):
        yield source["data"]
    elif isinstance(source, Mapping) and source.get("type") == "content":
        yield from _said(source.get("content"))


def _said(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping) and isinstance(text := part.get("text"), str):
            yield text


def _data_tokens(encoded: str, kind: str, tokenizer: Tokenizer) -> int:
    """Count base64 data: pages of a PDF, or a text."""
    try:
        data = b64decode(encoded)
    except ValueError:
        return 0
    if "pdf" in kind or data.startswith(b"%PDF"):
        return _PAGE_TOKENS * max(1, data.count(_PAGE) - data.count(_PAGES))
    return tokenizer.count(data.decode(errors="replace"))
