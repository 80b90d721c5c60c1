"""Findings about retries: too early, hopeless, too many, missing."""

from collections.abc import Iterator

from fastmock.findings.attempts import Attempt, Client
from fastmock.findings.finding import Context, Seen, Severity

_LONGEST_HONOURED = 60.0  # seconds; some versions of the official SDKs ignore a longer retry-after
_JITTER = 0.75  # the smallest share of a wait that the official SDKs may choose
_TOLERANCE = 0.05  # seconds, for clocks
_GROWTH = 1.2  # by which the last of several pauses must exceed the first
_LONG_PAUSE = 5.0  # seconds, from which pauses need not grow
_FEWEST_PAUSES = 3
_PATIENCE = 10.0  # seconds after the announced wait in which a retry may still come


def retried_too_early(client: Client, context: Context) -> Iterator[Seen]:
    """Find retries before the announced time; those within the SDKs' jitter are ``info``."""
    for call in client.calls:
        for failed, retry, pause in call.pauses():
            if failed.status < 400 or pause >= failed.wait - _TOLERANCE:
                continue
            is_usual = pause >= failed.wait * _JITTER or (retry.retry and failed.wait > _LONGEST_HONOURED)
            message = f"retried {pause:.2f} s after a {failed.status} that asked to wait {failed.wait:g} s"
            yield Seen("info" if is_usual else "error", message, (failed, retry))


def retried_fatal_error(client: Client, context: Context) -> Iterator[Seen]:
    """Find retries of requests that can never succeed."""
    for call in client.calls:
        for failed, retry, _ in call.pauses():
            if failed.is_fatal:
                yield Seen("error", f"sent the request again after a {failed.status}", (failed, retry))


def retry_storm(client: Client, context: Context) -> Iterator[Seen]:
    """Find calls with too many attempts, or with pauses that do not grow."""
    most = context.settings.max_attempts
    for call in client.calls:
        count = len(call.attempts)
        if count > most:
            yield Seen("error", f"{count} attempts of one call; the limit is {most}", call.attempts)
            continue
        own = [pause for failed, _, pause in call.pauses() if not failed.wait and not failed.is_success]
        if len(own) >= _FEWEST_PAUSES and own[0] < _LONG_PAUSE and own[-1] < own[0] * _GROWTH + _TOLERANCE:
            shown = ", ".join(f"{pause:.2f} s" for pause in own)
            yield Seen("warning", f"{count} attempts of one call with pauses that do not grow: {shown}", call.attempts)


def gave_up(client: Client, context: Context) -> Iterator[Seen]:
    """Find calls that ended with their first error, although a retry could have succeeded."""
    for call in client.calls:
        first = call.first
        is_quota = first.status == 429 and not first.wait  # waiting does not help
        if len(call.attempts) > 1 or first.ended is None or is_quota or not first.is_retryable:
            continue
        if first.retry:  # the attempts before it are lost
            continue
        if context.is_final or context.now > first.ended + first.wait + _PATIENCE:
            # An official SDK does this with ``max_retries=0`` alone.
            severity: Severity = "warning" if first.retry is None else "info"
            yield Seen(severity, f"did not retry after a {first.status}", (first,))


def ignored_limit(client: Client, context: Context) -> Iterator[Seen]:
    """Find calls that were sent although a response had said that nothing is left of a limit, and that were refused.

    Only calls that come one after the other count: several at once may have been sent before the response.
    """
    retries = {id(one) for call in client.calls for one in call.attempts[1:]}
    for before, attempt in _one_after_the_other(client):
        if not attempt.limit or attempt.status != 429 or id(attempt) in retries or before.model != attempt.model:
            continue
        if before.facts.get("exhausted"):
            yield Seen("warning", "sent a request although nothing was left of a limit", (before, attempt))
        elif before.limit == attempt.limit and before.ended and attempt.arrived < before.ended + before.wait * _JITTER:
            message = f"sent another request {attempt.arrived - before.ended:.2f} s after a 429 that asked to wait "
            yield Seen("warning", f"{message}{before.wait:g} s", (before, attempt))


def _one_after_the_other(client: Client) -> Iterator[tuple[Attempt, Attempt]]:
    """Yield the pairs of subsequent attempts of which the second came when no other was in flight."""
    latest = 0.0
    for before, attempt in zip(client.attempts, client.attempts[1:], strict=False):
        latest = max(latest, float("inf") if before.ended is None else before.ended)
        if attempt.arrived >= latest:
            yield before, attempt
