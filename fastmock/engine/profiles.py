"""Latency of responses and length of generated text.

The settings for a response are merged from these levels, each overriding the one before: global, model, rule, request
headers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from random import Random
from typing import Any, get_args

from fastmock.config.config import Config
from fastmock.config.overlay import RuleSection
from fastmock.content import filler
from fastmock.content.settings import Output
from fastmock.core import errors
from fastmock.core.completion import ChatRequest
from fastmock.core.documents import DocumentError
from fastmock.core.http import Reply, Request
from fastmock.core.problems import SettingPath
from fastmock.core.provider import provider_of
from fastmock.core.section import SettingsModel
from fastmock.core.seeded import seeded_hash
from fastmock.engine.answer_size import MAX_TOKENS, check_tokens
from fastmock.engine.length import deduct_reasoning, length_of
from fastmock.engine.prompt_cache import PromptCache
from fastmock.latency.model import Sampler, Timing, sampler
from fastmock.latency.presets import PRESETS, PresetName
from fastmock.latency.settings import Distribution, Latency
from fastmock.rules.settings import EndpointRules, Pattern, TimedReplySpec
from fastmock.shared.block import Share
from fastmock.shared.in_flight import InFlight
from fastmock.shared.prompt_prefixes import PromptPrefixes

_TOKENS = 100  # of generated text by default
_OF_COMPLETIONS = 16  # the same for legacy completions, as in the API
_LONGEST = 600_000.0  # maximum milliseconds in a header
_LONGEST_INTERVAL = 3600.0  # maximum seconds in a header
_MOST_KNOWN = 1024

_NAMES = ("preset", "ttft-ms", "itl-ms", "output-tokens", "heartbeat")
_PRESET, _TTFT, _ITL, _OUTPUT, _HEARTBEAT = CONTROL_HEADERS = tuple(f"x-fastmock-{name}" for name in _NAMES)
"""The request headers that control its response if ``server.control_headers`` is on."""

_Report = Callable[[SettingPath, str], None]


@dataclass
class Profile:
    """The merged settings for one response.

    Attributes:
        timing: the latency; None if it is sent at once.
        output: settings of generated text.
        length: draws the number of generated tokens; None if not configured.
        configured: whether any output settings exist.
        tokens: the number of tokens from the request header.
        heartbeat: seconds between heartbeats of a stream; None without heartbeats. ``pings``: whether they are
            Anthropic's ``ping`` events.
    """

    timing: Timing | None
    output: Output
    length: Sampler | None
    configured: bool
    tokens: int | None
    heartbeat: float | None
    pings: bool

    @property
    def sets_length(self) -> bool:
        """Whether the number of generated tokens is configured."""
        return self.tokens is not None or self.length is not None


class LatencyProfiles:
    """Provides the profile and the due times of each response.

    Attributes:
        in_flight: the number of delayed responses that are being sent.
        has_heartbeats: whether any stream may have heartbeats.
        draws_lengths: whether any generated text has a random length.
        examines_requests: whether the latency of a response depends on the session of its request.
    """

    def __init__(self, config: Config, share: Share, error: _Report, warn: _Report) -> None:
        """Compile the configuration; ``error`` and ``warn`` are called with the path and message of each problem."""
        settings = config.settings
        self._settings = settings
        self._config = config
        self.in_flight = InFlight(share)
        self._prefixes = PromptPrefixes(share)
        self._headers = settings.server.control_headers
        self._gap = settings.streaming.chunk_delay_ms / 1000 if settings.streaming.enabled else 0.0
        self._globs = [(re.compile(translate(entry.model)).match, entry) for entry in settings.per_model]
        self._number, self._length_number = seeded_hash(settings.seed, "latency"), seeded_hash(settings.seed, "output")
        self._known: dict[tuple[object, ...], Profile] = {}
        latencies: list[tuple[SettingPath, Latency | None]] = [(("latency",), settings.latency)]
        outputs: list[tuple[SettingPath, Output | None]] = [(("output",), settings.output)]
        for place, entry in enumerate(settings.per_model):
            latencies.append((("per_model", place, "latency"), entry.latency))
            outputs.append((("per_model", place, "output"), entry.output))
        self._sessions = {name: one.latency for name, one in config.sessions.items() if one.latency is not None}
        latencies += [(("sessions", name, "latency"), latency) for name, latency in self._sessions.items()]
        self._sources = list(_sources(config))
        for at, source in self._sources:
            latencies.append(((*at, "latency"), source.latency))
            outputs.append(((*at, "output"), source.output))
        for path, section in (*latencies, *outputs):
            self._check(path, section, error)
        for path, latency in latencies:
            if (
                latency is not None
                and latency.time_factor_under_load
                and not any(level.saturation_concurrency or level.preset for level in (latency, settings.latency))
            ):
                warn((*path, "time_factor_under_load"), "has no effect without 'saturation_concurrency'")
        given = [latency for _, latency in latencies if latency is not None and latency.model_fields_set]
        self.is_configured = bool(given or self._gap or self._headers or settings.output.model_fields_set)
        self.is_configured = self.is_configured or any(output is not None for _, output in outputs[1:])
        self.delays_whole = self._headers or bool(given)
        self.draws_lengths = any(
            output.tokens is not None and output.tokens.distribution != "constant" for _, output in outputs if output
        )
        beats = [settings.streaming.heartbeat, *(entry.heartbeat for entry in settings.per_model)]
        beats += [source.heartbeat for _, source in self._sources]
        self.has_heartbeats = self._headers or any(level is not None and level.interval for level in beats)
        # A session's latency must not change the chunks of others.
        of_sessions = {
            *map(id, self._sessions.values()),
            *(id(one.latency) for _, one in self._sources if _session(one)),
        }
        is_timed = self._headers or any(id(latency) not in of_sessions for latency in given)
        self.per_chunk = settings.streaming.tokens_per_chunk or (1 if is_timed else 5)
        self.examines_requests = bool(self._sessions)

    def pre_match_hooks(self) -> list[Callable[[ChatRequest], None]]:
        """Return the functions to call with every completions request before a rule is selected."""
        hooks: list[Callable[[ChatRequest], None]] = []
        if self._settings.usage.simulate_prompt_cache:
            hooks.append(PromptCache(self._prefixes))
        if any(entry.context_window for entry in self._settings.per_model):
            hooks.append(self._check_window)
        return hooks

    def window(self, model: str) -> int | None:
        """Return the model's context window, for prompt and answer together; None without a limit."""
        return next((entry.context_window for match, entry in self._globs if match(model)), None)

    def _check_window(self, chat: ChatRequest) -> None:
        """Reject a request that exceeds the model's context window."""
        window = self.window(chat.model)
        if window is None:
            return
        prompt, answer = chat.prompt_tokens, chat.max_tokens or 0
        if prompt + answer <= window:
            return
        raise errors.ContextExceeded(window, prompt, answer, "prompt" if chat.endpoint == "completions" else "messages")

    def takes_time(self) -> bool:
        """Return whether any response takes time; call only for a valid configuration."""
        entries = (None, *self._settings.per_model)
        sources = (None, *(source for _, source in self._sources if source.latency))
        sessions = (None, *self._sessions.values())
        levels = ((source, entry, session) for entry in entries for source in sources for session in sessions)
        return self._headers or any(self._merge_levels(*found).timing for found in levels)

    def _check(self, path: SettingPath, section: Latency | Output | None, error: _Report) -> None:
        """Read the sample files that a section names."""
        for name in section.model_fields_set if section is not None else ():
            amount = getattr(section, name)
            if isinstance(amount, Distribution) and amount.file is not None:
                try:
                    self._config.samples(amount.file)
                except DocumentError as fault:
                    error((*path, name, "file"), f"{self._config.find(amount.file)} {fault}")

    def profile(self, model: str, source: TimedReplySpec | None, request: Request | None) -> Profile:
        """Return the profile of the response of ``source`` to a request for ``model``.

        Raises:
            ApiError: a control header is invalid.
        """
        headers: tuple[str | None, ...] = ()
        if self._headers and request is not None:
            headers = tuple(request.headers.get(name) for name in CONTROL_HEADERS)
        session = None
        if self._sessions and request is not None:
            session = self._sessions.get(provider_of(request).session_of(request))
        key = (model, id(source), headers, id(session))
        profile = self._known.get(key)
        if profile is None:
            entry = next((entry for match, entry in self._globs if match(model)), None)
            profile = self._merge_levels(source, entry, session, *_read(headers))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = profile
        return profile

    def _merge_levels(
        self,
        source: TimedReplySpec | None,
        entry: Any,
        session: Latency | None = None,
        header: Latency | None = None,
        tokens: int | None = None,
        interval: float | None = None,
    ) -> Profile:
        """Merge the levels."""
        settings = self._settings
        levels = [settings.latency, entry and entry.latency, session, source and source.latency, header]
        latency: dict[str, Any] = {}
        for level in filter(None, levels):
            given = _set_values(level)
            if preset := given.pop("preset", None):
                latency = dict(PRESETS[preset])
            for one, other in (("itl", "tokens_per_second"), ("tokens_per_second", "itl")):
                if one in given:
                    latency.pop(other, None)
            latency |= given
        output: dict[str, Any] = {}
        for level in filter(None, (settings.output, entry and entry.output, source and source.output)):
            output |= _set_values(level)
        timing = Timing(Latency(**latency), self._samples, self._gap, self.in_flight)
        amount: Distribution | None = output.get("tokens")
        length = sampler(amount, self._samples(amount)) if amount is not None else None
        beats: dict[str, Any] = {}
        for beat in filter(
            None, (settings.streaming.heartbeat, entry and entry.heartbeat, source and source.heartbeat)
        ):
            beats |= _set_values(beat)
        if interval is not None:
            beats["interval"] = interval
        heartbeat, pings = beats.get("interval") or None, beats.get("form") == "ping"
        timed = None if timing.instant else timing
        return Profile(timed, Output(**output), length, bool(output), tokens, heartbeat, pings)

    def _samples(self, amount: Distribution) -> Sequence[float]:
        return self._config.samples(amount.file) if amount.file is not None else ()

    def generate_text(self, chat: ChatRequest, profile: Profile) -> None:
        """Generate the text for ``chat``, and set its number of tokens."""
        output, body = profile.output, chat.body
        kind = output.kind or "lorem"
        wanted: int
        if profile.tokens is not None:
            wanted = profile.tokens
        elif profile.length is not None:
            wanted = round(profile.length(Random(self._length_number(chat.request))))
        else:
            wanted = chat.tokenizer.count(chat.user_message.strip()) if kind == "echo" else _TOKENS
        length = length_of(chat)
        cap = length.most
        if cap is None and chat.endpoint == "completions" and kind != "echo" and not profile.sets_length:
            cap = max(_OF_COMPLETIONS, length.least)
        if cap is None and (window := self.window(chat.model)) is not None:
            cap = max(0, window - chat.prompt_tokens)
        wanted = max(wanted, output.min_tokens or 0, length.least, 1)
        if cap is not None:
            cap = deduct_reasoning(chat, cap)
            wanted = cap if body.get("ignore_eos") else min(wanted, cap)
        wanted = min(wanted, MAX_TOKENS)
        check_tokens(chat, wanted)
        chat.finish_reason = "length" if wanted == cap else "stop"
        if kind == "counter":
            chat.output = chat.generated = filler.counter(wanted)
        elif kind == "echo":
            chat.output = filler.echo(wanted, chat.user_message, chat.tokenizer)
        else:
            chat.output = chat.generated = filler.lorem(wanted, self._settings.seed, chat.user_message)
        chat.output_tokens = wanted if chat.output else 0

    def delay(self, reply: Reply, timing: Timing, tokens: int, prompt_tokens: int, request: Request | None) -> None:
        """Delay a non-streaming response of ``tokens`` tokens."""
        reply.due_times = timing.pause(tokens, prompt_tokens, self._random(timing, request))

    def delay_of_prefill(self, reply: Reply, model: str, tokens: int, request: Request) -> None:
        """Delay a response without text by the time to first token."""
        timing = self.profile(model, None, request).timing
        if timing and not timing.instant_whole:
            self.delay(reply, timing, 1, tokens, request)

    def schedule(
        self, steps: Sequence[int], timing: Timing, prompt_tokens: int, request: Request | None
    ) -> Iterator[float]:
        """Return the due times of the steps of a stream, given by their tokens."""
        return timing.steps(steps, prompt_tokens, self._random(timing, request))

    def _random(self, timing: Timing, request: Request | None) -> Random | None:
        return Random(self._number(request)) if timing.draws else None


