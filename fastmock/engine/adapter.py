"""Adapt answers to requests: tools, schemas, stop sequences, logprobs and length limits."""

from typing import Any

from fastmock.config.settings import Settings
from fastmock.core.completion import Answer, ChatRequest, TokenProb
from fastmock.engine.constraints import ConstraintApplier, count, unchanged
from fastmock.engine.length import Length, deduct_reasoning, length_of, with_length
from fastmock.engine.profiles import LatencyProfiles
from fastmock.engine.response_template import ResponseTemplate
from fastmock.engine.rule_set import RuleSet
from fastmock.rules.index import DEFAULT

_MOST_KEPT = 512  # adapted answers kept as templates
_KEPT_BYTES = 32 * 2**20  # total size of kept answers and their keys

Adapted = tuple[ResponseTemplate, list[Answer] | None]
"""A template, and the answers to render instead of its own."""


class AnswerAdapter:
    """Adapts the answers of a rule set's templates. Adapted answers are kept as templates."""

    def __init__(self, settings: Settings, rules: RuleSet, profiles: LatencyProfiles) -> None:
        """Adapt the answers of ``rules``; ``profiles`` generate text."""
        self._rules = rules
        self._profiles = profiles
        self._constraints = ConstraintApplier(settings)
        self._seed, self._obey_max_tokens = settings.seed, settings.obey_max_tokens
        self._kept: dict[tuple[ResponseTemplate, tuple[Any, ...]], ResponseTemplate] = {}
        self._kept_bytes = 0

    def adapt(self, chat: ChatRequest, template: ResponseTemplate) -> Adapted:
        """Apply the constraints of a request to a template's answers, its length limits last."""
        answers: list[Answer] | None = None
        if chat.details is not None and chat.details.constraints is not None:
            template, answers = self._constrain(chat, template)
        if not chat.sets_length:
            return template, answers
        return self._limit(chat, template, answers)

    def generates_for(self, chat: ChatRequest) -> bool:
        """Return whether a request that no rule matches demands a tool call or JSON, which is generated."""
        constraints = chat.constraints
        return constraints is not None and self._constraints.generates(chat, constraints)

    def probabilities(self, chat: ChatRequest, text: str) -> tuple[TokenProb, ...]:
        """Return the tokens of a text with the number of logprobs that the request asks for."""
        constraints = chat.constraints
        top = constraints.top_logprobs if constraints is not None else None
        return self._constraints.probabilities(chat, text, top or 0)

    def _constrain(self, chat: ChatRequest, template: ResponseTemplate) -> Adapted:
        """Apply the constraints on the form of an answer."""
        key = self._constraints.key(chat, template.prose) if template.text_only and not template.has_reasoning else None
        if key is None:
            return template, self._constrained(chat, template)
        if not key:
            return template, None
        kept = self._kept.get((template, key))
        if kept is None:
            answers = self._constrained(chat, template)
            if answers is None:  # the template's own answers fit
                return template, None
            kept = self._keep(template, key, template.with_answers(chat, answers), answers)
        return kept, None

    def _constrained(self, chat: ChatRequest, template: ResponseTemplate) -> list[Answer] | None:
        """Return adapted answers, or None if the template's own meet the constraints."""

        def fallback_text() -> str:
            default = self._rules.templates[DEFAULT]
            if default.generates:
                profile = self._profiles.profile(chat.model, self._rules.default, chat.request)
                self._profiles.generate_text(chat, profile)
            return default.answers(chat)[0].text or ""

        return self._constraints.apply(chat, template.answers(chat), template.repeats, fallback_text)

    def _limit(self, chat: ChatRequest, template: ResponseTemplate, answers: list[Answer] | None) -> Adapted:
        """Apply the length limits of the request."""
        if (
            (answers is None and template.generated_only)
            or self._is_short(chat, template, answers)
            or not self._obeys(chat)
        ):
            return template, answers
        length = length_of(chat)
        if length.most is not None and not template.has_reasoning:
            left = deduct_reasoning(chat, length.most)
            length = Length(left, min(length.least, left))
        key = None
        if answers is None and template.fixed is not None and not template.has_reasoning:
            tokens = template.tokens(chat)
            if tokens >= length.least and (length.most is None or tokens <= length.most):
                return template, None
            key = ("length", length, chat.tokenizer, chat.user_message if length.least > tokens else "")
            if (kept := self._kept.get((template, key))) is not None:
                return kept, None
        original = template.answers(chat) if answers is None else answers
        limited = [with_length(chat, answer, length, self._seed) for answer in original]
        if unchanged(original, limited):
            return template, answers
        if template.has_reasoning:
            count_reasoning(chat, limited)
        if key is not None and count(limited[0], chat.tokenizer) == limited[0].tokens:
            return self._keep(template, key, template.with_answers(chat, limited), limited), None
        return template, limited

    def _is_short(self, chat: ChatRequest, template: ResponseTemplate, answers: list[Answer] | None) -> bool:
        """Return whether an answer is certainly within the limit, as most are; saves 4 µs."""
        if chat.sets_least or chat.hidden_tokens or template.has_reasoning:
            return False
        most = chat.max_tokens
        if most is None:
            return True
        return (template.tokens(chat) if answers is None else sum(answer.tokens for answer in answers)) <= most

    def _obeys(self, chat: ChatRequest) -> bool:
        """Return whether the answers of the rule obey the length limits of a request."""
        own = self._rules.sources[chat.rule].obey_max_tokens
        return self._obey_max_tokens if own is None else own

    def _keep(
        self, template: ResponseTemplate, key: tuple[Any, ...], adapted: ResponseTemplate, answers: list[Answer]
    ) -> ResponseTemplate:
        """Keep the template of adapted answers."""
        self._kept_bytes += (size := _bytes_of(key, answers))
        if len(self._kept) >= _MOST_KEPT or self._kept_bytes > _KEPT_BYTES:
            self._kept.clear()
            self._kept_bytes = size
        self._kept[template, key] = adapted
        return adapted


def count_reasoning(chat: ChatRequest, answers: list[Answer]) -> None:
    """Count the reasoning of a rule's answers, instead of estimating it from the request's effort."""
    chat.add_details().reasoning_tokens = sum(chat.tokenizer.count(answer.reasoning or "") for answer in answers)


def _bytes_of(key: tuple[Any, ...], answers: list[Answer]) -> int:
    """Estimate the size of a kept answer: its texts exist several times, rendered and as chunks."""
    texts = sum(len(answer.text or "") + sum(len(call.arguments) for call in answer.calls) for answer in answers)
    return 4000 + sum(len(part) for part in key if isinstance(part, bytes | str)) + 10 * texts
