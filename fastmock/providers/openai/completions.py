"""``POST /v1/completions``, the legacy endpoint."""

from collections.abc import Callable
from typing import Any

from fastmock.content.tokenizers import OfModel
from fastmock.content.words import Cutter
from fastmock.core import errors
from fastmock.core.http import Answer, Ask, Demands, Reply, Request, Stream, TokenProb, Vocabulary
from fastmock.core.json import parse as parse_json
from fastmock.engine.answer_size import MAX_CHOICES, check_inputs
from fastmock.engine.responder import Rulebook
from fastmock.engine.response_template import (
    FINISH_REASON,
    OUTPUT,
    Chunks,
    Document,
    Script,
    ShapeError,
    envelope,
    fragment,
)
from fastmock.providers.openai import params
from fastmock.providers.openai.param_names import Parameters
from fastmock.rules.settings import Saying

_MOST_PROMPTS = 2048
_CHECKS: dict[str, params.Check] = {
    **params.COMPLETING,
    "logprobs": params.integer(0, 5),
    "best_of": params.integer(1, 20),
    "echo": params.boolean,
    "suffix": params.string,
}
_PARAMETERS = Parameters(_CHECKS)


def parse(body: dict[str, Any], unique: str, vocabularies: OfModel) -> list[Ask]:
    """Read a request into one Ask a prompt; raise the API's own error where it is wrong.

    Rules see the text of a token array; without the vocabulary its numbers, separated by spaces.
    """
    model = params.model_of(body)
    vocabulary = vocabularies(model)
    present = _PARAMETERS.of(body)
    logprobs = body.get("logprobs")
    demanding = logprobs is not None or body.get("stop")
    asks = []
    for text, tokens in _prompts(body.get("prompt"), vocabulary):
        ask = Ask(unique, body, model)
        ask.endpoint = "completions"
        ask.vocabulary = vocabulary
        ask.user_message = text
        ask.prompt_tokens = tokens
        ask.sets_length, ask.sets_least = present.sets_length, present.sets_least
        params.read_options(ask)
        if demanding:
            ask.special = True
            ask.demands = Demands(stop=params.read_stop(body), top_logprobs=logprobs)
        asks.append(ask)
    return asks


def _prompts(prompt: Any, vocabulary: Vocabulary) -> list[tuple[str, int]]:
    """Return the text and the tokens of each prompt."""
    count = vocabulary.count
    if prompt is None:  # the API then completes from the start of a document
        return [("", 0)]
    if type(prompt) is str:
        return [(prompt, count(prompt))]
    if type(prompt) is not list:
        raise errors.WrongType("prompt", "one of a string or array", prompt)
    if not prompt:
        raise errors.EmptyArray("prompt")
    if all(type(item) is int for item in prompt):
        return [_decoded(prompt, vocabulary)]
    if len(prompt) > _MOST_PROMPTS:
        raise errors.ArrayTooLong("prompt", _MOST_PROMPTS, len(prompt))
    found = []
    for index, item in enumerate(prompt):
        if type(item) is str:
            found.append((item, count(item)))
        elif type(item) is list and item and all(type(token) is int for token in item):
            found.append(_decoded(item, vocabulary))
        else:
            raise errors.WrongType(f"prompt[{index}]", "one of a string or array of integers", item)
    return found


def _decoded(tokens: list[int], vocabulary: Vocabulary) -> tuple[str, int]:
    text = vocabulary.decode(tokens)
    return " ".join(map(str, tokens)) if text is None else text, len(tokens)


class CompletionShape:
    """See ``script.Shape``."""

    chunk_object = "text_completion"

    def whole(self, document: Document, fingerprint: str) -> Document:
        """See ``script.Shape``."""
        choices = document.get("choices")
        if not isinstance(choices, list) or not choices:
            raise ShapeError(("choices",), "must be a list with at least one choice")
        filled = []
        for index, choice in enumerate(choices):
            if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
                raise ShapeError(("choices", index), "must be an object with a string 'text'")
            finish = FINISH_REASON if choice["text"] == OUTPUT else "stop"
            standard: Document = {"text": "", "index": index, "logprobs": None, "finish_reason": finish}
            filled.append({**standard, **choice, "index": index})
        document = envelope(document, "text_completion", "completion_id", filled, fingerprint)
        return {key: value for key, value in document.items() if key != "service_tier"}

    def document(self, saying: Saying) -> Document:
        """See ``script.Shape``."""
        for name in ("tool_calls", "refusal", "reasoning"):
            if getattr(saying, name) is not None:
                raise ShapeError((name,), "is nothing that a legacy completion can say")
        return {"choices": [{"text": OUTPUT if saying.content is None else saying.content}]}

    def answer(self, choice: Document) -> Answer:
        """See ``script.Shape``."""
        return Answer(choice["text"], finish_reason=choice["finish_reason"])

    def choice(self, answer: Answer, index: int, ask: Ask) -> Document:
        """See ``script.Shape``."""
        text = answer.text or ""
        logprobs = _logprobs(answer, len(text))
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": answer.finish_reason}

    def chunks(self, choice: Document, cutter: Cutter) -> Chunks:
        """See ``script.Shape``."""

        def chunk(text: str, finish: str | None, logprobs: Document | None = None) -> bytes:
            return fragment({"text": text, "index": choice["index"], "logprobs": logprobs, "finish_reason": finish})

        logprobs: Any = choice.get("logprobs")
        steps = []
        if _is_cut(logprobs, len(choice["text"])):
            ends = [*logprobs["text_offset"], len(choice["text"])]
            if before := choice["text"][: ends[0]]:  # an echo of the prompt
                steps.append((0, [chunk(before, None)]))
            for place in range(0, len(ends) - 1, cutter.per_chunk):
                end = min(place + cutter.per_chunk, len(ends) - 1)
                part = {name: values[place:end] for name, values in logprobs.items()}
                steps.append((end - place, [chunk(choice["text"][ends[place] : ends[end]], None, part)]))
        else:
            steps = [(tokens, [chunk(piece, None)]) for tokens, piece in cutter.cut(choice["text"])]
        return [*steps, (0, [chunk("", choice["finish_reason"])])]


