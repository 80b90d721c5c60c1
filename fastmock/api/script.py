"""A completion's answer, compiled: rendered whole, or as the chunks of a stream.

Chat and legacy completions have the same outer form and differ in their choices; what differs is a ``Shape``.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import zip_longest
from typing import Any, Protocol

import orjson

from fastmock.config.documents import MARK
from fastmock.content.template import Template
from fastmock.wire import Ask

OUTPUT, FINISH_REASON = "$output", "$finish_reason"
"""What a document says that has its text made up, and why that text ended."""

DONE = b"data: [DONE]\n\n"

_MOST_KEPT, _LONGEST_KEPT = 64, 512  # streams of made-up text that a script keeps ready, and their tokens

Document = dict[str, Any]
Chunks = list[tuple[int, list[bytes]]]
"""What one choice sends: steps, each with its number of tokens and a run of ``"choices":[…]`` fragments that go out
together. The last, of no tokens, has the finish reason."""

_USAGE: Document = {
    "prompt_tokens": MARK + "prompt_tokens",
    "completion_tokens": MARK + "completion_tokens",
    "total_tokens": MARK + "total_tokens",
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


class Shape(Protocol):
    """What chat and legacy completions do differently."""

    chunk_object: str

    def whole(self, document: Document, fingerprint: str) -> Document:
        """Fill in what a file's document lacks; raise ShapeError where it has the wrong form."""

    def tokens(self, choice: Document) -> int:
        """Count the tokens that a rendered choice says."""

    def text(self, choice: Document) -> str | None:
        """Return the text of a rendered choice that says nothing else."""

    def chunks(self, choice: Document, per_chunk: int) -> Chunks:
        """Cut a rendered choice into the steps of its stream."""


class ShapeError(Exception):
    """A response document that cannot be served: the path inside it and what is wrong there."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def envelope(document: Document, object_: str, id_: str, choices: list[Document], fingerprint: str) -> Document:
    """Return the standard outer form, overlaid with what ``document`` gives, and with ``choices``."""
    standard: Document = {"id": f"${id_}", "object": object_, "created": MARK + "timestamp", "model": "$model"}
    last: Document = {"usage": _USAGE, "service_tier": "default", "system_fingerprint": fingerprint}
    return {**standard, "choices": choices, **last, **{k: v for k, v in document.items() if k != "choices"}}


def fragment(choice: Document) -> bytes:
    """Write the part of a chunk that holds its one choice."""
    return b'"choices":[' + orjson.dumps(choice) + b"]"


class Script:
    """One answer of one endpoint, for every request that gets it.

    Attributes:
        makes: whether it says text that has to be made up first, ``Ask.output``.
    """

    def __init__(self, document: Document, shape: Shape, per_chunk: int) -> None:
        """Compile a document that ``Shape.whole`` returned.

        Raises:
            TemplateError: the document's variables are wrong.
        """
        self._document = document
        self._shape = shape
        self._per_chunk = per_chunk
        whole = Template(document)
        self._whole = whole.render
        outer = {key: value for key, value in document.items() if key not in ("choices", "usage")}
        outer["object"] = shape.chunk_object
        outer = {key: outer.pop(key) for key in ("id", "object", "created", "model") if key in outer} | outer
        self._outer = Template(outer).render
        self._usage = Template(document.get("usage")).render
        choices = Template(document["choices"])
        self.makes = "output" in whole.names
        self._choices = choices.render
        self._counts = not whole.names.isdisjoint(("completion_tokens", "total_tokens"))
        self._only_made = self.makes and choices.names <= {"output", "finish_reason"}
        self._fixed: _Reel | None = None
        if choices.constant:
            said = self.choices(_NOBODY)
            self._fixed = _Reel(said, shape, per_chunk, self._tokens(_NOBODY, said))
        self._made: dict[tuple[str, str], _Reel] = {}
        self._for_n: dict[int, Script] = {}

    def for_choices(self, n: int) -> "Script":
        """Return the script that says ``n`` choices: those of the document, again from the first when they run out."""
        choices = self._document["choices"]
        if n in (1, len(choices)):
            return self
        if n not in self._for_n:
            several = [{**choices[i % len(choices)], "index": i} for i in range(n)]
            self._for_n[n] = Script({**self._document, "choices": several}, self._shape, self._per_chunk)
        return self._for_n[n]

    def choices(self, ask: Ask) -> list[Document]:
        """Return the choices as they are said to ``ask``."""
        rendered: list[Document] = orjson.loads(self._choices(ask))
        return rendered

    def whole(self, ask: Ask, choices: list[Document] | None = None) -> bytes:
        """Return the whole answer; ``choices`` are said instead of the script's own."""
        if choices is not None:
            ask.completion_tokens = self._tokens(ask, choices)
            usage = orjson.loads(self._usage(ask))
            return orjson.dumps({**orjson.loads(self._whole(ask)), "choices": choices, "usage": usage})
        if self._counts:
            fixed = self._fixed
            ask.completion_tokens = fixed.tokens if fixed else self._tokens(ask, self.choices(ask))
        return self._whole(ask)

    def events(self, ask: Ask, choices: list[Document] | None = None) -> bytes:
        """Return the whole stream, for one that takes no time."""
        if ask.continuous_usage:
            return b"".join(frame for _, frame in self.steps(ask, choices))
        reel = self._reel(ask, choices)
        opening = b"data: %b," % self._outer(ask)[:-1]
        if not ask.include_usage:
            return opening.join(reel.plain)
        ask.completion_tokens = reel.tokens
        return opening.join(reel.with_usage) + self._last(ask, opening)

    def steps(self, ask: Ask, choices: list[Document] | None = None) -> Iterator[tuple[int, bytes]]:
        """Return the stream in the frames that go out one after another, each with its number of tokens.

        The last frame, of no tokens, says that this was all. Frames are made as they are drawn, so that a stream that
        waits takes no memory for what is still to come.
        """
        reel = self._reel(ask, choices)
        opening = b"data: %b," % self._outer(ask)[:-1]
        ask.completion_tokens = reel.tokens
        last = self._last(ask, opening) if ask.include_usage else DONE
        if ask.continuous_usage:
            return self._steps_with_usage(ask, reel, opening, last)
        return _joined(reel.with_usage_steps if ask.include_usage else reel.steps, opening, last)

    def _steps_with_usage(self, ask: Ask, reel: "_Reel", opening: bytes, last: bytes) -> Iterator[tuple[int, bytes]]:
        """Return the same with the usage so far in every chunk."""
        said = 0
        for number, (tokens, step) in enumerate(reel.steps, 1):
            said += tokens
            ask.completion_tokens = reel.tokens * said // (reel.length or 1)
            end = b',"usage":%b}\n\n' % self._usage(ask)
            frame = opening.join((b"", *(chunk.removesuffix(_END) + end for chunk in step[1:])))
            yield tokens, frame if number < len(reel.steps) else frame + last

    def length(self, ask: Ask, choices: list[Document] | None = None) -> int:
        """Return how many tokens are said one after another; of several choices those of the longest."""
        if choices is None and self._only_made:
            return ask.output_tokens
        return self._reel(ask, choices).length

    def _tokens(self, ask: Ask, choices: list[Document]) -> int:
        """Count the tokens of rendered choices. Text that was made up has as many as were asked for."""
        if self.makes and all(self._shape.text(choice) == ask.output for choice in choices):
            return ask.output_tokens * len(choices)
        return sum(map(self._shape.tokens, choices))

    def _reel(self, ask: Ask, choices: list[Document] | None) -> "_Reel":
        if choices is None and self._fixed is not None:
            return self._fixed
        key = ask.output, ask.finish_reason
        if choices is None and self._only_made and key in self._made:
            return self._made[key]
        said = self.choices(ask) if choices is None else choices
        reel = _Reel(said, self._shape, self._per_chunk, self._tokens(ask, said))
        if choices is None and self._only_made and reel.length <= _LONGEST_KEPT:
            if len(self._made) >= _MOST_KEPT:
                self._made.clear()
            self._made[key] = reel
        return reel

    def _last(self, ask: Ask, opening: bytes) -> bytes:
        return b'%b"choices":[],"usage":%b}\n\n%b' % (opening, self._usage(ask), DONE)


