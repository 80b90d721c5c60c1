"""The parts that the endpoints of all providers are built from."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fastmock.config.config import Config
from fastmock.config.overlay import RuleSection
from fastmock.config.settings import Settings
from fastmock.content.tokenizers import TokenizerOf
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.headers import AnswerHeads
from fastmock.core.http import ChatRequest, Progress
from fastmock.core.routing import Endpoint, Route
from fastmock.engine.buffers import Buffers
from fastmock.engine.manager import Dialect, ManagedCompletions
from fastmock.engine.middleware import Policies
from fastmock.engine.profiles import LatencyProfiles
from fastmock.engine.responder import Responder
from fastmock.engine.response_template import ChoiceFormat
from fastmock.engine.rule_set import Format, RuleSet
from fastmock.responses import Generate, ResponseManager
from fastmock.rules.settings import ModerationPattern
from fastmock.storage.response_log import ResponseLog
from fastmock.storage.sqlite import Store


class Reading(NamedTuple):
    """A kind of request that rules answer, read without being answered.

    Attributes:
        kind: the kind of endpoint.
        parse: reads a body; the other arguments are a request id, and by name the parameters in the path.
        responder: responds to it.
        fits: whether a body is of this kind, for a request whose path is not known.
    """

    kind: str
    parse: Callable[..., ChatRequest]
    responder: Responder
    fits: Callable[[Mapping[str, Any]], bool]


class Flagging(Protocol):
    """Rules that flag instead of answering."""

    @property
    def rules(self) -> Sequence[ModerationPattern]:
        """The rules, in the order in which they are tried."""

    @property
    def names(self) -> Sequence[str]:
        """The name of each."""

    def unreachable_rules(self) -> Iterator[str]:
        """Say which of them can never win, and why."""


class Api(NamedTuple):
    """The API of a provider, compiled.

    Attributes:
        routes: its routes.
        readings: the requests that rules answer.
        generate: by the name of a response manager's method, without ``generate_`` and ``_response``: the answer of the
            rules alone.
        flagging: its rules that flag; None without any.
    """

    routes: Sequence[Route]
    readings: Sequence[Reading]
    generate: Mapping[str, Generate] = {}
    flagging: Flagging | None = None


def endpoint_kinds(apis: Iterable[Api]) -> Sequence[str]:
    """Return the kinds of endpoints that routes have, in their order."""
    return [*dict.fromkeys(route.kind for api in apis for route in api.routes)]


@dataclass(frozen=True)
class Services:
    """The parts that endpoints are built from, for one configuration.

    Attributes:
        config: the configuration; ``diagnostics`` takes what is wrong with it.
        fingerprint: the ``system_fingerprint`` of answers.
        tokenizers: the tokenizer of each model.
        profiles: latency and output by model and rule.
        policies: limits, faults and the queue.
        buffers: the memory that large answers may take.
        store, response_log: keep answers for all workers.
        manager: the response manager; None without one. ``progress`` counts its calls.
        previous: the responders of the configuration that this one is a change of, by section.
        responders: the responders that have been compiled, by section.
    """

    config: Config
    diagnostics: Diagnostics
    fingerprint: str
    tokenizers: TokenizerOf
    profiles: LatencyProfiles
    policies: Policies
    buffers: Buffers
    store: Store
    response_log: ResponseLog
    manager: ResponseManager | None
    progress: Progress
    previous: Mapping[str, Responder] = field(default_factory=dict)
    responders: dict[str, Responder] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.config.settings

    def compile_rules(self, section: RuleSection, shape: ChoiceFormat, heads: AnswerHeads) -> Responder:
        """Compile the rules of a section, whose responses have a format of choices and heads."""
        before = self.previous.get(section)
        form = Format(shape, self.fingerprint, self.profiles.per_chunk)
        rules = RuleSet(self.config, section, form, self.diagnostics, None if before is None else before.rules)
        responder = Responder(self.config, rules, heads, self.profiles, self.policies, self.buffers)
        self.responders[section] = responder
        return responder

    def managed(self, responder: Responder, endpoint: Any, generate: str) -> Endpoint:
        """Return an endpoint as the response manager answers it with its method ``generate``; itself without one."""
        if self.manager is None:
            answer: Endpoint = endpoint
            return answer
        dialect: Dialect = endpoint
        return ManagedCompletions(responder, dialect, getattr(self.manager, generate), self.progress)
