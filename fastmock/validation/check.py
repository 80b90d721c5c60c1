"""The parts of a check: its entry in the table, and the contents of a request that it reads."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

CHAT, COMPLETIONS, MESSAGES, RESPONSES = "chat_completions", "completions", "messages", "responses"

Document = dict[str, Any]


class Part(NamedTuple):
    """A part of a conversation.

    Attributes:
        at: its position: the number of its message or item, then its number in that content, and so on.
        role: the role of its message; empty without one.
        value: the part itself.
    """

    at: tuple[int, ...]
    role: str
    value: Document


@dataclass(slots=True)
class Contents:
    """The contents of one request, sorted so that a check sees only the parts that concern it.

    Attributes:
        endpoint: the kind of endpoint.
        model: the model's name.
        body: the request as it was sent.
        parts: the parts of its conversation by their kind, in order.
        history: the messages that come before those of the request, in the form of chat messages.
        complete: whether the whole history is known.
        functions: the functions that may be called, each with the parameter that contains it; None until they are read.
    """

    endpoint: str
    model: str
    body: Document
    parts: dict[str, list[Part]] = field(default_factory=dict)
    history: list[Document] = field(default_factory=list)
    complete: bool = True
    functions: list[tuple[str, Document]] | None = None

    def add(self, kind: str, part: Part) -> None:
        """Add a part."""
        self.parts.setdefault(kind, []).append(part)

    def of(self, *kinds: str) -> Iterator[Part]:
        """Yield the parts of some kinds, one kind after another."""
        for kind in kinds:
            yield from self.parts.get(kind, ())


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: its name, which a refusal carries.
        endpoints: the endpoints it applies to.
        refuse: raises the provider's error if the request is invalid.
        words: the provider's message, or its beginning.
        source: the report or documentation of that message.
        cost: a sentence about the mistakes that tests do not detect without the check.
        params: run it if the request has one of these parameters;
        parts: or one of these kinds of parts. Without either, always.
        as_of: the month of the message, if the provider may have removed the check since.
    """

    name: str
    endpoints: tuple[str, ...]
    refuse: Callable[[Contents], None]
    words: str
    source: str
    cost: str
    params: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    as_of: str = ""

    def applies(self, body: Mapping[str, Any], parts: Mapping[str, Any]) -> bool:
        """Return whether a request has anything that the check looks at."""
        if not self.params and not self.parts:
            return True
        return any(name in body for name in self.params) or any(kind in parts for kind in self.parts)
