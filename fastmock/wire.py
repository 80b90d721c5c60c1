"""The contract with a runtime (Request in, Reply or Stream out) and the neutral form between dialects and rules (Ask).

Nothing here knows a server, a dialect or a rule.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

Headers = tuple[tuple[str, str], ...]


class RequestHeaders(Protocol):
    """What both runtimes hand over: names in lower case, one value each."""

    def get(self, name: str, /) -> str | None:
        """Return the value of the header, or None."""


class Request:
    """One HTTP request.

    Attributes:
        method: in capitals.
        path: percent-decoded, with or without a trailing slash.
        headers: see RequestHeaders.
        body: ``str`` where the runtime has already decoded UTF-8, else ``bytes``.
    """

    __slots__ = ("body", "headers", "method", "path")

    def __init__(self, method: str, path: str, headers: RequestHeaders, body: str | bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body


class Head:
    """The constant part of an answer: status and headers, made once and known by identity.

    A runtime keeps its own form of each; only the request id is spliced in per answer.
    """

    __slots__ = ("headers", "status")

    def __init__(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers


class Reply:
    """A whole answer: all its bytes are ready.

    Attributes:
        model: the model that was asked for, for the request log; empty where nobody noted it.
        rule: the name of the rule that won, likewise.
        dues: None where it is sent at once; else it is sent at the last of them. As in Stream.
    """

    model = ""
    rule = ""
    dues: Iterator[float] | None = None

    def __init__(self, head: Head, request_id: str, body: bytes) -> None:
        self.head = head
        self.request_id = request_id
        self.body = body


class Stream:
    """An answer in steps.

    Attributes:
        dues: yields when each step is due: seconds after the request came in, never falling. It is drawn lazily, one
            step ahead of what is sent, so that what a step waits for may depend on the load.
        cut: returns the bytes of the steps from one number up to another. What is due together is made and sent in one:
            under load that saves most of the cost.
        model, rule: as in Reply.
    """

    model = ""
    rule = ""

    def __init__(self, head: Head, request_id: str, dues: Iterator[float], cut: Callable[[int, int], bytes]) -> None:
        self.head = head
        self.request_id = request_id
        self.dues = dues
        self.cut = cut


class Ask:
    """What a request asks for, whichever dialect it came in: what rules look at and templates splice.

    Attributes:
        unique: 32 hexadecimal digits, no two alike on any worker.
        body: the parsed request.
        model: the model's name, as asked for.
        user_message: the text of the last user message, its text parts joined (the prompt, for completions).
        system_prompt: the text of the system and developer messages, joined by newlines.
        stream: whether a stream is wanted, ``include_usage`` whether it ends with a usage chunk, and
            ``continuous_usage`` whether every chunk has the usage so far.
        choices: how many choices are wanted (``n``).
        request: the request it came in, while it is being answered; None where it came from a response manager.
        rule: the number of the rule that won, -1 for the default.
        output: the text that was made up for it, of ``output_tokens`` tokens; empty where none was needed.
        finish_reason: why that text ends.
        prompt_tokens: tokens of the whole prompt.
        completion_tokens: tokens of the answer; set once it is known.
    """

    # Class attributes, not slots: most asks leave most of them alone, and one is made in half the time.
    user_message = ""
    system_prompt = ""
    stream = False
    include_usage = False
    continuous_usage = False
    choices = 1
    request: Request | None = None
    rule = -1
    output = ""
    output_tokens = 0
    finish_reason = "stop"
    prompt_tokens = 0
    completion_tokens = 0

    def __init__(self, unique: str, body: dict[str, Any], model: str) -> None:
        self.unique = unique
        self.body = body
        self.model = model
