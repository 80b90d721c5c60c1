"""The services that the endpoints of all providers are built from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastmock.config.config import Config
from fastmock.config.overlay import RuleSection
from fastmock.config.settings import Settings
from fastmock.content.tokenizers import TokenizerOf
from fastmock.core.completion import ChatRequest
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.headers import AnswerHeads
from fastmock.core.http import Progress
from fastmock.core.routing import Endpoint, Route
from fastmock.engine.buffers import Buffers
from fastmock.engine.cache import Cache
from fastmock.engine.manager import Dialect, ManagedCompletions
from fastmock.engine.middleware import Policies
from fastmock.engine.plain_rules import PlainRules
from fastmock.engine.plans import planned
from fastmock.engine.profiles import LatencyProfiles
from fastmock.engine.responder import Responder
from fastmock.engine.response_template import ChoiceFormat
from fastmock.engine.rule_set import Format, RuleSet
from fastmock.responses import Generate, ResponseManager
from fastmock.shared.rule_hits import RuleHits
from fastmock.storage.response_log import ResponseLog
from fastmock.storage.sqlite import Store


class Reading(NamedTuple):
    """Parses a kind of request that rules answer, without answering it.

    Attributes:
        kind: the kind of endpoint.
        parse: parses a body; the other arguments are a request id, and path parameters by name.
        responder: the responder of the endpoint.
        fits: whether a body is of this kind, for a request with an unknown path.
        messages: returns the conversation of a body as messages of a chat completion, also if the body is invalid
            otherwise; raises ApiError if they cannot be read.
    """

    kind: str
    parse: Callable[..., ChatRequest]
    responder: Responder
    fits: Callable[[Mapping[str, Any]], bool]
    messages: Callable[[dict[str, Any]], Any] = lambda body: ()


class Api(NamedTuple):
    """The compiled API of a provider.

    Attributes:
        routes: its routes.
        readings: parsers of the requests that rules answer.
        generate: default implementations of a response manager's methods, by name without ``generate_`` and
            ``_response``.
        plain_rules: its rules without templates.
    """

    routes: Sequence[Route]
    readings: Sequence[Reading]
    generate: Mapping[str, Generate] = {}
    plain_rules: Sequence[PlainRules[Any]] = ()


def endpoint_kinds(apis: Iterable[Api]) -> Sequence[str]:
    """Return the kinds of endpoints of all routes, in order."""
    return [*dict.fromkeys(route.kind for api in apis for route in api.routes)]


@dataclass(frozen=True)
class Services:
    """The services that endpoints are built from, for one configuration.

    Attributes:
        config: the configuration; ``diagnostics`` collects its errors.
        fingerprint: the ``system_fingerprint`` of responses.
        tokenizers: the tokenizer of each model.
        profiles: latency and output by model and rule.
        policies: limits, faults and the queue.
        buffers: the memory budget of large responses.
        cache: the cache for what was seen before.
        hits: counts the uses of rules.
        store, response_log: store responses for all workers.
        manager: the response manager; None without one. ``progress`` counts its calls.
        previous: the responders of an earlier version of the configuration, by section.
        responders: the responders compiled so far, by section.
    """

    config: Config
    diagnostics: Diagnostics
    fingerprint: str
    tokenizers: TokenizerOf
    profiles: LatencyProfiles
    policies: Policies
    buffers: Buffers
    cache: Cache
    hits: RuleHits
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

    def compile_rules(self, section: RuleSection, choice_format: ChoiceFormat, heads: AnswerHeads) -> Responder:
        """Compile the rules of a section, with a choice format and response heads."""
        before = self.previous.get(section)
        form = Format(choice_format, self.fingerprint, self.profiles.per_chunk)
        rules = RuleSet(self.config, section, form, self.diagnostics, None if before is None else before.rules)
        responder = Responder(self.config, rules, heads, self.profiles, self.policies, self.buffers, self.hits)
        self.responders[section] = responder
        return responder

    def managed(self, responder: Responder, endpoint: Any, generate: str) -> Endpoint:
        """Return an endpoint that calls the response manager's method ``generate``; without a manager, one that answers
        bodies seen before by their plans.
        """
        if self.manager is None:
            return planned(endpoint, responder, self.cache)
        dialect: Dialect = endpoint
        return ManagedCompletions(responder, dialect, getattr(self.manager, generate), self.progress)
