"""The compiled rules of one section of the configuration, and the templates of their replies."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import takewhile
from typing import NamedTuple

from fastmock.config.config import Config
from fastmock.config.overlay import LocatedRule, RuleSection
from fastmock.core.completion import ChatRequest
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.problems import SettingPath
from fastmock.core.section import SettingsModel
from fastmock.engine.response_template import ChoiceFormat, ResponseTemplate
from fastmock.engine.template_compiler import TemplateCompiler
from fastmock.rules.explain import Explainer, Verdict
from fastmock.rules.index import DEFAULT, Index, index_of
from fastmock.rules.match import CONDITIONS, Match, iter_nested
from fastmock.rules.regex import readable
from fastmock.rules.settings import EndpointRules, Pattern, ReplySpec, TimedReplySpec
from fastmock.rules.shadowed import hidden
from fastmock.rules.validate import check_regexes
from fastmock.shared.rule_hits import TO_HITS, RuleHits

_NO_KEY = 1 << 64
_BEYOND_BODY = [name for name, condition in CONDITIONS.items() if not condition.in_body]
_CONVERSATION = [name for name, condition in CONDITIONS.items() if condition.on_conversation]


def unreachable_rules(
    matches: Sequence[Match], names: Sequence[str], only: Iterable[int] | None = None
) -> Iterator[str]:
    """Yield the rules that can never win, and why; takes time quadratic in their number.

    ``only``: numbers of the rules to check; None for all.
    """
    for number, earlier in hidden(matches, only):
        why = "its conditions exclude each other" if earlier == number else f"{names[earlier]} comes before it"
        yield f"{names[number]} can never win: {why}"


def rule_key(section: str, name: str, rule: SettingsModel | None) -> int:
    """Return the key of a rule in ``shared.rule_hits``; it stays the same as long as the rule and its name do.

    ``rule``: the rule; None for the default.
    """
    text = f"{section} {name} {'' if rule is None else rule.model_dump_json()}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") or 1


def counter(rules: int, hits: RuleHits, key_of: Callable[[int], int]) -> Callable[[int], None]:
    """Return a function that counts a use of the rule with a number; takes 0.2 µs.

    Args:
        rules: the number of rules; the last one has the number -1 too.
        hits: counts the uses.
        key_of: returns the key of a rule.
    """
    share, place_of = hits.share, hits.place
    keys, places = [_NO_KEY] * rules, [0] * rules

    def count(rule: int) -> None:
        numbers = share.numbers
        place = places[rule]
        if numbers[place] != keys[rule]:  # it is new here, or another rule has taken its place
            keys[rule] = key_of(rule)
            place = places[rule] = place_of(keys[rule])
        numbers[share.row + place + TO_HITS] += 1

    return count


class Format(NamedTuple):
    """The form of a section's responses.

    Attributes:
        choices: the format of the choices.
        fingerprint: their ``system_fingerprint``.
        per_chunk: tokens of a chunk of a stream.
    """

    choices: ChoiceFormat
    fingerprint: str
    per_chunk: int


class RuleSet:
    """The rules of one section, compiled.

    Attributes:
        section: the name of the section.
        rules: the rules, in the order in which they are tried.
        default: the reply if no rule matches; ``has_default``: whether the configuration sets it.
        names: the names of the rules, the default's last.
        sources: the rules, and the default last.
        templates: the template of each of ``sources``; for a rule with replies by turn, that of the first turn.
        turns: all templates of rules with replies by turn, by rule number.
        index: finds the rule that wins.
        generated: the template of generated text.
    """

    def __init__(
        self,
        config: Config,
        section: RuleSection,
        form: Format,
        diagnostics: Diagnostics,
        previous: "RuleSet | None" = None,
    ) -> None:
        """Compile the rules and the default of ``responses.<section>``; errors go to ``diagnostics``.

        ``previous``: the rule set of an earlier version of the configuration, whose equal parts are reused.
        """
        answers: EndpointRules = getattr(config.settings.responses, section)
        self.section = section
        self._config, self._form = config, form
        if previous is not None and not previous._can_be_reused_for(config, form):
            previous = None
        known = {} if previous is None else previous._templates_by_source()
        compiler = self.compiler = TemplateCompiler(config, form.choices, form.fingerprint, form.per_chunk, known)
        self._placed = placed = config.rules(section)
        # Equal rules at the end are reused together: 1 ms instead of 3 at 1,000 rules.
        same = 0 if previous is None else previous._same_at_end(placed, form.per_chunk)
        fresh = placed[: len(placed) - same]
        self.rules = [one.pattern for one in fresh if isinstance(one.pattern, Pattern)]
        self.names = [one.name for one in fresh]
        self.matches = [rule.match for rule in self.rules]
        self.turns: dict[int, list[ResponseTemplate]] = {}
        templates = [
            self._compile(number, rule, one.path, known, diagnostics)
            for number, (rule, one) in enumerate(zip(self.rules, fresh, strict=True))
        ]
        if previous is not None and same:
            templates += self._take_over(previous, same)
        default: SettingPath = ("responses", section, "default")
        templates.append(compiler.compile(answers.default, default, diagnostics))  # index.DEFAULT, -1, is the last
        compiler.forget_known()
        self.names.append(f"{section}.default")
        self.default, self.has_default = answers.default, "default" in answers.model_fields_set
        self.sources: list[TimedReplySpec] = [*self.rules, self.default]
        self.templates = [template for template in templates if template is not None]
        if diagnostics.problems:  # the App will not be used
            self.index = index_of([], [], None)
            return
        self.index = index_of(self.matches, self.names, previous.index if previous else None)
        generated: ResponseTemplate = previous.generated if previous else compiler.generated()
        self.generated: ResponseTemplate = generated.for_chunks_of(form.per_chunk)

    def _compile(
        self,
        number: int,
        rule: Pattern,
        path: SettingPath,
        known: "dict[int, ResponseTemplate]",
        diagnostics: Diagnostics,
    ) -> ResponseTemplate | None:
        """Compile a rule; return the template of its reply, or of its first turn."""
        if id(rule) not in known:
            check_regexes(rule.match, (*path, "match"), diagnostics)
        if rule.responses is None:
            return self.compiler.compile(rule, path, diagnostics, _repeats(rule))
        turns = [
            self.compiler.compile(one, (*path, "responses", turn), diagnostics, True)
            for turn, one in enumerate(rule.responses)
        ]
        self.turns[number] = [template for template in turns if template is not None]
        return turns[0]

    def _take_over(self, previous: "RuleSet", same: int) -> list[ResponseTemplate]:
        """Reuse the last rules of another rule set; return their templates."""
        first, begin = len(previous.rules) - same, len(self.rules)
        self.turns |= {rule - first + begin: turns for rule, turns in previous.turns.items() if rule >= first}
        self.rules += previous.rules[first:]
        self.names += previous.names[first:-1]
        self.matches += previous.matches[first:]
        return previous.templates[first:-1]

    def _can_be_reused_for(self, config: Config, form: Format) -> bool:
        """Return whether the templates are valid for another configuration."""
        return form.fingerprint == self._form.fingerprint and config.reads_the_same_files(self._config)

    def _templates_by_source(self) -> dict[int, ResponseTemplate]:
        """Return the templates by the identity of their replies."""
        known = dict(zip(map(id, self.sources), self.templates, strict=True))
        for rule, turns in self.turns.items():
            known.update(zip(map(id, self.rules[rule].responses or ()), turns, strict=True))
        return known

    def _same_at_end(self, placed: Sequence[LocatedRule], per_chunk: int) -> int:
        """Return the number of last rules that are the same objects in another list of rules."""
        if per_chunk != self._form.per_chunk:
            return 0
        pairs = zip(reversed(self._placed), reversed(placed), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], pairs))

    def response_file(self, chat: ChatRequest) -> str | None:
        """Return the response file of the winning rule, as written in the configuration."""
        source: ReplySpec = self.sources[chat.rule]
        if isinstance(source, Pattern) and source.responses is not None:
            source = source.responses[min(chat.turn, len(source.responses)) - 1]
        return source.response_file

    def counter(self, hits: RuleHits) -> Callable[[int], None]:
        """Return a function that counts a use of the rule with a number."""
        return counter(len(self.names), hits, self.key)

    def key(self, rule: int) -> int:
        """Return the key of a rule in ``shared.rule_hits``."""
        return rule_key(self.section, self.names[rule], self.sources[rule] if rule != DEFAULT else None)

    @property
    def generates(self) -> bool:
        """Whether any template contains generated text."""
        return any(one.generates for one in self.templates) or any(
            one.generates for turns in self.turns.values() for one in turns
        )

    @cached_property
    def examines_more_than_bodies(self) -> bool:
        """Whether a rule examines headers or the session, or has a regular expression with a time limit."""
        return any(
            any(getattr(match, name) is not None for name in _BEYOND_BODY)
            or (match.content_regex is not None and readable(match.content_regex)[1])
            for rule in self.matches
            for match, _ in iter_nested(rule, ())
        )

    @cached_property
    def _explainer(self) -> Explainer:
        index = self.index if isinstance(self.index, Index) else Index(self.matches, self.names)
        return Explainer(index, self.matches, self.names)

    def explain(self, chat: ChatRequest) -> Verdict:
        """Return the rule that wins for ``chat``, the closest other rule, and how they differ."""
        return self._explainer.explain(chat)

    def unreachable_rules(self) -> Iterator[str]:
        """Yield the rules that can never win, and why; takes time quadratic in their number."""
        yield from unreachable_rules(self.matches, self.names)


def _repeats(rule: Pattern) -> bool:
    """Return whether a rule has a condition on the conversation, so it may repeat its calls after their results."""
    known = (getattr(match, name) for match, _ in iter_nested(rule.match, ()) for name in _CONVERSATION)
    return any(value is not None for value in known)
