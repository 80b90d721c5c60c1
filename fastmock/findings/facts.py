"""The facts about a request and its response that findings need, besides those of every entry of the journal."""

import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from fastmock.core.http import Reply, Request, Stream
from fastmock.core.provider import Provider, provider_of
from fastmock.faults.answers import Redo

_LONGEST_TEXT = 1500  # characters of an answer that was cut
_WAITS = {"retry-after-ms": 0.001, "retry-after": 1.0}  # seconds for each unit; the SDKs prefer the first
_SHOULD_RETRY = "x-should-retry"  # overrides the status in the official SDKs


def facts_of(request: Request, headers: Mapping[str, str], answer: Reply | Stream, spent: int | None) -> dict[str, Any]:
    """Return the facts; those with their usual value are left out.

    ``headers``: all headers of the request; ``spent``: for a response that takes time the nanoseconds since the request
    came in, else None.

    ``client`` is a hash of the API key, the same on all workers of a server; ``connection`` the address and port of the
    client; ``wait`` the seconds to wait before a retry; ``retry`` whether the response asks for one; ``exhausted``
    whether it says that nothing is left of a limit; ``finish`` the finish reason; ``text`` an answer that was cut, or
    whose stream has a fault, and ``length`` its length; ``spent_ns`` see above.
    """
    provider = provider_of(request)
    key: str | None = None
    for name in provider.key_headers:  # the whole header: provider.key_of() takes 1 µs more
        if (key := headers.get(name)) is not None:
            break
    else:
        if provider.key_parameter:
            key = provider.key_of(request)
    facts: dict[str, Any] = {"client": _hashed(key)}
    if spent is not None:
        facts["spent_ns"] = spent
    if request.client:
        facts["connection"] = request.client
    if answer.head.status >= 400:
        _add_retry(facts, dict(answer.more))
    elif answer.values and _is_exhausted(answer, provider):
        facts["exhausted"] = True
    if answer.redo is not None:
        _add_answer(facts, answer, answer.redo)
    return facts


@lru_cache(maxsize=4096)
def _hashed(key: str | None) -> str:
    """Return the hash of an API key; it is salted by the interpreter, and forked workers share the salt."""
    return f"{hash(key) & 0xFFFF_FFFF:08x}"


def _add_retry(facts: dict[str, Any], headers: Mapping[str, str]) -> None:
    """Add what the response says about a retry."""
    found = next(((headers[name], unit) for name, unit in _WAITS.items() if name in headers), None)
    if found is not None and (wait := _seconds(*found)) is not None:
        facts["wait"] = wait
    if (should := headers.get(_SHOULD_RETRY)) in ("true", "false"):
        facts["retry"] = should == "true"


def _seconds(value: str, unit: float) -> float | None:
    """Return the time to wait, a number or a date, in seconds; None if it is invalid or has passed."""
    wait = 0.0
    try:
        wait = float(value) * unit
    except ValueError:
        with suppress(ValueError, TypeError, OverflowError):
            wait = parsedate_to_datetime(value).timestamp() - time.time()
    return wait if 0 < wait < float("inf") else None


@lru_cache(maxsize=64)
def _remaining(provider: Provider) -> frozenset[str]:
    """Return the names of the headers with remaining amounts."""
    return frozenset(name.format("remaining") for name in provider.limit_headers.names.values())


def _is_exhausted(answer: Reply | Stream, provider: Provider) -> bool:
    """Return whether nothing is left of a limit."""
    if "0" not in answer.values:
        return False
    names = _remaining(provider)
    return any(value == "0" and name in names for name, value in zip(answer.head.varying, answer.values, strict=True))


def _add_answer(facts: dict[str, Any], answer: Reply | Stream, redo: Redo) -> None:
    """Add how the first answer ended; its text only where the client may have received a part of it."""
    finish = redo.finish_reason()
    if finish != "stop":
        facts["finish"] = finish
    if finish == "length" or (answer.fault and redo.chat.stream):
        text = next((one.text for one in redo.answers()), None)
        if text:
            facts["text"], facts["length"] = text[:_LONGEST_TEXT], len(text)
