"""Parse a request without answering it: to explain the choice of its rule, or from the journal."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.http import Request
from fastmock.core.ids import unique
from fastmock.core.json import parse
from fastmock.core.provider import Provider, Providers
from fastmock.core.routing import OTHER, Router
from fastmock.engine.plain_rules import PlainRules
from fastmock.engine.rule_set import RuleSet
from fastmock.engine.services import Api
from fastmock.rules.explain import Verdict
from fastmock.rules.index import DEFAULT


class Readings:
    """The requests that rules answer, over all providers.

    Attributes:
        kinds: the kinds of their endpoints.
    """

    def __init__(self, apis: Mapping[Provider, Api], router: Router) -> None:
        self._router = router
        self._providers = Providers(apis)
        self._by_kind = {reading.kind: reading for api in apis.values() for reading in api.readings}
        # Later providers come first: their bodies have more distinctive keys than ``messages``.
        self._by_content = [reading for api in reversed(list(apis.values())) for reading in api.readings]
        plain = [rules for api in apis.values() for rules in api.plain_rules]
        self._plain_rules: dict[str, PlainRules[Any]] = {rules.section: rules for rules in plain}
        self._of_provider = {provider: api.readings[0] for provider, api in apis.items() if api.readings}
        self.kinds = frozenset(self._by_kind)

    def read(self, request: Request) -> ChatRequest:
        """Return a request in neutral form, however invalid it is."""
        return self.parse_recorded(request)[0]

    def rule_priority(self, request: Request) -> int | None:
        """Return the priority of the rule that matches a request; None if none does."""
        chat, rules = self.parse_recorded(request)
        if rules is not None:
            number = rules.index.pick(chat)
            return None if number == DEFAULT else rules.rules[number].priority
        plain = self._plain_rules.get(chat.endpoint)
        return None if plain is None else plain.priority_of(chat)

    def explain(self, body: str | bytes, headers: Mapping[str, str], path: str = "") -> Verdict:
        """Return the rule that answers a request for text, and the closest other rule.

        Without a ``path``, the kind of request is detected by its headers and body.

        Raises:
            ApiError: the request is invalid; with the message of its provider.
        """
        request = Request("POST", path, headers, body)
        try:
            return self._explain(request)
        except errors.ApiError as error:
            raise self._providers.find(request).words(error) from None

    def _explain(self, request: Request) -> Verdict:
        body = parse(request.body)
        request.provider = provider = self._providers.find(request)
        found = self._router.find(request.path) if request.path else None
        reading = None if found is None else self._by_kind.get(found[0].kind)
        if request.path and reading is None:
            raise errors.RouteNotFound(request.method, request.path)
        if reading is None:
            reading = self._of_provider.get(provider, self._by_content[-1])
            if provider is self._providers[0]:
                reading = next((one for one in self._by_content if one.fits(body)), reading)
        chat = reading.parse(body, unique(), **(found[1] if found else {}))
        chat.request = request
        return reading.responder.rules.explain(chat)

    def messages(self, request: Request) -> list[dict[str, Any]]:
        """Return the conversation of a recorded request as messages of a chat completion, also of an invalid request;
        empty if it has none.
        """
        found = self._router.find(request.path.rstrip("/"))
        reading = None if found is None else self._by_kind.get(found[0].kind)
        messages: Any = ()
        if reading is not None and request.method == "POST":
            with suppress(errors.ApiError, LookupError):
                messages = reading.messages(parse(request.body))
        return [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []

    def parse_recorded(self, request: Request) -> tuple[ChatRequest, RuleSet | None]:
        """Return a recorded request in parsed form, and the rules for its endpoint, if there are any.

        An invalid request is parsed as far as possible.
        """
        found = self._router.find(request.path.rstrip("/"))
        kind, params = (OTHER, {}) if found is None else (found[0].kind, found[1])
        request.provider = self._providers.find(request)
        reading = self._by_kind.get(kind)
        body: dict[str, Any] = {}
        with suppress(errors.ApiError):
            body = parse(request.body)
            if reading is not None and request.method == "POST":
                chat = reading.parse(body, unique(), **params)
                chat.request = request
                return chat, reading.responder.rules
        model = body.get("model")
        chat = ChatRequest("", body, model if isinstance(model, str) else "")
        chat.endpoint, chat.request, chat.stream = kind, request, body.get("stream") is True
        given = body.get("input")
        texts = given if isinstance(given, list) else [given]
        chat.user_message = "\n".join(text for text in texts if isinstance(text, str))
        return chat, None
