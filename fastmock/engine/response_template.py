"""Response templates of completions: rendered as a JSON body, or as the chunks of a stream.

Chat and legacy completions share the outer form; a ``ChoiceFormat`` implements their different choices.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import accumulate, zip_longest
from typing import Any, Protocol
from weakref import WeakValueDictionary

import orjson

from fastmock.content.template import VARIABLES, Render, Template, literal
from fastmock.content.words import Chunker
from fastmock.core.completion import Answer, ChatRequest, Tokenizer
from fastmock.core.garbage import collection_paused
from fastmock.core.variables import MARK
from fastmock.engine.constraints import count, is_json
from fastmock.rules.settings import ReplySpec

OUTPUT, FINISH_REASON = "$output", "$finish_reason"
"""Placeholders of generated text and its finish reason in a document."""

DONE = b"data: [DONE]\n\n"

_MOST_KEPT, _LONGEST_KEPT = 64, 512  # cached streams of generated text, and their maximum tokens

_PART = 512  # steps that are joined at a time for a stream too large for one body
_OVERHEAD = 80  # bytes of overhead for two objects

_COUNTED = ("completion_tokens", "total_tokens")  # variables that are only known after the answer

_VARYING = [name for name, variable in VARIABLES.items() if variable.of_response]

Document = dict[str, Any]
Chunks = list[tuple[int, list[bytes]]]
"""The stream of one choice: for each step its number of tokens and its ``"choices":[…]`` fragments, sent together. The
last step has no tokens and contains the finish reason.
"""

_USAGE: Document = {
    "prompt_tokens": MARK + "prompt_tokens",
    "completion_tokens": MARK + "completion_tokens",
    "total_tokens": MARK + "total_tokens",
    "prompt_tokens_details": MARK + "prompt_tokens_details",
    "completion_tokens_details": MARK + "completion_tokens_details",
}


class ChoiceFormat(Protocol):
    """The differences between chat and legacy completions."""

    chunk_object: str

    def document(self, spec: ReplySpec) -> Document:
        """Return the document of an inline reply; raise ChoiceFormatError if the format does not support it."""

    def whole(self, document: Document, fingerprint: str) -> Document:
        """Fill in the missing parts of a document from a file; raise ChoiceFormatError if its form is invalid."""

    def answer(self, choice: Document) -> Answer:
        """Return the answer of a rendered choice, without its token count."""

    def choice(self, answer: Answer, index: int, chat: ChatRequest) -> Document:
        """Render an answer as a choice."""

    def chunks(self, choice: Document, chunker: Chunker) -> Chunks:
        """Split a rendered choice into the steps of its stream."""


class Rendering(Protocol):
    """A template in a dialect. ``answers``, if given, are rendered instead of its own."""

    @property
    def stops(self) -> bool:
        """Whether its own answers end by themselves, but for generated ones, whose end is that of the request."""

    def answers(self, chat: ChatRequest) -> Sequence[Answer]:
        """Return its own answers to ``chat``."""

    def whole(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> bytes:
        """Return the non-streaming response, and set the token count of ``chat``."""

    def render_stream(
        self, chat: ChatRequest, answers: Sequence[Answer] | None = None, obfuscated: bool = False
    ) -> "RenderedStream":
        """Return the stream, and set the token count of ``chat``."""

    def length(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> int:
        """Return the number of tokens of the answer; of several choices, the maximum."""


class RenderedStream(Protocol):
    """A stream for one request.

    Attributes:
        steps: the tokens of each step, whose events are sent together. The last step has none and ends the stream.
        source: the object that holds the bytes; streams with equal content may share it.
    """

    steps: list[int]
    source: object

    def size(self) -> int:
        """Return the memory that the stream takes, in bytes."""

    def cut(self, begin: int, end: int) -> bytes:
        """Return the steps from ``begin`` up to ``end``."""

    def all(self) -> bytes:
        """Return the whole stream."""

    def length(self) -> int:
        """Return the length of the stream, in bytes."""


def parts_of(stream: RenderedStream) -> Iterator[bytes]:
    """Yield the whole stream in parts."""
    steps = len(stream.steps)
    return (stream.cut(begin, min(begin + _PART, steps)) for begin in range(0, steps, _PART))


class ChoiceFormatError(Exception):
    """An invalid response document: the path inside it, and the error there."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def envelope(document: Document, object_: str, id_: str, choices: list[Document], fingerprint: str) -> Document:
    """Return the standard outer form, updated with the keys of ``document`` and with ``choices``."""
    standard: Document = {"id": f"${id_}", "object": object_, "created": MARK + "timestamp", "model": "$model"}
    last: Document = {"usage": _USAGE, "service_tier": MARK + "service_tier", "system_fingerprint": fingerprint}
    return {**standard, "choices": choices, **last, **{k: v for k, v in document.items() if k != "choices"}}


