"""A completion's answer, compiled: rendered whole, or as the chunks of a stream.

Chat and legacy completions have the same outer form and differ in their choices; what differs is a ``Shape``.
"""

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any, Protocol

import orjson

from fastmock.config.documents import MARK
from fastmock.content.template import Template
from fastmock.wire import Ask

DONE = b"data: [DONE]\n\n"

Document = dict[str, Any]
Chunks = list[list[bytes]]
"""What one choice sends: steps, each a run of ``"choices":[…]`` fragments that go out together."""

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

    def chunks(self, choice: Document, per_chunk: int) -> Chunks:
        """Cut a rendered choice into the steps of its stream, the last with the finish reason."""


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
    """One answer of one endpoint, for every request that gets it."""

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
        self._choices = choices.render
        self._counts = not whole.names.isdisjoint(("completion_tokens", "total_tokens"))
        self._fixed = _Reel(self.choices(_NOBODY), shape, per_chunk) if choices.constant else None
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
            ask.completion_tokens = sum(map(self._shape.tokens, choices))
            usage = orjson.loads(self._usage(ask))
            return orjson.dumps({**orjson.loads(self._whole(ask)), "choices": choices, "usage": usage})
        if self._counts:
            fixed = self._fixed
            ask.completion_tokens = fixed.tokens if fixed else sum(map(self._shape.tokens, self.choices(ask)))
        return self._whole(ask)

    def events(self, ask: Ask, choices: list[Document] | None = None) -> bytes:
        """Return the whole stream, for one that takes no time."""
        reel = self._reel(ask, choices)
        opening = b"data: %b," % self._outer(ask)[:-1]
        if not ask.include_usage:
            return opening.join(reel.plain)
        ask.completion_tokens = reel.tokens
        return opening.join(reel.with_usage) + self._last(ask, opening)

    def steps(self, ask: Ask, choices: list[Document] | None = None) -> list[bytes]:
        """Return the stream in the pieces that go out one after another."""
        reel = self._reel(ask, choices)
        opening = b"data: %b," % self._outer(ask)[:-1]
        steps = [opening.join((b"", *step)) for step in reel.steps(ask.include_usage)]
        ask.completion_tokens = reel.tokens
        steps[-1] += self._last(ask, opening) if ask.include_usage else DONE
        return steps

    def _reel(self, ask: Ask, choices: list[Document] | None) -> "_Reel":
        if choices is None and self._fixed is not None:
            return self._fixed
        return _Reel(self.choices(ask) if choices is None else choices, self._shape, self._per_chunk)

    def _last(self, ask: Ask, opening: bytes) -> bytes:
        return b'%b"choices":[],"usage":%b}\n\n%b' % (opening, self._usage(ask), DONE)


class _Reel:
    """The chunks of rendered choices; everything of them but the outer form, which each request fills anew."""

    def __init__(self, choices: list[Document], shape: Shape, per_chunk: int) -> None:
        self.tokens = sum(map(shape.tokens, choices))
        runs: Iterable[tuple[list[bytes], ...]]
        runs = zip_longest(*(shape.chunks(choice, per_chunk) for choice in choices), fillvalue=[])
        self._steps = [[chunk for part in run for chunk in part] for run in runs]
        # Joined by the opening these are the stream: 0.3 µs for twenty chunks.
        plain = [chunk for step in self.steps(False) for chunk in step]
        plain[-1] += DONE
        self.plain = (b"", *plain)
        self.with_usage = (b"", *(chunk for step in self.steps(True) for chunk in step))

    def steps(self, usage: bool) -> list[list[bytes]]:
        """Return the ends of the chunks, step by step; ``usage`` adds the null that earlier chunks carry then."""
        end = b',"usage":null}\n\n' if usage else b"}\n\n"
        return [[chunk + end for chunk in step] for step in self._steps]


_NOBODY = Ask("0" * 32, {}, "")
