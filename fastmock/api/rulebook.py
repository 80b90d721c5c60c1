"""The rules of one endpoint, compiled: which answer a request gets, and that answer made ready."""

from collections.abc import Callable, Iterator
from typing import Any

from fastmock.api import checks, errors, heads
from fastmock.api.script import OUTPUT, Document, Script, Shape, ShapeError
from fastmock.api.traffic import Traffic
from fastmock.config.documents import DocumentError
from fastmock.config.load import Config, SettingPath
from fastmock.config.model import Answers, Source
from fastmock.config.problems import Problem, dotted
from fastmock.content.template import TemplateError
from fastmock.rules.hidden import hidden
from fastmock.rules.index import DEFAULT, Index
from fastmock.rules.regex import PatternError, readable
from fastmock.wire import Ask, Reply, Stream


class Findings:
    """What compiling turned up: errors, all of them, and warnings."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.problems: list[Problem] = []
        self.warnings: list[str] = list(config.warnings)

    def error(self, path: SettingPath, message: str, file: str = "") -> None:
        """Note an error at ``path`` of the configuration, or of ``file``."""
        self.problems.append(Problem(file or self._config.where(path), dotted(path), message))

    def warn(self, path: SettingPath, message: str) -> None:
        """Note something that works, but maybe not as meant."""
        self.warnings.append(str(Problem(self._config.where(path), dotted(path), message)))


def read_source(config: Config, source: Source, path: SettingPath, findings: Findings) -> tuple[Any, str, SettingPath]:
    """Return a source's document, the file it stands in and its path there; the document is None on an error."""
    if source.response_file is None:
        return source.response, "", (*path, "response")
    try:
        document, file = config.document(source.response_file)
    except DocumentError as error:
        findings.error((*path, "response_file"), f"{config.find(source.response_file)} {error}")
        return None, "", path
    return document, str(file), ()


def _check_regex(pattern: str | None, path: SettingPath, findings: Findings) -> None:
    if pattern is None:
        return
    try:
        _, slow = readable(pattern)
    except PatternError as error:
        findings.error(path, str(error))
    else:
        if slow:
            findings.warn(path, "needs what RE2 lacks, and is searched for by Python's slower 're'")