def _is_cut(logprobs: Any, length: int) -> bool:
    """Return whether they tell where in a text of ``length`` characters each token begins."""
    lists = list(logprobs.values()) if isinstance(logprobs, dict) and logprobs.get("text_offset") else []
    if not lists or not all(isinstance(one, list) and len(one) == len(lists[0]) for one in lists):
        return False
    offsets = logprobs["text_offset"]
    return all(type(one) is int for one in offsets) and [0, *offsets, length] == sorted([0, *offsets, length])


def _logprobs(answer: Answer, length: int) -> Document | None:
    """Return the probabilities of a text that is ``length`` characters long; an echo stands before its tokens."""
    if answer.logprobs is None:
        return None
    said = b"".join(one.token for one in answer.logprobs)
    place = length - len(said.decode(errors="replace"))
    offsets = []
    pending = b""
    for one in answer.logprobs:
        offsets.append(place)
        pending += one.token
        try:
            place += len(pending.decode())
            pending = b""
        except UnicodeDecodeError:  # a token may end inside a character
            continue
    return {
        "tokens": [_shown(one.token) for one in answer.logprobs],
        "token_logprobs": [one.logprob for one in answer.logprobs],
        "top_logprobs": [
            None if one.logprob is None else {_shown(token): logprob for token, logprob in one.top}
            for one in answer.logprobs
        ],
        "text_offset": offsets,
    }


def _shown(token: bytes) -> str:
    return token.decode(errors="backslashreplace")


class Completions:
    """The endpoint."""

    def __init__(self, rulebook: Rulebook, vocabularies: OfModel, validate: Callable[[Ask], None]) -> None:
        self._rulebook = rulebook
        self._vocabularies = vocabularies
        self._validate = validate

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        return self.say(parse_json(request.body), unique, request=request)

    def read(self, request: Request, unique: str) -> Ask:
        """See ``managed.Dialect``."""
        ask = self.parse(parse_json(request.body), unique)
        ask.request = request
        self._validate(ask)
        return ask

    def parse(self, body: Document, unique: str) -> Ask:
        """See ``managed.Dialect``; return the Ask of the first prompt, with the tokens of all."""
        first, *others = parse(body, unique, self._vocabularies)
        first.prompt_tokens += sum(ask.prompt_tokens for ask in others)
        return first

    def tell(self, ask: Ask, script: Script, answers: list[Answer] | None = None) -> Reply | Stream:
        """See ``managed.Dialect``."""
        return self._rulebook.send(ask, script, answers)

    def say(
        self, body: Document, unique: str, file: str | None = None, request: Request | None = None
    ) -> Reply | Stream:
        """Answer a parsed request, by the rules or by a response file.

        A list of prompts gets the choices of all, one prompt's after another's.
        """
        asks = parse(body, unique, self._vocabularies)
        for ask in asks:
            ask.request, ask.prompts = request, len(asks)
        first = asks[0]
        if request is not None:
            self._validate(first)
        if (choices := len(asks) * first.choices) > MAX_CHOICES:
            raise errors.AnswerTooLarge(choices, "choices", MAX_CHOICES)
        check_inputs(request, len(asks))
        if len(asks) == 1 and not body.get("echo"):
            return self._rulebook.answer(first, file)
        answers: list[Answer] = []
        for ask in asks:
            script, said = self._rulebook.said(ask, file)
            if body.get("echo"):
                said = self._echoed(ask, said)
            answers += said
            if ask is first:
                spoken = script
        first.prompt_tokens = sum(ask.prompt_tokens for ask in asks)
        return self._rulebook.send(first, spoken, answers)

    def _echoed(self, ask: Ask, said: list[Answer]) -> list[Answer]:
        """Put the prompt before each answer, and its tokens before those whose probabilities are wanted."""
        prompt: tuple[TokenProb, ...] = ()
        if ask.demands is not None and ask.demands.top_logprobs is not None:
            prompt = self._rulebook.probabilities(ask, ask.user_message)
            prompt = tuple(one if place else TokenProb(one.token, None) for place, one in enumerate(prompt))
        return [
            answer._replace(
                text=f"{ask.user_message}{answer.text}",
                logprobs=None if answer.logprobs is None else (*prompt, *answer.logprobs),
            )
            for answer in said
        ]
