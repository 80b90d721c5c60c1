"""A client of the control API with a session of its own: script replies and faults, and verify requests."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from fastmock.testing.control import Control, ControlError
from fastmock.testing.environment import API_KEY, base_url, client_environment

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from openai import AsyncOpenAI, OpenAI

_LONGEST_NAME = 48  # characters of a session besides its unique part
_MOST_REQUESTS = 1_000_000


@dataclass(frozen=True)
class RecordedRequest:
    """A request in the journal.

    Attributes:
        number: its number, which rises over all sessions.
        method, path: those of the request.
        endpoint: the kind of endpoint, as ``chat_completions``.
        model: the requested model.
        headers: the headers by name in lower case; credentials are redacted.
        body: the parsed JSON body, else its text.
        status: the status of the response.
        rule: the name of the rule that answered; that of the default ends with ``.default``.
        fault: the kind of the injected fault; empty without one.
        stream: whether a stream was requested.
        shown: everything that the control API shows of the request.
    """

    number: int
    method: str
    path: str
    endpoint: str
    model: str
    headers: Mapping[str, str]
    body: Any
    status: int
    rule: str
    fault: str
    stream: bool
    shown: Mapping[str, Any]

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> "RecordedRequest":
        """Return a request as the control API shows it."""
        names = (name for name in cls.__dataclass_fields__ if name != "shown")
        return cls(**{name: shown[name] for name in names}, shown=shown)

    @property
    def messages(self) -> list[Any]:
        """The messages of the request; empty if it has none."""
        found = self.body.get("messages") if isinstance(self.body, dict) else None
        return found if isinstance(found, list) else []


class Client:
    """A client with a session of its own on a server: what it scripts affects the requests with its ``api_key`` alone.

    As a context manager it resets its session when its block ends.

    Attributes:
        url: the URL of the server, without a path.
        session: the name of the session.
        api_key: the API key that selects the session.
        control: calls the control API about the session.
        lasting: settings of the session that ``configure`` keeps, such as the cassette of a test's marker.
    """

    def __init__(self, url: str | None = None, *, session: str | None = None, token: str | None = None) -> None:
        """Use the server at ``url``.

        Args:
            url: the URL of the server, by default that of the variable ``FASTMOCK_URL``.
            session: the name of the session: up to 64 letters, digits, ``-``, ``_`` and ``.``; by default a new one.
            token: the token of the control API, by default that of the variable ``FASTMOCK_ADMIN_TOKEN``.

        Raises:
            ValueError: no URL is known.
        """
        url = url or os.environ.get("FASTMOCK_URL")
        if not url:
            raise ValueError("the server's URL is not known: pass it, or set FASTMOCK_URL")
        self.url = base_url(url)
        self.session = session or new_session("client")
        self.api_key = f"{self.session}:{API_KEY}"
        self.control = Control(self.url, token or os.environ.get("FASTMOCK_ADMIN_TOKEN"), self.session)
        self._rules = 0
        self.lasting: dict[str, Any] = {}

    def on(self, content: str | re.Pattern[str] | None = None, /, **conditions: Any) -> "On":
        """Return the conditions on requests, for replies and faults: ``on("hello").reply("Hi")``.

        Args:
            content: a text that the last message of the user contains, or a compiled regular expression.
            conditions: further conditions, as in rules: ``model="gpt-4*"``, ``tool="get_*"``, ``turn=2``,
                ``not_={"stream": True}``.
        """
        match: dict[str, Any] = {name.rstrip("_"): value for name, value in conditions.items()}
        if isinstance(content, re.Pattern):
            flags = "i" if content.flags & re.IGNORECASE else ""
            match["content_regex"] = f"(?{flags}){content.pattern}" if flags else content.pattern
        elif content is not None:
            match["content_contains"] = content
        return On(self, match)

    def next_rule(self) -> str:
        """Return the id for a new rule."""
        self._rules += 1
        return f"rule-{self._rules}"

    def configure(
        self,
        *,
        strict: bool | str | None = None,
        latency: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        faults: list[Mapping[str, Any]] | None = None,
        findings: bool | None = None,
        cassettes: Mapping[str, Any] | list[str] | None = None,
    ) -> None:
        """Replace the settings of the session, as ``PUT /fastmock/sessions/{id}``.

        Args:
            strict: whether a request that no rule matches gets a 404.
            latency: the latency, as in the configuration.
            limits: the rate limits.
            faults: the faults.
            findings: whether its requests are watched for findings.
            cassettes: the cassettes, or their files; the server has to allow that by ``admin.files``.

        Raises:
            ControlError: a setting is invalid.
        """
        __tracebackhide__ = True
        given: dict[str, Any] = {"strict": strict, "latency": latency, "limits": limits, "faults": faults}
        given |= {"findings": findings, "cassettes": cassettes}
        settings = {**self.lasting, **{name: value for name, value in given.items() if value is not None}}
        self.control.call("PUT", f"sessions/{self.session}", settings)

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests of the session that the journal has kept, in the order in which they came."""
        found = self.control.call("GET", "requests", query={"limit": _MOST_REQUESTS})["requests"]
        return [RecordedRequest.of(shown) for shown in reversed(found)]

    @property
    def last_request(self) -> RecordedRequest | None:
        """The last request of the session; None without one."""
        found = self.control.call("GET", "requests", query={"limit": 1})["requests"]
        return RecordedRequest.of(found[0]) if found else None

    def verify(
        self,
        content: str | re.Pattern[str] | None = None,
        /,
        *,
        count: int | Mapping[str, int] | None = None,
        wait: float = 0.0,
        **conditions: Any,
    ) -> None:
        """Assert that requests came which meet conditions.

        Args:
            content: as in ``on``.
            count: their number, or ``{"min": 1, "max": 3}``; by default at least one.
            wait: seconds to wait for them.
            conditions: as in ``on``.

        Raises:
            AssertionError: they did not come; with the nearest request and the difference.
            ControlError: a condition is invalid.
        """
        __tracebackhide__ = True
        wanted: dict[str, Any] = {"match": self.on(content, **conditions).match, "wait_ms": wait * 1000}
        if count is not None:
            wanted["count"] = count
        try:
            self.control.call("POST", "verify", wanted)
        except ControlError as error:
            if error.status != 406:
                raise
            raise AssertionError(str(error)) from None

    def report(self, since: int = 0, *, final: bool = False) -> dict[str, Any]:
        """Return the report on the session.

        Args:
            since: the number of the first request to report on.
            final: whether the client under test is done, so that a retry that is missing will not come.
        """
        query = {"since": since, "final": "true" if final else "false"}
        found: dict[str, Any] = self.control.call("GET", "report", query=query)
        return found

    def reset(self) -> None:
        """Remove the rules, settings and recorded requests of the session, and reset its counts."""
        self.control.call("POST", "reset")

    def environment(self) -> dict[str, str]:
        """Return the environment variables by which clients of the official SDKs use the session."""
        return client_environment(self.url, os.environ, self.api_key)

    def openai(self, **options: Any) -> "OpenAI":
        """Return a client of the OpenAI SDK that uses the session."""
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.api_key, **options)

    def async_openai(self, **options: Any) -> "AsyncOpenAI":
        """Return an asynchronous client of the OpenAI SDK that uses the session."""
        import openai

        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=self.api_key, **options)

    def anthropic(self, **options: Any) -> "Anthropic":
        """Return a client of the Anthropic SDK that uses the session."""
        import anthropic

        return anthropic.Anthropic(base_url=self.url, api_key=self.api_key, **options)

    def async_anthropic(self, **options: Any) -> "AsyncAnthropic":
        """Return an asynchronous client of the Anthropic SDK that uses the session."""
        import anthropic

        return anthropic.AsyncAnthropic(base_url=self.url, api_key=self.api_key, **options)

    def close(self) -> None:
        """Reset the session, and close the connection."""
        try:
            self.reset()
        finally:
            self.control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Reset the session."""
        self.close()


class On:
    """Conditions on requests of a session, and what happens to the requests that meet them.

    The latest of several replies whose conditions are met wins, and the first fault that applies. Each method calls the
    server, and raises ControlError for an invalid value.

    Attributes:
        match: the conditions, as in a rule.
    """

    def __init__(self, client: Client, match: dict[str, Any]) -> None:
        self.match = match
        self._client = client
        self._id: str | None = None
        self._rule: dict[str, Any] = {}

    def reply(self, *texts: str, **settings: Any) -> Self:
        """Reply with a text; with several, by turn of the conversation.

        ``settings``: further settings of the rule, as ``reasoning``, ``latency`` and ``priority``.
        """
        __tracebackhide__ = True
        if len(texts) > 1:
            return self._put({"responses": list(texts), **settings})
        return self._put({"content": texts[0] if texts else "", **settings})

    def streams(self, text: str, **latency: Any) -> Self:
        """Reply with a text at a latency: ``ttft`` and ``itl`` in milliseconds, ``tokens_per_second``, ``preset``."""
        __tracebackhide__ = True
        return self._put({"content": text, "latency": latency})

    def calls(self, name: str, /, **arguments: Any) -> Self:
        """Reply with a call of a tool; once more adds a call to the reply."""
        __tracebackhide__ = True
        calls = [*self._rule.get("tool_calls", ()), {"name": name, "arguments": arguments}]
        return self._put({"tool_calls": calls})

    def refuses(self, text: str) -> Self:
        """Reply with a refusal."""
        __tracebackhide__ = True
        return self._put({"refusal": text})

    def responds(self, response: Mapping[str, Any]) -> Self:
        """Reply with a whole response body."""
        __tracebackhide__ = True
        return self._put({"response": dict(response)})

    def embeds(self, *vector: float) -> Self:
        """Embed the matching input texts of embeddings as a vector, padded with zeros."""
        __tracebackhide__ = True
        rule_id = self._client.next_rule()
        rule = {"name": str(self), "match": self.match, "vector": list(vector), "endpoint": "embeddings"}
        self._client.control.call("PUT", f"rules/{rule_id}", rule)
        return self

    def fails(self, status: int = 500, *, times: int | None = None, **settings: Any) -> Self:
        """Fail with a status, ``times`` or always; ``settings`` are those of the fault, as ``retry_after=1``."""
        __tracebackhide__ = True
        return self.fault("status", status=status, times=times, **settings)

    def stalls(self, after: int | str = 1, *, seconds: float | None = None, **settings: Any) -> Self:
        """Stop a stream after so many chunks, for some seconds or for ever."""
        __tracebackhide__ = True
        return self.fault("stall", after=after, for_=seconds, **settings)

    def cuts(self, after: int | str = 1, **settings: Any) -> Self:
        """End a stream too early, after so many chunks."""
        __tracebackhide__ = True
        return self.fault("cut", after=after, **settings)

    def fault(self, kind: str, /, **settings: Any) -> Self:
        """Inject a fault of any kind; ``settings`` as in the configuration."""
        __tracebackhide__ = True
        given = {name.rstrip("_"): value for name, value in settings.items() if value is not None}
        self._client.control.call("POST", "faults", {"kind": kind, "match": self.match, **given})
        return self

    def _put(self, reply: Mapping[str, Any]) -> Self:
        """Add or replace the rule of these conditions."""
        __tracebackhide__ = True
        if self._id is None:
            self._id = self._client.next_rule()
        self._rule.update(reply)
        rule = {"name": str(self), "match": self.match, **self._rule}
        self._client.control.call("PUT", f"rules/{self._id}", rule)
        return self

    def __str__(self) -> str:
        parts = [
            repr(value) if name == "content_contains" else f"{name}={value!r}" for name, value in self.match.items()
        ]
        return f"on({', '.join(parts)})"


def new_session(name: str) -> str:
    """Return a new session, whose name begins with a readable form of ``name``."""
    readable = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")[:_LONGEST_NAME] or "session"
    return f"{'s-' if readable.lower().startswith('sk-') else ''}{readable}-{uuid4().hex[:10]}"