class Rulebook:
    """What one kind of completions says to whom.

    Attributes:
        section: the name of the kind in the configuration.
        rules: the patterns, in the order in which they are tried.
        default: what is said when none of them matches.
        names: what each is called, and the default last.
    """

    def __init__(
        self,
        config: Config,
        section: str,
        shape: Shape,
        document_of: Callable[[str], Document],
        made: heads.Heads,
        fingerprint: str,
        traffic: Traffic,
        findings: Findings,
    ) -> None:
        """Compile the patterns and the default of ``responses.<section>``; what is wrong goes to ``findings``."""
        settings = config.settings
        answers: Answers = getattr(settings.responses, section)
        self.section = section
        self._config, self._shape, self._document_of = config, shape, document_of
        self._fingerprint = fingerprint
        self._traffic = traffic
        self._compiled: dict[str, Script | None] = {}
        at: SettingPath = ("responses", section)
        order = sorted(range(len(answers.patterns)), key=lambda place: -answers.patterns[place].priority)
        matches = []
        scripts = []
        for place in order:
            pattern, path = answers.patterns[place], (*at, "patterns", place)
            matches.append(pattern.match)
            scripts.append(self._script(pattern, path, findings))
            _check_regex(pattern.match.content_regex, (*path, "match", "content_regex"), findings)
        scripts.append(self._script(answers.default, (*at, "default"), findings))  # index.DEFAULT, -1, is the last
        if not findings.problems:
            self._index = Index(matches)
            self._scripts = [script for script in scripts if script]
            self._made_up = self.script_of(document_of(OUTPUT))
        self.default = answers.default
        self.rules = [answers.patterns[place] for place in order]
        self._sources = [*self.rules, self.default]
        self._canned = "default" not in answers.model_fields_set
        self._shapes = traffic.shapes or any(script is not None and script.makes for script in scripts)
        self._listed = checks.listed(settings.models)
        self._json, self._events = made.get(200), made.get(200, heads.EVENTS, (("cache-control", "no-cache"),))
        self._streaming = settings.streaming.enabled
        self.names = [
            rule.name or f"{section}.patterns[{place}]" for place, rule in zip(order, self.rules, strict=True)
        ]
        self.names.append(f"{section}.default")
        if settings.server.log_requests:
            self.send = self._send_noted  # type: ignore[method-assign]

    def never_win(self) -> Iterator[str]:
        """Say which patterns can never win, and why; it takes time with the square of their number."""
        for number, earlier in hidden([rule.match for rule in self.rules]):
            why = "its conditions exclude each other" if earlier == number else f"{self.names[earlier]} comes before it"
            yield f"{self.names[number]} can never win: {why}"

    def _script(self, source: Source, path: SettingPath, findings: Findings) -> Script | None:
        """Compile a source; equal ones, of which there may be thousands, once."""
        key = source.model_dump_json(include={"response_file", "content", "response"}, exclude_none=True)
        if key not in self._compiled:
            self._compiled[key] = self._compile(source, path, findings)
        return self._compiled[key]

    def _compile(self, source: Source, path: SettingPath, findings: Findings) -> Script | None:
        document: Any
        if source.response_file is None and source.response is None:
            document, file, inside = (
                self._document_of(OUTPUT if source.content is None else source.content),
                "",
                (*path, "content"),
            )
        else:
            document, file, inside = read_source(self._config, source, path, findings)
        if document is None and (file or source.response is None):
            if file:
                findings.error((), "is empty", file)
            return None
        try:
            return self.script_of(document)
        except ShapeError as fault:
            findings.error((*inside, *fault.path), str(fault), file)
        except TemplateError as error:
            for place, message in error.faults:
                findings.error(inside if source.content is not None else (*inside, *place), message, file)
        return None

    def answer(self, ask: Ask) -> Reply | Stream:
        """Choose what is said to ``ask``, and render it."""
        return self.send(ask, self.script(ask))

    def script(self, ask: Ask, file: str | None = None) -> Script:
        """Return what is said to ``ask``: by the rules, or by a response file."""
        if self._listed is not None and ask.model not in self._listed:
            raise errors.no_such_model(ask.model)
        ask.rule = self._index.pick(ask)
        script = self._scripts[ask.rule] if file is None else self._from_file(file)
        if self._shapes:
            script = self._shaped(ask, script)
        return script if ask.choices == 1 else script.for_choices(ask.choices)

    def _shaped(self, ask: Ask, script: Script) -> Script:
        """Return what is said where output may have to be made up, and make it up."""
        profile = self._traffic.profile(ask.model, self._sources[ask.rule], ask.request)
        if profile.tokens is not None or (profile.configured and self._canned and ask.rule == DEFAULT):
            script = self._made_up
        if script.makes:
            self._traffic.make_up(ask, profile)
        return script

    def file(self, ask: Ask) -> str | None:
        """Return the response file of the rule that wins for ``ask``, as the configuration names it; None without."""
        if self._listed is not None and ask.model not in self._listed:
            raise errors.no_such_model(ask.model)
        ask.rule = self._index.pick(ask)
        return self._sources[ask.rule].response_file

    def script_of(self, document: Any) -> Script:
        """Compile a document; raise ShapeError or TemplateError where it is wrong."""
        if not isinstance(document, dict):
            raise ShapeError((), "must hold an object")
        whole = self._shape.whole(document, self._fingerprint)
        return Script(whole, self._shape, self._traffic.per_chunk)

    def _from_file(self, file: str) -> Script:
        """Compile a response file that a manager names; once, like all others."""
        findings = Findings(self._config)
        script = self._script(Source(response_file=file), (), findings)
        if script is None:
            raise errors.manager_failed("; ".join(map(str, findings.problems)) or f"{file} is wrong")
        return script

    def send(self, ask: Ask, script: Script, choices: list[Document] | None = None) -> Reply | Stream:
        """Render what is said: whole, or as the stream that was asked for."""
        timing = None
        if self._shapes:
            timing = self._traffic.profile(ask.model, self._sources[ask.rule], ask.request).timing
        if not ask.stream:
            reply = Reply(self._json, f"req_{ask.unique}", script.whole(ask, choices))
            if timing and not timing.instant_whole:
                length = script.length(ask, choices)
                self._traffic.delay(reply, timing, length, ask.prompt_tokens, ask.request)
            return reply
        if not self._streaming:
            raise errors.streaming_off()
        if not timing:
            return Reply(self._events, f"req_{ask.unique}", script.roll(ask, choices).all())
        roll = script.roll(ask, choices)
        dues = self._traffic.spread(roll.steps, timing, ask.prompt_tokens, ask.request)
        return Stream(self._events, f"req_{ask.unique}", dues, roll.cut)

    def _send_noted(self, ask: Ask, script: Script, choices: list[Document] | None = None) -> Reply | Stream:
        """Render, and note for the request log what was asked for and which rule won."""
        answer = Rulebook.send(self, ask, script, choices)
        answer.model, answer.rule = ask.model, self.names[ask.rule]
        return answer