def _sources(config: Config) -> Iterator[tuple[SettingPath, TimedReplySpec]]:
    """Yield the replies with their own latency, output or heartbeat, and their paths."""
    sections: tuple[RuleSection, ...] = ("chat_completions", "completions")
    for name in sections:
        answers: EndpointRules = getattr(config.settings.responses, name)
        for _, path, pattern in config.rules(name):
            if isinstance(pattern, Pattern) and pattern.is_timed:
                yield path, pattern
        yield ("responses", name, "default"), answers.default


def _session(source: TimedReplySpec) -> str | None:
    """Return the session that a rule applies to; None for all."""
    return source.match.session if isinstance(source, Pattern) else None


def _set_values(level: SettingsModel) -> dict[str, Any]:
    """Return the values that a level sets; missing and null ones come from the level above."""
    values = {name: getattr(level, name) for name in level.model_fields_set}
    return {name: value for name, value in values.items() if value is not None}


def _read(headers: tuple[str | None, ...]) -> tuple[Latency | None, int | None, float | None]:
    """Parse the control headers."""
    if not any(value is not None for value in headers):
        return None, None, None
    preset, ttft, itl, tokens, beat = headers
    interval = None if beat is None else _number(_HEARTBEAT, beat, _LONGEST_INTERVAL)
    if preset is not None and preset not in get_args(PresetName):
        raise errors.UnsupportedValue(_PRESET, preset, ", ".join(map(repr, get_args(PresetName))))
    given: dict[str, Any] = {} if preset is None else {"preset": preset}
    for name, header, text in (("ttft", _TTFT, ttft), ("itl", _ITL, itl)):
        if text is not None:
            given[name] = _number(header, text, _LONGEST)
    return Latency(**given), None if tokens is None else int(_number(_OUTPUT, tokens, MAX_TOKENS)), interval


def _number(header: str, text: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise errors.InvalidParameter(header, f"expected a number from 0 to {most:.0f}, but got '{text}'.", None)
    return value
