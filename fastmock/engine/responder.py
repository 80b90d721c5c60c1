"""The rules of one endpoint, compiled: which answer a request gets, and that answer made ready."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import takewhile
from typing import Any

from fastmock.config.config import Config
from fastmock.config.overlay import LocatedRule, RuleSection
from fastmock.content.template import TemplateError
from fastmock.core import errors, headers
from fastmock.core.diagnostics import Diagnostics
from fastmock.core.documents import DocumentError
from fastmock.core.http import Answer, ChatRequest, LargeReply, Reply, Stream, TokenProb
from fastmock.core.problems import SettingPath
from fastmock.engine.buffers import Buffers
from fastmock.engine.constraints import ConstraintApplier, are_the_same, count
from fastmock.engine.length import Length, length_of, reason_within, with_length
from fastmock.engine.middleware import Policies
from fastmock.engine.profiles import LatencyProfiles
from fastmock.engine.response_template import ChoiceFormat, ChoiceFormatError, Rendering, ResponseTemplate, parts_of
from fastmock.latency.heartbeat import beat
from fastmock.rules.explain import Explainer, Verdict
from fastmock.rules.index import DEFAULT, Index, LayeredIndex, index_of
from fastmock.rules.match import Match
from fastmock.rules.matchers import iter_nested
from fastmock.rules.settings import EndpointRules, Pattern, ReplySpec, TimedReplySpec
from fastmock.rules.shadowed import hidden
from fastmock.rules.validate import check_regexes

_MOST_MADE = 512  # answers that were made up to demands and are kept ready
_MADE_BYTES = 32 * 2**20  # that they take together with what tells them apart
_LARGE_STREAM = 2000  # steps of a stream, which together take some 500 kB
_LONGEST_HEADER = 500  # characters of the header that explains
_BROKEN = errors.InternalError()
_CONVERSATION = ("turn", "messages", "last_role", "tool_result")


def read_source(
    config: Config, source: ReplySpec, path: SettingPath, diagnostics: Diagnostics
) -> tuple[Any, str, SettingPath]:
    """Return a source's document, the file it stands in and its path there; the document is None on an error."""
    if source.response_file is None:
        return source.response, "", (*path, "response")
    try:
        document, file = config.document(source.response_file)
    except DocumentError as error:
        diagnostics.error((*path, "response_file"), f"{config.find(source.response_file)} {error}")
        return None, "", path
    return document, str(file), ()


def unreachable_rules(
    matches: Sequence[Match], names: Sequence[str], only: Iterable[int] | None = None
) -> Iterator[str]:
    """Say which of some rules can never win, and why; it takes time with the square of their number.

    ``only`` are the numbers of those that are looked at; None for all.
    """
    for number, earlier in hidden(matches, only):
        why = "its conditions exclude each other" if earlier == number else f"{names[earlier]} comes before it"
        yield f"{names[number]} can never win: {why}"


def _repeats(source: TimedReplySpec) -> bool:
    """Return whether a rule knows the conversation, so that it may make its calls again after their results."""
    if not isinstance(source, Pattern):
        return False
    known = (getattr(match, name) for match, _ in iter_nested(source.match, ()) for name in _CONVERSATION)
    return source.responses is not None or any(value is not None for value in known)


