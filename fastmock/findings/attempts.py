"""The requests of clients as findings see them: attempts, and the calls that they belong to."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

RETRY_COUNT = "x-stainless-retry-count"
"""The header in which the official SDKs count the retries of a call."""

_LONGEST_PAUSE = 120.0  # seconds after which an equal request is a call of its own, unless the header says otherwise
_MOST_OPEN = 100  # equal calls that a retry may continue
_RETRYABLE = (408, 409, 425, 429)  # besides those from 500; as in the official SDKs


class Message(NamedTuple):
    """A message of a conversation.

    Attributes:
        role: its role.
        text: its text.
        calls: the ids of its tool calls.
        result: the id of the call that it is the result of; empty if it is none.
    """

    role: str
    text: str
    calls: tuple[str, ...] = ()
    result: str = ""


@dataclass(frozen=True)
class Attempt:
    """A request and its response.

    Attributes:
        number: its number in the journal.
        client: the session, else a hash of the API key.
        body: identifies equal requests: the path and the body.
        model: the requested model.
        arrived, ended: Unix times in seconds; ``ended`` is None while the response is sent.
        status: the status of the response.
        is_left: whether the client disconnected before the end.
        sent: the bytes of the response that were sent.
        stream: whether a stream was requested.
        fault: the injected fault; empty without one.
        limit: the limit that refused it; empty without one.
        retry: how often the SDK has retried the call before; None if the client does not say.
        facts: see ``facts.facts_of``.
        read: returns the conversation as messages of a chat completion.
    """

    number: int
    client: str
    body: tuple[object, ...]
    model: str
    arrived: float
    ended: float | None
    status: int
    is_left: bool
    sent: int
    stream: bool
    fault: str
    limit: str
    retry: int | None
    facts: dict[str, Any]
    read: Callable[[], list[dict[str, Any]]] = field(repr=False)

    @property
    def wait(self) -> float:
        """The seconds that the response asks to wait before a retry; 0 without such a header."""
        return float(self.facts.get("wait", 0.0))

    @property
    def is_success(self) -> bool:
        """Whether the client received a whole response without an error or a fault."""
        return self.ended is not None and self.status < 400 and not self.fault and not self.is_left

    @property
    def is_retryable(self) -> bool:
        """Whether the call may succeed later, by the response's own word, else by its status."""
        own: bool | None = self.facts.get("retry")
        return (self.status in _RETRYABLE or self.status >= 500) if own is None else own

    @property
    def is_fatal(self) -> bool:
        """Whether a retry is hopeless."""
        return self.status >= 400 and not self.is_retryable

    @cached_property
    def messages(self) -> Sequence[Message]:
        """The conversation of the request."""
        return [_message(one) for one in self.read()]


def _message(message: dict[str, Any]) -> Message:
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    text = content if isinstance(content, str) else "".join(text for text in texts if isinstance(text, str))
    given = message.get("tool_calls")
    calls = (call.get("id") for call in given if isinstance(call, dict)) if isinstance(given, list) else ()
    result = message.get("tool_call_id")
    return Message(
        str(message.get("role")),
        text,
        tuple(call for call in calls if isinstance(call, str)),
        result if isinstance(result, str) else "",
    )


@dataclass
class Call:
    """A call of an application: its first attempt, and the retries."""

    attempts: list[Attempt]

    @property
    def first(self) -> Attempt:
        """The first attempt."""
        return self.attempts[0]

    @property
    def last(self) -> Attempt:
        """The last attempt."""
        return self.attempts[-1]

    def pauses(self) -> list[tuple[Attempt, Attempt, float]]:
        """Return each retry with the attempt before it and the seconds between the two."""
        pairs = zip(self.attempts, self.attempts[1:], strict=False)
        return [(one, following, following.arrived - one.ended) for one, following in pairs if one.ended is not None]


def calls_of(attempts: Iterable[Attempt]) -> list[Call]:
    """Group attempts, in the order of their arrival, by calls.

    Retries have the body of the attempt before. The SDKs number them; any other equal request is taken for a retry if
    it follows a failure. Where several equal calls are open, a retry belongs to the one that may be retried first: so
    no client is blamed that may have kept to the rules.
    """
    calls: list[Call] = []
    open_calls: dict[tuple[object, ...], list[Call]] = {}
    for attempt in attempts:
        same = open_calls.setdefault((attempt.client, *attempt.body), [])
        found = None if attempt.retry == 0 else _continued(same, attempt)
        if found is None:
            calls.append(call := Call([attempt]))
            same.append(call)
            del same[:-_MOST_OPEN]
        else:
            found.attempts.append(attempt)
    return calls


def _continued(calls: Sequence[Call], attempt: Attempt) -> Call | None:
    """Return the call that an attempt continues; None if it begins one."""

    def fits(call: Call) -> bool:
        last = call.last
        if last.ended is None or last.ended > attempt.arrived:
            return False
        if attempt.retry is not None:
            return last.retry == attempt.retry - 1
        return not last.is_success and attempt.arrived - last.ended <= max(_LONGEST_PAUSE, 2 * last.wait)

    fitting = [call for call in calls if fits(call)]
    return min(fitting, key=lambda call: (call.last.is_fatal, (call.last.ended or 0.0) + call.last.wait), default=None)


@dataclass
class Client:
    """The attempts of one client, in the order of their arrival, and its calls.

    Attributes:
        name: the session, else a hash of the API key.
        attempts: the attempts.
        calls: the calls.
    """

    name: str
    attempts: list[Attempt]
    calls: list[Call]


def clients_of(attempts: Iterable[Attempt]) -> list[Client]:
    """Group attempts by client."""
    by_client: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda one: one.arrived):
        by_client.setdefault(attempt.client, []).append(attempt)
    return [Client(name, found, calls_of(found)) for name, found in by_client.items()]