_END = b"}\n\n"
_END_WITH_USAGE = b',"usage":null}\n\n'


class _Reel:
    """The chunks of rendered choices; everything of them but the outer form, which each request fills anew.

    Attributes:
        tokens: how many tokens are said in all.
        length: how many are said one after another.
        steps: what goes out together, with its number of tokens. Joined by the opening of a chunk its parts, of which
            the first is empty, are the frame: 0.3 µs for twenty chunks.
        with_usage_steps: the same with the null that a chunk carries where a usage chunk follows.
        plain, with_usage: all of them in one.
    """

    def __init__(self, choices: list[Document], shape: Shape, per_chunk: int, tokens: int) -> None:
        self.tokens = tokens
        runs = list(zip_longest(*(shape.chunks(choice, per_chunk) for choice in choices), fillvalue=(0, [])))
        steps = [(max(tokens for tokens, _ in run), [chunk for _, part in run for chunk in part]) for run in runs]
        self.length = sum(tokens for tokens, _ in steps)
        self._steps = steps
        self.steps = _ended(steps, _END)

    @cached_property
    def with_usage_steps(self) -> "Steps":
        return _ended(self._steps, _END_WITH_USAGE)

    @cached_property
    def plain(self) -> tuple[bytes, ...]:
        chunks = [chunk for _, step in self.steps for chunk in step[1:]]
        return (b"", *chunks[:-1], chunks[-1] + DONE)

    @cached_property
    def with_usage(self) -> tuple[bytes, ...]:
        return (b"", *(chunk for _, step in self.with_usage_steps for chunk in step[1:]))


Steps = list[tuple[int, tuple[bytes, ...]]]


def _ended(steps: list[tuple[int, list[bytes]]], end: bytes) -> Steps:
    return [(tokens, (b"", *(chunk + end for chunk in step))) for tokens, step in steps]


def _joined(steps: Steps, opening: bytes, last: bytes) -> Iterator[tuple[int, bytes]]:
    for tokens, step in steps[:-1]:
        yield tokens, opening.join(step)
    tokens, step = steps[-1]
    yield tokens, opening.join(step) + last


_NOBODY = Ask("0" * 32, {}, "")
