"""A completion's answer, compiled: rendered whole, or as the chunks of a stream.

Chat and legacy completions have the same outer form and differ in their choices; what differs is a ``Shape``.
"""

from functools import cached_property
from itertools import accumulate, zip_longest
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

    def roll(self, ask: Ask, choices: list[Document] | None = None) -> "Roll":
        """Return the stream, of which any stretch can be had; nothing is made before it is."""
        reel = self._reel(ask, choices)
        opening = b"data: %b," % self._outer(ask)[:-1]
        ask.completion_tokens = reel.tokens
        if not ask.include_usage:
            return Roll(reel, opening, reel.chunks, DONE)
        last = b'%b"choices":[],"usage":%b}\n\n%b' % (opening, self._usage(ask), DONE)
        if not ask.continuous_usage:
            return Roll(reel, opening, reel.chunks_with_null, last)
        return Roll(reel, opening, self._chunks_with_usage(ask, reel), last)

    def _chunks_with_usage(self, ask: Ask, reel: "_Reel") -> list[bytes]:
        """Return the chunks with the usage so far in each."""
        chunks = []
        said = 0
        for number, tokens in enumerate(reel.steps):
            said += tokens
            ask.completion_tokens = reel.tokens * said // (reel.length or 1)
            end = b',"usage":%b}\n\n' % self._usage(ask)
            chunks += [chunk + end for chunk in reel.bare[reel.starts[number] : reel.starts[number + 1]]]
        return chunks

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


class _Reel:
    """The chunks of rendered choices; everything of them but the outer form, which each request fills anew.

    Attributes:
        tokens: how many tokens are said in all.
        steps: what goes out together: the tokens of each step.
        length: how many tokens are said one after another.
        starts: the number of the first chunk of each step, and after the last.
        bare: the chunks without their ends.
        chunks: the chunks, and ``chunks_with_null`` with the null that they carry where a usage chunk follows.
    """

    def __init__(self, choices: list[Document], shape: Shape, per_chunk: int, tokens: int) -> None:
        self.tokens = tokens
        runs = list(zip_longest(*(shape.chunks(choice, per_chunk) for choice in choices), fillvalue=(0, [])))
        self.steps = [max(tokens for tokens, _ in run) for run in runs]
        self.length = sum(self.steps)
        self.starts = [0, *accumulate(sum(len(part) for _, part in run) for run in runs)]
        self.bare = [chunk for run in runs for _, part in run for chunk in part]

    @cached_property
    def chunks(self) -> list[bytes]:
        return [chunk + b"}\n\n" for chunk in self.bare]

    @cached_property
    def chunks_with_null(self) -> list[bytes]:
        return [chunk + b',"usage":null}\n\n' for chunk in self.bare]


class Roll:
    """A stream for one request.

    Attributes:
        steps: what goes out together: the tokens of each step. The last, of none, says that this was all.
    """

    __slots__ = ("_chunks", "_last", "_opening", "_starts", "steps")

    def __init__(self, reel: _Reel, opening: bytes, chunks: list[bytes], last: bytes) -> None:
        self.steps = reel.steps
        self._starts = reel.starts
        self._opening = opening
        self._chunks = chunks
        self._last = last

    def cut(self, begin: int, end: int) -> bytes:
        """Return the steps from ``begin`` up to ``end``: one join, however many they are."""
        opening = self._opening
        data = opening + opening.join(self._chunks[self._starts[begin] : self._starts[end]])
        return data + self._last if end == len(self.steps) else data

    def all(self) -> bytes:
        """Return the whole stream."""
        return self._opening + self._opening.join(self._chunks) + self._last


_NOBODY = Ask("0" * 32, {}, "")