@lru_cache(256)
def _outer_templates(document: bytes, chunk_object: str) -> tuple[Render, Render, Render]:
    """Compile the outer form of a document in JSON: that of the body, that of a chunk, and the usage.

    Most replies have the same, so it is cached: 1,000 rules load in 0.4 s instead of 0.8.
    """
    outer: Document = orjson.loads(document)
    whole = Template({**outer, "usage": ""}).render
    usage = Template(outer.pop("usage", None)).render
    del outer["choices"]
    outer["object"] = chunk_object
    first = {key: outer.pop(key) for key in ("id", "object", "created", "model") if key in outer}
    return whole, Template(first | outer).render, usage


def fragment(choice: Document) -> bytes:
    """Serialize the part of a chunk that contains its only choice."""
    return b'"choices":[' + orjson.dumps(choice) + b"]"


class ResponseTemplate:
    """The response of a rule, compiled for all requests.

    Attributes:
        generates: whether it contains generated text, ``ChatRequest.output``.
        repeats: whether it may repeat its tool calls after their results.
        fixed: the answer if it is the same for every request, apart from ids; None otherwise or with several choices.
        generated_only: whether the answer consists of generated text alone.
        dialect_templates: its forms in other dialects, by dialect.
        has_reasoning: whether it has reasoning.
        varies: whether the text of the answers depends on the id or the time of the response.
        text_only: whether the answers are text alone; ``prose``: whether that is constant and not JSON.
    """

    def __init__(self, document: Document, choice_format: ChoiceFormat, per_chunk: int, repeats: bool = False) -> None:
        """Compile a document that ``ChoiceFormat.whole`` returned.

        Raises:
            TemplateError: the document's variables are invalid.
        """
        self._document = document
        self._choice_format = choice_format
        self._per_chunk = per_chunk
        self.repeats = repeats
        whole = Template(document)
        self._usual, self._detailed = Template(document, usual=True).render, whole.render
        outer = orjson.dumps({**document, "choices": ""}, option=orjson.OPT_NON_STR_KEYS)
        self._envelope, self._chunk_envelope, self._usage = _outer_templates(outer, choice_format.chunk_object)
        choices = Template(document["choices"])
        self.generates = "output" in whole.names
        self._choices = choices.render
        self._counts = not whole.names.isdisjoint(_COUNTED)
        self._contains_count = not choices.names.isdisjoint(_COUNTED)
        self.generated_only = self.generates and choices.names <= {"output", "finish_reason"}
        self._fixed_tokens: dict[Tokenizer, int] = {}
        answers = [choice_format.answer(choice) for choice in orjson.loads(choices.render(_PLACEHOLDER_CHAT))]
        self.text_only = not any(answer.calls or answer.refusal is not None for answer in answers)
        self.stops = all(answer.finish_reason == "stop" for answer in answers)
        self.has_reasoning = any(answer.reasoning is not None for answer in answers)
        self.prose = self.text_only and choices.constant and not any(is_json(answer.text) for answer in answers)
        # Ids do not affect the count, and are replaced in the chunks that contain them.
        others = [choice_format.answer(choice) for choice in orjson.loads(choices.render(_OTHER_CHAT))]
        self._same_tokens = choices.names <= {"call_id"} and [_without_ids(one) for one in answers] == [
            _without_ids(one) for one in others
        ]
        self.varies = not self._same_tokens and not choices.names.isdisjoint(_VARYING)
        self._ids = self._same_tokens and not choices.constant
        self.fixed = answers[0] if self._same_tokens and len(answers) == 1 else None
        self._generated_sequences: dict[tuple[str, str, Tokenizer], ChunkSequence] = {}
        # Those of streams that are still being sent.
        self._shared: WeakValueDictionary[tuple[str, str, Tokenizer], ChunkSequence] = WeakValueDictionary()
        self.dialect_templates: dict[str, Rendering] = {}
        self._for_n: dict[int, ResponseTemplate] = {}
        self._fixed_sequences: dict[Tokenizer, ChunkSequence] = {}  # of constant answers

    def for_chunks_of(self, per_chunk: int) -> "ResponseTemplate":
        """Return the template with another number of tokens per chunk, for another App; nothing is compiled again."""
        if per_chunk == self._per_chunk:
            return self
        other = copy(self)
        other._per_chunk = per_chunk
        other._generated_sequences, other._shared, other._fixed_sequences = {}, WeakValueDictionary(), {}
        other.dialect_templates, other._for_n = {}, {}
        return other

    def with_answers(self, chat: ChatRequest, answers: Sequence[Answer]) -> "ResponseTemplate":
        """Return a template with ``answers`` as its own; they were created for ``chat``."""
        call_id = f"call_{chat.unique[8:]}"

        def with_variable(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: with_variable(inner) for key, inner in value.items()}
            if isinstance(value, list):
                return [with_variable(inner) for inner in value]
            return value.replace(call_id, "${call_id}") if isinstance(value, str) else value

        document = {**self._document, "choices": with_variable(literal(self._documents(chat, answers)))}
        return ResponseTemplate(document, self._choice_format, self._per_chunk)

    def first_choice(self) -> "ResponseTemplate":
        """Return the template with the first choice alone."""
        if len(self._document["choices"]) == 1:
            return self
        document = {**self._document, "choices": self._document["choices"][:1]}
        return ResponseTemplate(document, self._choice_format, self._per_chunk, self.repeats)

    def overrides(self) -> Document:
        """Return the model and usage that the document sets itself, as templates."""
        document = self._document
        return {
            name: document[name]
            for name, standard in (("model", "$model"), ("usage", _USAGE))
            if document.get(name) not in (None, standard)
        }

    def for_choices(self, n: int) -> "ResponseTemplate":
        """Return the template with ``n`` choices: those of the document, repeated if there are fewer."""
        choices = self._document["choices"]
        if n in (1, len(choices)):
            return self
        if n not in self._for_n:
            several = [{**choices[i % len(choices)], "index": i} for i in range(n)]
            document = {**self._document, "choices": several}
            self._for_n[n] = ResponseTemplate(document, self._choice_format, self._per_chunk, self.repeats)
        return self._for_n[n]

    def answers(self, chat: ChatRequest) -> list[Answer]:
        """Return the answers to ``chat``; a text that contains its own token count is counted as if it contained 0."""
        if chat.answered_by is self:  # they were already compared with a length limit: saves 8 µs
            return chat.known_answers
        if self._contains_count:
            chat.completion_tokens = 0
        rendered = [self._choice_format.answer(choice) for choice in self._rendered(chat)]
        counts = [self._counted(chat, answer) for answer in rendered]
        if self._contains_count:
            chat.completion_tokens = sum(counts) + chat.hidden_tokens
            rendered = [self._choice_format.answer(choice) for choice in self._rendered(chat)]
        answers = [answer._replace(tokens=tokens) for answer, tokens in zip(rendered, counts, strict=True)]
        if not self._contains_count and chat.request is not None:
            chat.answered_by, chat.known_answers = self, answers
        return answers

    def whole(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> bytes:
        """Return the non-streaming response; ``answers`` are rendered instead of the template's own."""
        if answers is not None:
            chat.completion_tokens = sum(answer.tokens for answer in answers) + chat.hidden_tokens
            choices = orjson.dumps(self._documents(chat, answers))
            # A quote inside a string is escaped as \\", so only the key itself can match.
            before, _, rest = self._envelope(chat).partition(b'"choices":""')
            between, _, after = rest.partition(b'"usage":""')
            return b'%b"choices":%b%b"usage":%b%b' % (before, choices, between, self._usage(chat), after)
        details = chat.details
        if self._counts:
            tokens = self._fixed_tokens.get(chat.tokenizer)
            if tokens is None:
                tokens = self.tokens(chat)
            chat.completion_tokens = tokens if details is None else tokens + details.hidden_tokens
        return self._usual(chat) if details is None else self._detailed(chat)

    def render_stream(
        self, chat: ChatRequest, answers: Sequence[Answer] | None = None, obfuscated: bool = False
    ) -> "ChunkStream":
        """Return the stream, which can be read from any step; it is only joined on reading."""
        hidden = 0 if chat.details is None else chat.details.hidden_tokens
        if answers is None:
            total = self.tokens(chat)
            chat.completion_tokens = total + hidden
            sequence = self._sequence(chat)
        else:
            total = sum(answer.tokens for answer in answers)
            chat.completion_tokens = total + hidden
            sequence = ChunkSequence(self._documents(chat, answers), self._choice_format, self._chunker(chat))
        opening = b"data: %b," % self._chunk_envelope(chat)[:-1]
        last, end = DONE, b"}\n\n"
        if chat.include_usage:
            last = b'%b"choices":[],"usage":%b}\n\n%b' % (opening, self._usage(chat), DONE)
            end = b',"usage":null}\n\n'
        if chat.continuous_usage:
            chunks, end = self._chunks_with_usage(chat, sequence, total), b""
        elif obfuscated:
            chunks, end = sequence.padded_with_null if chat.include_usage else sequence.padded, b""
        else:
            chunks = sequence.bare
        if self._ids and answers is None:
            call_id = b"call_" + chat.unique[8:].encode()
            chunks = [
                chunk.replace(_PLACEHOLDER_CALL_ID, call_id) if _PLACEHOLDER_CALL_ID in chunk else chunk
                for chunk in chunks
            ]
        return ChunkStream(sequence, opening, chunks, end, last)

    def _chunks_with_usage(self, chat: ChatRequest, sequence: "ChunkSequence", tokens: int) -> list[bytes]:
        """Return the chunks, each with the usage so far."""
        chunks = []
        so_far = 0
        for number, step in enumerate(sequence.steps):
            so_far += step
            chat.completion_tokens = tokens * so_far // (sequence.length or 1)
            end = b',"usage":%b}\n\n' % self._usage(chat)
            chunks += [chunk + end for chunk in sequence.bare[sequence.starts[number] : sequence.starts[number + 1]]]
        return chunks

    def length(self, chat: ChatRequest, answers: Sequence[Answer] | None = None) -> int:
        """Return the number of tokens of the answer; of several choices, the maximum."""
        if answers is not None:
            return ChunkSequence(self._documents(chat, answers), self._choice_format, self._chunker(chat)).length
        return chat.output_tokens if self.generated_only else self._sequence(chat).length

    def _rendered(self, chat: ChatRequest) -> list[Document]:
        """Return the choices rendered for ``chat``."""
        rendered: list[Document] = orjson.loads(self._choices(chat))
        return rendered

    def _documents(self, chat: ChatRequest, answers: Sequence[Answer]) -> list[Document]:
        return [self._choice_format.choice(answer, index, chat) for index, answer in enumerate(answers)]

    def _counted(self, chat: ChatRequest, answer: Answer) -> int:
        """Count the tokens of an answer. Generated text has as many as requested."""
        if self.generates and answer.text == chat.output and not answer.calls and answer.refusal is None:
            return chat.output_tokens + (chat.tokenizer.count(answer.reasoning) if answer.reasoning else 0)
        return count(answer, chat.tokenizer)

    def tokens(self, chat: ChatRequest) -> int:
        """Count the tokens of the answers to ``chat``; for constant answers, only once."""
        if not self._same_tokens:
            return sum(answer.tokens for answer in self.answers(chat))
        tokens = self._fixed_tokens.get(chat.tokenizer)
        if tokens is None:
            tokens = self._fixed_tokens[chat.tokenizer] = sum(answer.tokens for answer in self.answers(chat))
        return tokens

    def _chunker(self, chat: ChatRequest) -> Chunker:
        return Chunker(chat.tokenizer, self._per_chunk, chat.generated)

    def _sequence(self, chat: ChatRequest) -> "ChunkSequence":
        if self._same_tokens:
            if (ready := self._fixed_sequences.get(chat.tokenizer)) is None:
                ready = self._fixed_sequences[chat.tokenizer] = ChunkSequence(
                    self._rendered(_PLACEHOLDER_CHAT), self._choice_format, self._chunker(chat)
                )
            return ready
        key = chat.output, chat.finish_reason, chat.tokenizer
        if self.generated_only and key in self._generated_sequences:
            return self._generated_sequences[key]
        if self.generated_only and (shared := self._shared.get(key)) is not None:
            return shared
        sequence = ChunkSequence(self._rendered(chat), self._choice_format, self._chunker(chat))
        if self.generated_only:
            self._shared[key] = sequence
        if self.generated_only and sequence.length <= _LONGEST_KEPT:
            if len(self._generated_sequences) >= _MOST_KEPT:
                self._generated_sequences.clear()
            self._generated_sequences[key] = sequence
        return sequence


class ChunkSequence:
    """The chunks of rendered choices, without the outer form, which is rendered for each request.

    Attributes:
        steps: the tokens of each step, whose chunks are sent together.
        length: the total number of tokens.
        starts: the number of the first chunk of each step, and the total number of chunks.
        bare: the chunks without their ends.
        padded: the chunks with ``obfuscation``, which hides the lengths of their texts; ``padded_with_null``: the same
            with the null usage that precedes a usage chunk.
    """

    def __init__(self, choices: list[Document], choice_format: ChoiceFormat, chunker: Chunker) -> None:
        with collection_paused():
            runs = choice_format.chunks(choices[0], chunker)
            if len(choices) > 1:
                together = zip_longest(
                    *(choice_format.chunks(choice, chunker) for choice in choices), fillvalue=(0, [])
                )
                runs = [
                    (max(tokens for tokens, _ in run), [part for _, parts in run for part in parts]) for run in together
                ]
            self.steps = [tokens for tokens, _ in runs]
            self.length = sum(self.steps)
            self.starts = [0, *accumulate(len(parts) for _, parts in runs)]
            self.bare = [part for _, parts in runs for part in parts]
            del runs

    @cached_property
    def padded(self) -> list[bytes]:
        """The chunks with ``obfuscation``."""
        return [b'%b,"obfuscation":"%b"}\n\n' % (chunk, _padding(chunk)) for chunk in self.bare]

    @cached_property
    def padded_with_null(self) -> list[bytes]:
        """The chunks with ``obfuscation`` and a null usage."""
        return [b'%b,"usage":null,"obfuscation":"%b"}\n\n' % (chunk, _padding(chunk)) for chunk in self.bare]


def _padding(chunk: bytes) -> bytes:
    """Return padding that makes the length of a chunk a multiple of 16."""
    return blake2b(chunk, digest_size=16).hexdigest()[: 16 - len(chunk) % 16].encode()


class ChunkStream:
    """A stream for one request; see RenderedStream."""

    __slots__ = ("_between", "_chunks", "_end", "_last", "_opening", "_starts", "source", "steps")

    def __init__(self, sequence: ChunkSequence, opening: bytes, chunks: list[bytes], end: bytes, last: bytes) -> None:
        self.steps = sequence.steps
        self.source: object = sequence
        self._starts = sequence.starts
        self._opening = opening
        self._chunks = chunks
        self._end = end
        self._between = end + opening
        self._last = last

    def cut(self, begin: int, end: int) -> bytes:
        """Return the steps from ``begin`` up to ``end``, with a single join."""
        data = self._opening + self._between.join(self._chunks[self._starts[begin] : self._starts[end]]) + self._end
        return data + self._last if end == len(self.steps) else data

    def all(self) -> bytes:
        """Return the whole stream."""
        return b"%b%b%b%b" % (self._opening, self._between.join(self._chunks), self._end, self._last)

    def length(self) -> int:
        """Return the length of the stream, in bytes."""
        return sum(map(len, self._chunks)) + len(self._between) * len(self._chunks) + len(self._last)

    def size(self) -> int:
        """Return the memory that the stream takes, in bytes."""
        return sum(map(len, self._chunks)) + _OVERHEAD * len(self._chunks)


def _without_ids(answer: Answer) -> Answer:
    return answer._replace(calls=tuple(call._replace(id="") for call in answer.calls))


PLACEHOLDER_CALL_ID = "call_" + "0" * 24
"""The call id in text rendered ahead of any request; the id of the request replaces it."""

_PLACEHOLDER_CALL_ID = PLACEHOLDER_CALL_ID.encode()
_PLACEHOLDER_CHAT, _OTHER_CHAT = ChatRequest("0" * 32, {}, ""), ChatRequest("1" * 32, {}, "")
