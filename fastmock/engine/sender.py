"""Render a template for a request, and apply latency, policies and heartbeats."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from fastmock.config.settings import Settings
from fastmock.core import errors
from fastmock.core.completion import Answer, ChatRequest
from fastmock.core.headers import AnswerHeads
from fastmock.core.http import LargeReply, Reply, Stream
from fastmock.engine.buffers import Buffers
from fastmock.engine.constraints import count
from fastmock.engine.middleware import Policies
from fastmock.engine.profiles import LatencyProfiles, Profile
from fastmock.engine.response_template import Rendering, parts_of
from fastmock.engine.rule_set import RuleSet
from fastmock.latency.heartbeat import beat
from fastmock.latency.model import Timing

LARGE_STREAM = 2000
"""Steps of a stream, some 500 kB together, above which it is joined as it is sent."""

_LONGEST_HEADER = 500  # characters of the header that explains the rule
_BROKEN = errors.InternalError()
_Layer = Callable[[ChatRequest, Reply | Stream, AnswerHeads], Reply | Stream]


class Send(Protocol):
    """Sends a response."""

    def __call__(
        self,
        chat: ChatRequest,
        template: Rendering,
        answers: Sequence[Answer] | None = None,
        heads: AnswerHeads | None = None,
    ) -> Reply | Stream:
        """Render a response, streaming or not.

        Args:
            chat: the request.
            template: renders the response.
            answers: rendered instead of the template's own.
            heads: response heads, if they differ from those of the rule set.
        """


class Sender:
    """Renders responses, and applies the latency of their rules.

    Attributes:
        rules: the rules; ``heads`` are the heads of their responses, and ``profiles`` their latency.
        is_observed: whether responses are logged, counted or recorded.
        shows_answers: whether the journal looks at the answers that were rendered, for findings.
    """

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        heads: AnswerHeads,
        profiles: LatencyProfiles,
        buffers: Buffers,
        has_profiles: bool,
        shows_answers: bool,
    ) -> None:
        """Prepare to send the responses of ``rules``; ``has_profiles``: whether latency or generated text is set up."""
        self.shows_answers = shows_answers
        self.rules, self.heads, self.profiles = rules, heads, profiles
        self._buffers = buffers
        self._has_profiles = has_profiles
        self._streaming, self._padded = settings.streaming.enabled, settings.streaming.obfuscation
        self.is_observed = settings.server.log_requests or settings.metrics.any or settings.journal.enabled

    def render(
        self,
        chat: ChatRequest,
        template: Rendering,
        answers: Sequence[Answer] | None = None,
        heads: AnswerHeads | None = None,
    ) -> Reply | Stream:
        """Render a response; the default implementation of ``Send``."""
        heads = heads or self.heads
        timing = self.timing(chat) if self._has_profiles else None
        if chat.stream:
            return self._stream(chat, template, answers, heads, timing)
        reply = Reply(heads.whole, f"req_{chat.unique}", template.whole(chat, answers))
        if self.is_observed:
            reply.chat, reply.rule = chat, self.rules.names[chat.rule]
            if self.shows_answers and not _surely_stops(chat, template, answers):
                reply.redo = _Redo(self, chat, template, answers, heads)
        if timing and not timing.instant_whole:
            fresh = chat.prompt_tokens - chat.cached_tokens
            self.profiles.delay(reply, timing, template.length(chat, answers), fresh, chat.request)
        return reply

    def profile(self, chat: ChatRequest) -> Profile:
        """Return the profile of the response to a request whose rule is selected."""
        return self.profiles.profile(chat.model, self.rules.sources[chat.rule], chat.request)

    def timing(self, chat: ChatRequest) -> Timing | None:
        """Return the latency of that response; None without any."""
        return self.profile(chat).timing if self._has_profiles else None

    def obfuscates(self, chat: ChatRequest) -> bool:
        """Return whether the chunks of a stream are padded."""
        return self._padded if chat.obfuscation is None else chat.obfuscation

    def _stream(
        self,
        chat: ChatRequest,
        template: Rendering,
        answers: Sequence[Answer] | None,
        heads: AnswerHeads,
        timing: Timing | None,
    ) -> Reply | Stream:
        """Render a stream; without delays it is a Reply with all its bytes."""
        if not self._streaming:
            raise errors.StreamingDisabled()
        rendered = template.render_stream(chat, answers, self.obfuscates(chat))
        is_large = len(rendered.steps) > LARGE_STREAM
        if is_large and not self._buffers.take_for(rendered.source, rendered.size()):
            raise errors.BuffersFull()
        request_id = f"req_{chat.unique}"
        answer: Reply | Stream
        if timing:
            fresh = chat.prompt_tokens - chat.cached_tokens
            due_times = self.profiles.schedule(rendered.steps, timing, fresh, chat.request)
            failed = partial(heads.error, _BROKEN, request_id)
            answer = Stream(heads.events, request_id, due_times, rendered.cut, len(rendered.steps), failed)
            if self.is_observed:
                answer.tokens = rendered.steps
        elif is_large:
            answer = LargeReply(heads.events, request_id, rendered.length(), 0, partial(parts_of, rendered))
        else:
            answer = Reply(heads.events, request_id, rendered.all())
        if self.is_observed:
            answer.chat, answer.rule = chat, self.rules.names[chat.rule]
            if self.shows_answers and not _surely_stops(chat, template, answers):
                answer.redo = _Redo(self, chat, template, answers, heads)
        return answer


class _Redo:
    """Renders a response again; see ``faults.answers.Redo``."""

    def __init__(
        self,
        sender: Sender,
        chat: ChatRequest,
        template: Rendering,
        answers: Sequence[Answer] | None,
        heads: AnswerHeads | None,
    ) -> None:
        self.chat = chat
        self._sender, self._template, self._answers, self._heads = sender, template, answers, heads

    def finish_reason(self) -> str:
        """Return the finish reason of the first answer."""
        if _surely_stops(self.chat, self._template, self._answers):
            return "stop"
        return next((answer.finish_reason for answer in self.answers()), "stop")

    def answers(self) -> Sequence[Answer]:
        """Return the answers that were rendered."""
        return self._template.answers(self.chat) if self._answers is None else self._answers

    def render(self, answers: Sequence[Answer]) -> Reply | Stream:
        """Return the response with other answers."""
        counted = [answer._replace(tokens=count(answer, self.chat.tokenizer)) for answer in answers]
        rendered = self._sender.render(self.chat, self._template, counted, self._heads)
        rendered.redo = _Redo(self._sender, self.chat, self._template, counted, self._heads)
        return rendered


def _surely_stops(chat: ChatRequest, template: Rendering, answers: Sequence[Answer] | None) -> bool:
    """Return whether the answers end by themselves, as far as that is known without a look at them.

    It is known of most: the look takes 5 µs, and to prepare it 3.
    """
    return answers is None and template.stops and chat.finish_reason == "stop"


def compose(sender: Sender, policies: Policies, explains: bool) -> Send:
    """Return a function to send responses, with only the layers that the configuration needs.

    Args:
        sender: renders the responses.
        policies: the policies to apply.
        explains: whether a header names the winning and the closest rule.
    """
    render, own_heads = sender.render, sender.heads
    layers: list[_Layer] = []
    if explains:
        layers.append(partial(_explain, sender))
    if policies.more_than_limits:
        layers.append(partial(_apply_policies, sender, policies))
    if sender.profiles.has_heartbeats:
        layers.append(partial(_send_heartbeats, sender))
    may_redo = policies.may_redo or (sender.shows_answers and policies.more_than_limits)
    take = policies.limits.take if policies.any and not policies.more_than_limits else None
    if not layers and take is None:
        return render

    def sent(
        chat: ChatRequest,
        template: Rendering,
        answers: Sequence[Answer] | None = None,
        heads: AnswerHeads | None = None,
    ) -> Reply | Stream:
        answer = render(chat, template, answers, heads)
        if may_redo:
            answer.redo = _Redo(sender, chat, template, answers, heads)
        if take is not None and chat.request is not None:  # no layer: saves 0.1 µs
            take(chat, answer)
        for layer in layers:
            answer = layer(chat, answer, heads or own_heads)
        return answer

    return sent


def _explain(sender: Sender, chat: ChatRequest, answer: Reply | Stream, heads: AnswerHeads) -> Reply | Stream:
    """Name the selected rule and the closest one in a header."""
    answer.more = (("x-fastmock-rule", _header(str(sender.rules.explain(chat)))),)
    return answer


def _apply_policies(
    sender: Sender, policies: Policies, chat: ChatRequest, answer: Reply | Stream, heads: AnswerHeads
) -> Reply | Stream:
    """Apply all policies."""
    if chat.request is None:  # it comes from a response manager, so nothing is sent yet
        return answer
    return policies.apply(chat, answer, sender.rules.names[chat.rule], heads.error)


def _send_heartbeats(sender: Sender, chat: ChatRequest, answer: Reply | Stream, heads: AnswerHeads) -> Reply | Stream:
    """Send heartbeats while a stream is waiting."""
    if isinstance(answer, Stream):
        profile = sender.profile(chat)
        if profile.heartbeat is not None:
            framing = answer.head.framing
            assert framing is not None  # noqa: S101 - it is a stream
            beat(answer, profile.heartbeat, heads.ping if profile.pings else framing.heartbeat)
    return answer


def _header(text: str) -> str:
    """Return a text in a form that is valid in a header."""
    shown = text.encode("ascii", "backslashreplace").decode()
    return "".join(char if char.isprintable() else " " for char in shown)[:_LONGEST_HEADER]