class Responder:
    """What one kind of completions says to whom.

    Attributes:
        section: the name of the kind in the configuration.
        rules: the patterns, in the order in which they are tried.
        default: what is said when none of them matches.
        names: what each is called, and the default last.
        per_chunk: how many words a stream sends at once.
    """

    def __init__(
        self,
        config: Config,
        section: RuleSection,
        shape: ChoiceFormat,
        answer_heads: headers.AnswerHeads,
        fingerprint: str,
        profiles: LatencyProfiles,
        policies: Policies,
        diagnostics: Diagnostics,
        buffers: Buffers,
        previous: "Responder | None" = None,
    ) -> None:
        """Compile the patterns and the default of ``responses.<section>``; what is wrong goes to ``diagnostics``.

        ``previous`` was compiled for a configuration of which this one is a change: what both have is taken over.
        """
        settings = config.settings
        answers: EndpointRules = getattr(settings.responses, section)
        self.section = section
        self._config, self._shape = config, shape
        self._fingerprint = fingerprint
        self._buffers = buffers
        self._profiles = profiles
        self.per_chunk = profiles.per_chunk
        self._fitter = ConstraintApplier(settings)
        self._compiled: dict[str, ResponseTemplate | None] = {}
        if previous is not None and not previous._can_be_reused_by(config, fingerprint):
            previous = None
        self._known = {} if previous is None else previous._known_scripts()
        self._made: dict[tuple[ResponseTemplate, tuple[Any, ...]], ResponseTemplate] = {}
        self._made_bytes = 0
        at: SettingPath = ("responses", section)
        self._placed = placed = config.rules(section)
        # What stands in the same order at the end is taken over at once: 1 ms instead of 3 at 1,000 rules.
        same = 0 if previous is None else previous._same_at_end(placed, self.per_chunk)
        begin = len(placed) - same
        matches: list[Match] = []
        scripts: list[ResponseTemplate | None] = []
        turns: dict[int, list[ResponseTemplate | None]] = {}
        for _, path, pattern in placed[:begin]:
            assert isinstance(pattern, Pattern)  # noqa: S101 - moderations are no section here
            matches.append(pattern.match)
            if id(pattern) not in self._known:
                check_regexes(pattern.match, (*path, "match"), diagnostics)
            if pattern.responses is None:
                scripts.append(self._script(pattern, path, diagnostics, _repeats(pattern)))
            else:
                sayings = enumerate(pattern.responses)
                said = [self._script(one, (*path, "responses", turn), diagnostics, True) for turn, one in sayings]
                turns[len(scripts)] = said
                scripts.append(said[0])
        self.rules = [one.pattern for one in placed[:begin] if isinstance(one.pattern, Pattern)]
        self.names = [one.name for one in placed[:begin]]
        if previous is not None and same:
            first = len(previous.rules) - same
            matches += previous._matches[first:]
            scripts += previous._scripts[first:-1]
            turns |= {rule - first + begin: list(said) for rule, said in previous._turns.items() if rule >= first}
            self.rules += previous.rules[first:]
            self.names += previous.names[first:-1]
        self._matches: list[Match] = matches
        scripts.append(self._script(answers.default, (*at, "default"), diagnostics))  # index.DEFAULT, -1, is the last
        self._known = {}
        if not diagnostics.problems:
            known = previous._index if previous else None
            self._index: Index | LayeredIndex = index_of(matches, self.names, known)
            self._scripts: list[ResponseTemplate] = [script for script in scripts if script]
            self._turns: dict[int, list[ResponseTemplate]] = {
                rule: [script for script in said if script] for rule, said in turns.items()
            }
            made_up = previous._made_up if previous else self.script_of(shape.document(ReplySpec()))
            self._made_up: ResponseTemplate = made_up.for_chunks_of(self.per_chunk)
        self.names.append(f"{section}.default")
        self.default = answers.default
        self._sources = [*self.rules, self.default]
        self._canned = "default" not in answers.model_fields_set
        several = (script for said in turns.values() for script in said)
        self._shapes = profiles.shapes or any(script is not None and script.makes for script in (*scripts, *several))
        self._listed = settings.models.served()
        self._heads = answer_heads
        self._streaming = settings.streaming.enabled
        self._padded = settings.streaming.obfuscation
        self._before = profiles.before()
        self._noted = settings.server.log_requests or settings.metrics.any or settings.journal.enabled
        self._explains = settings.server.control_headers
        self._policies = policies
        self._limits = policies.limits
        self._seed, self._obey_max_tokens = settings.seed, settings.obey_max_tokens
        if self._explains or policies.more_than_limits:
            self.send = self._send_watched  # type: ignore[method-assign]
        elif policies.any:
            self.send = self._send_limited  # type: ignore[method-assign]
        if profiles.beats:
            self._send = self.send
            self.send = self._send_beating  # type: ignore[method-assign]

    @cached_property
    def _explainer(self) -> Explainer:
        index = self._index if isinstance(self._index, Index) else Index(self._matches, self.names)
        return Explainer(index, self._matches, self.names)

    def unreachable_rules(self) -> Iterator[str]:
        """Say which patterns can never win, and why; it takes time with the square of their number."""
        yield from unreachable_rules(self._matches, self.names)

    def _can_be_reused_by(self, config: Config, fingerprint: str) -> bool:
        """Return whether a script means the same under another configuration."""
        return fingerprint == self._fingerprint and config.reads_the_same_files(self._config)

    def _known_scripts(self) -> dict[int, ResponseTemplate]:
        """Return the scripts by the identities of their sources."""
        known = dict(zip(map(id, self._sources), self._scripts, strict=True))
        for rule, said in self._turns.items():
            known.update(zip(map(id, self.rules[rule].responses or ()), said, strict=True))
        return known

    def _same_at_end(self, placed: Sequence[LocatedRule], per_chunk: int) -> int:
        """Return how many of the last rules are the same in another list of rules."""
        if per_chunk != self.per_chunk:
            return 0
        pairs = zip(reversed(self._placed), reversed(placed), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], pairs))

    def _script(
        self, source: ReplySpec, path: SettingPath, diagnostics: Diagnostics, repeats: bool = False
    ) -> ResponseTemplate | None:
        """Compile a source, or take it over: 3 ms instead of 560 at 1,000 rules."""
        if (known := self._known.get(id(source))) is not None:
            return known.for_chunks_of(self.per_chunk)
        return self._script_of(source, path, diagnostics, repeats)

    def _script_of(
        self, source: ReplySpec, path: SettingPath, diagnostics: Diagnostics, repeats: bool
    ) -> ResponseTemplate | None:
        """Compile what is said; equal ones, of which there may be thousands, once."""
        said = source.model_dump_json(include=set(ReplySpec.model_fields), exclude_none=True)
        key = f"{repeats} {said}"
        if key not in self._compiled:
            self._compiled[key] = self._compile(source, path, diagnostics, repeats)
        return self._compiled[key]

    def _compile(
        self, source: ReplySpec, path: SettingPath, diagnostics: Diagnostics, repeats: bool
    ) -> ResponseTemplate | None:
        document: Any = None
        file, inside = "", path
        written = source.response_file is None and source.response is None
        if not written:
            document, file, inside = read_source(self._config, source, path, diagnostics)
            if document is None and (file or source.response is None):
                if file:
                    diagnostics.error((), "is empty", file)
                return None
        try:
            return self.script_of(self._shape.document(source) if written else document, repeats)
        except ChoiceFormatError as fault:
            diagnostics.error((*inside, *fault.path), str(fault), file)
        except TemplateError as error:
            for place, message in error.faults:
                diagnostics.error((*inside, *_written_at(place)) if written else (*inside, *place), message, file)
        return None

    def answer(self, chat: ChatRequest, file: str | None = None) -> Reply | Stream:
        """Choose what is said to ``chat``, by the rules or by a response file, and render it."""
        script = self._script_for(chat, file)
        if (chat.special and chat.constraints is not None) or chat.sets_length:
            return self.send(chat, *self._met(chat, script))
        return self.send(chat, script)

    def choose(self, chat: ChatRequest, file: str | None = None) -> tuple[ResponseTemplate, list[Answer] | None]:
        """Return the script that says what is said to ``chat``, and the answers that it says instead of its own."""
        return self._met(chat, self._script_for(chat, file))

    def _met(self, chat: ChatRequest, script: ResponseTemplate) -> tuple[ResponseTemplate, list[Answer] | None]:
        """Meet what the request demands of its answer, its length last."""
        answers: list[Answer] | None = None
        if chat.special and chat.constraints is not None:
            script, answers = self._formed(chat, script)
        if not chat.sets_length:
            return script, answers
        return self._measured(chat, script, answers)

    def _measured(
        self, chat: ChatRequest, script: ResponseTemplate, answers: list[Answer] | None
    ) -> tuple[ResponseTemplate, list[Answer] | None]:
        """Give an answer the length that the request sets; what was cut before is ready."""
        if (answers is None and script.only_made) or self._is_short(chat, script, answers) or not self._obeys(chat):
            return script, answers
        length = length_of(chat)
        if length.most is not None and not script.thinks:
            left = reason_within(chat, length.most)
            length = Length(left, min(length.least, left))
        key = None
        if answers is None and script.fixed is not None and not script.thinks:
            tokens = script.tokens(chat)
            if tokens >= length.least and (length.most is None or tokens <= length.most):
                return script, None
            key = ("length", length, chat.tokenizer, chat.user_message if length.least > tokens else "")
            if (made := self._made.get((script, key))) is not None:
                return made, None
        said = script.answers(chat) if answers is None else answers
        limited = [with_length(chat, answer, length, self._seed) for answer in said]
        if are_the_same(said, limited):
            return script, answers
        if script.thinks:
            self._think(chat, limited)
        if key is not None and count(limited[0], chat.tokenizer) == limited[0].tokens:
            return self._keep(script, key, script.instead(chat, limited), limited), None
        return script, limited

    def _is_short(self, chat: ChatRequest, script: ResponseTemplate, answers: list[Answer] | None) -> bool:
        """Return whether it is sure that an answer is within the limit, as most are; that costs 4 µs less."""
        if chat.sets_least or chat.unsaid_tokens or script.thinks:
            return False
        most = chat.max_tokens
        if most is None:
            return True
        return (script.tokens(chat) if answers is None else sum(answer.tokens for answer in answers)) <= most

    def _obeys(self, chat: ChatRequest) -> bool:
        """Return whether what is said is as long as the request wants."""
        own = self._sources[chat.rule].obey_max_tokens
        return self._obey_max_tokens if own is None else own

    def _keep(
        self, script: ResponseTemplate, key: tuple[Any, ...], made: ResponseTemplate, answers: list[Answer]
    ) -> ResponseTemplate:
        """Keep an answer ready that was made for what a request demands."""
        self._made_bytes += (size := _bytes_of(key, answers))
        if len(self._made) >= _MOST_MADE or self._made_bytes > _MADE_BYTES:
            self._made.clear()
            self._made_bytes = size
        self._made[script, key] = made
        return made

    def _formed(self, chat: ChatRequest, script: ResponseTemplate) -> tuple[ResponseTemplate, list[Answer] | None]:
        """Meet what the request demands of the form of its answer; what was made up before is ready."""
        key = self._fitter.key(chat, script.prose) if script.text_only and not script.thinks else None
        if key is None:
            return script, self._fitted(chat, script)
        if not key:
            return script, None
        made = self._made.get((script, key))
        if made is None:
            answers = self._fitted(chat, script)
            if answers is None:  # they are what the script says
                return script, None
            made = self._keep(script, key, script.instead(chat, answers), answers)
        return made, None

    def said(self, chat: ChatRequest, file: str | None = None) -> tuple[ResponseTemplate, list[Answer]]:
        """Return what is said to ``chat``, and the script that renders it."""
        script, answers = self.choose(chat, file)
        return script, script.answers(chat) if answers is None else answers

    def _script_for(self, chat: ChatRequest, file: str | None) -> ResponseTemplate:
        """Return the script of the rule that wins, or of a response file."""
        if self._listed is not None and chat.model not in self._listed:
            raise errors.ModelNotFound(chat.model)
        if self._before:
            self._look(chat)
        chat.rule = self._index.pick(chat)
        script = self._scripts[chat.rule] if file is None else self._from_file(file)
        if self._turns and file is None and (turns := self._turns.get(chat.rule)):
            script = turns[min(chat.turn, len(turns)) - 1]
        if self._shapes or chat.sets_least:
            script = self._shaped(chat, script)
        if chat.choices != 1:
            script = script.for_choices(chat.choices)
        if script.thinks:
            chat.unsaid_tokens -= chat.reasoning_tokens
            self._think(chat, script.answers(chat))
        return script

    def _think(self, chat: ChatRequest, answers: list[Answer]) -> None:
        """Count what a rule says is thought, instead of what the request's effort stands for."""
        chat.special = True
        chat.reasoning_tokens = sum(chat.tokenizer.count(answer.reasoning or "") for answer in answers)

    def _look(self, chat: ChatRequest) -> None:
        for look in self._before:
            look(chat)

    def _fitted(self, chat: ChatRequest, script: ResponseTemplate) -> list[Answer] | None:
        """Return what is said where the request demands something else than what the script says."""

        def otherwise() -> str:
            default = self._scripts[DEFAULT]
            if default.makes:
                self._profiles.make_up(chat, self._profiles.profile(chat.model, self.default, chat.request))
            return default.answers(chat)[0].text or ""

        return self._fitter.fit(chat, script.answers(chat), script.repeats, otherwise)

    def _shaped(self, chat: ChatRequest, script: ResponseTemplate) -> ResponseTemplate:
        """Return what is said where output may have to be made up, and make it up."""
        profile = self._profiles.profile(chat.model, self._sources[chat.rule], chat.request)
        is_canned = self._canned and chat.rule == DEFAULT
        wants_length = is_canned and chat.sets_least
        if profile.tokens is not None or (is_canned and profile.configured) or wants_length:
            script = self._made_up
        if script.makes:
            self._profiles.make_up(chat, profile)
        return script

    def probabilities(self, chat: ChatRequest, text: str) -> tuple[TokenProb, ...]:
        """Return the tokens of a text with their probabilities, as the request wants them."""
        top = chat.constraints.top_logprobs if chat.constraints is not None else None
        return self._fitter.probabilities(chat, text, top or 0)

    def check_model(self, chat: ChatRequest) -> None:
        """Raise a 404 for a model that is not served."""
        if self._listed is not None and chat.model not in self._listed:
            raise errors.ModelNotFound(chat.model)

    def file(self, chat: ChatRequest) -> str | None:
        """Return the response file of the rule that wins for ``chat``, as the configuration names it; None without."""
        self.check_model(chat)
        self._look(chat)
        chat.rule = self._index.pick(chat)
        source: ReplySpec = self._sources[chat.rule]
        if isinstance(source, Pattern) and source.responses is not None:
            source = source.responses[min(chat.turn, len(source.responses)) - 1]
        return source.response_file

    def script_of(self, document: Any, repeats: bool = False) -> ResponseTemplate:
        """Compile a document; raise ShapeError or TemplateError where it is wrong."""
        if not isinstance(document, dict):
            raise ChoiceFormatError((), "must hold an object")
        whole = self._shape.whole(document, self._fingerprint)
        return ResponseTemplate(whole, self._shape, self.per_chunk, repeats)

    def explain(self, chat: ChatRequest) -> Verdict:
        """Say which rule wins for ``chat``, which comes nearest, and what differs."""
        return self._explainer.explain(chat)

    def _from_file(self, file: str) -> ResponseTemplate:
        """Compile a response file that a manager names; once, like all others."""
        diagnostics = Diagnostics(self._config)
        script = self._script(TimedReplySpec(response_file=file), (), diagnostics)
        if script is None:
            raise errors.ManagerFailed("; ".join(map(str, diagnostics.problems)) or f"{file} is wrong")
        return script

    def send(
        self,
        chat: ChatRequest,
        script: Rendering,
        answers: list[Answer] | None = None,
        kind: headers.AnswerHeads | None = None,
    ) -> Reply | Stream:
        """Render what is said, by the script or else ``answers``: whole, or as the stream that was asked for.

        ``kind`` are the heads of the answers, where they are not those of chat.
        """
        kind = kind or self._heads
        timing = None
        if self._shapes:
            timing = self._profiles.profile(chat.model, self._sources[chat.rule], chat.request).timing
        if not chat.stream:
            reply = Reply(kind.whole, f"req_{chat.unique}", script.whole(chat, answers))
            if self._noted:
                reply.chat, reply.rule = chat, self.names[chat.rule]
            if timing and not timing.instant_whole:
                fresh = chat.prompt_tokens - chat.cached_tokens
                self._profiles.delay(reply, timing, script.length(chat, answers), fresh, chat.request)
            return reply
        if not self._streaming:
            raise errors.StreamingDisabled()
        rendered = script.render_stream(chat, answers, self._padded if chat.obfuscation is None else chat.obfuscation)
        is_large = len(rendered.steps) > _LARGE_STREAM
        if is_large and not self._buffers.take_for(rendered.source, rendered.size()):
            raise errors.BuffersFull()
        if not timing:
            if is_large:
                reply = LargeReply(kind.events, f"req_{chat.unique}", rendered.length(), 0, partial(parts_of, rendered))
            else:
                reply = Reply(kind.events, f"req_{chat.unique}", rendered.all())
            if self._noted:
                reply.chat, reply.rule = chat, self.names[chat.rule]
            return reply
        fresh = chat.prompt_tokens - chat.cached_tokens
        due_times = self._profiles.spread(rendered.steps, timing, fresh, chat.request)
        request_id = f"req_{chat.unique}"
        failed = partial(kind.error, _BROKEN, request_id)
        stream = Stream(kind.events, request_id, due_times, rendered.cut, len(rendered.steps), failed)
        if self._noted:
            stream.chat, stream.rule, stream.tokens = chat, self.names[chat.rule], rendered.steps
        return stream

    def _send_watched(
        self,
        chat: ChatRequest,
        script: Rendering,
        answers: list[Answer] | None = None,
        kind: headers.AnswerHeads | None = None,
    ) -> Reply | Stream:
        """Render, explain where that is wanted, and put the policies around it."""
        answer = Responder.send(self, chat, script, answers, kind)
        if self._explains:
            self._explain(chat, answer)
        if chat.request is None or not self._policies.any:  # what a response manager has said to it is not sent yet
            return answer
        return self._policies.put(chat, answer, self.names[chat.rule], (kind or self._heads).error)

    def _send_limited(
        self,
        chat: ChatRequest,
        script: Rendering,
        answers: list[Answer] | None = None,
        kind: headers.AnswerHeads | None = None,
    ) -> Reply | Stream:
        """Do the same where there are but limits; fewer calls save 1 µs."""
        answer = Responder.send(self, chat, script, answers, kind)
        if chat.request is not None:
            self._limits.take(chat, answer)
        return answer

    def _send_beating(
        self,
        chat: ChatRequest,
        script: Rendering,
        answers: list[Answer] | None = None,
        kind: headers.AnswerHeads | None = None,
    ) -> Reply | Stream:
        """Do the same, with heartbeats while a stream waits."""
        answer = self._send(chat, script, answers, kind)
        if isinstance(answer, Stream):
            profile = self._profiles.profile(chat.model, self._sources[chat.rule], chat.request)
            if profile.heartbeat is not None:
                framing = answer.head.framing
                assert framing is not None  # noqa: S101 - it is a stream
                form = (kind or self._heads).ping if profile.pings else framing.heartbeat
                beat(answer, profile.heartbeat, form)
        return answer

    def _explain(self, chat: ChatRequest, answer: Reply | Stream) -> None:
        """Say in a header which rule won, which came nearest, and what differed."""
        said = str(self.explain(chat))
        shown = said.encode("ascii", "backslashreplace").decode()
        shown = "".join(char if char.isprintable() else " " for char in shown)
        answer.more = (("x-fastmock-rule", shown[:_LONGEST_HEADER]),)


def _bytes_of(key: tuple[Any, ...], answers: list[Answer]) -> int:
    """Estimate what an answer that is kept ready takes: its texts are there several times, rendered and in pieces."""
    texts = sum(len(answer.text or "") + sum(len(call.arguments) for call in answer.calls) for answer in answers)
    return 4000 + sum(len(part) for part in key if isinstance(part, bytes | str)) + 10 * texts


def _written_at(place: SettingPath) -> SettingPath:
    """Return where in a saying that stands which is at ``place`` of the document made of it."""
    names = ("content", "text", "refusal", "tool_calls")
    at = next((number for number, part in enumerate(place) if part in names), 0)
    if place[at] == "tool_calls":
        return ("tool_calls", place[at + 1], *(part for part in place[at + 2 :] if part != "function"))
    return ("refusal",) if place[at] == "refusal" else ("content",)
