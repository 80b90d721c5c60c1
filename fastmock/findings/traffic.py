"""Findings about traffic: disconnects, connections, equal requests."""

from collections import deque
from collections.abc import Iterator

from fastmock.findings.attempts import Attempt, Client
from fastmock.findings.finding import Context, Seen

_FEWEST_JUDGED = 10  # requests, to judge connections by
_NEW = 0.9  # share of requests on a new connection
_RETURNED = 0.5  # seconds after a response in which its connection is back in the client's pool
_KEPT_ALIVE = 5.0  # seconds for which a connection should be kept


def hung_up(client: Client, context: Context) -> Iterator[Seen]:
    """Find streams that the client left before their end, without a fault."""
    for attempt in client.attempts:
        if attempt.is_left and attempt.stream and attempt.sent and not attempt.fault:
            message = f"disconnected from a stream after {attempt.sent} bytes"
            yield Seen("info" if attempt.retry is not None else "warning", message, (attempt,))


def no_connection_reuse(client: Client, context: Context) -> Iterator[Seen]:
    """Find clients that open a new connection for each request, although one of them is idle.

    A connection counts as idle half a second after its response: clients that send many requests at once need many, and
    the responses are on their way. Streams and errors are left out, as are retries: official SDKs close the
    connections of some of them.
    """
    seen: set[str] = set()
    new: list[Attempt] = []
    judged = 0
    idle: deque[Attempt] = deque()
    for attempt in client.attempts:
        connection = attempt.facts.get("connection")
        if connection is None:
            continue
        while idle and (idle[0].ended or 0.0) < attempt.arrived - _KEPT_ALIVE:
            idle.popleft()
        if idle and (idle[0].ended or 0.0) <= attempt.arrived - _RETURNED and not attempt.retry:
            judged += 1
            if connection not in seen:
                new.append(attempt)
        seen.add(connection)
        if attempt.is_success and not attempt.stream:
            idle.append(attempt)
    if judged >= _FEWEST_JUDGED and len(new) >= judged * _NEW:
        yield Seen("warning", f"{len(new)} of {judged} requests opened a new connection while another was idle", new)


def concurrent_duplicates(client: Client, context: Context) -> Iterator[Seen]:
    """Find equal requests in flight at the same time."""
    by_body: dict[tuple[object, ...], list[Attempt]] = {}
    for call in client.calls:
        by_body.setdefault(call.first.body, []).append(call.first)
    for equal in by_body.values():
        in_flight: list[Attempt] = []
        most: list[Attempt] = []
        for attempt in equal:
            in_flight = [one for one in in_flight if one.ended is None or one.ended > attempt.arrived]
            in_flight.append(attempt)
            most = max(most, in_flight, key=len)
        if len(most) >= context.settings.max_concurrent:
            yield Seen("warning", f"{len(most)} equal requests were in flight at once", most)


def repeated_success(client: Client, context: Context) -> Iterator[Seen]:
    """Find requests that were sent again after they had succeeded; users may want that, so it is ``info``."""
    succeeded: dict[tuple[object, ...], Attempt] = {}
    for attempt in client.attempts:
        earlier = succeeded.get(attempt.body)
        if earlier is not None and earlier.ended is not None and attempt.arrived >= earlier.ended:
            yield Seen("info", "sent a request again that had succeeded", (earlier, attempt))
        if attempt.is_success:
            succeeded[attempt.body] = attempt
