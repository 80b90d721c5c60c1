"""``POST /v1/completions``, the legacy endpoint."""

from collections.abc import Callable, Sequence
from typing import Any

from fastmock.content.tokenizers import TokenizerOf
from fastmock.content.words import Chunker
from fastmock.core import errors
from fastmock.core.completion import Answer, ChatRequest, OutputConstraints, Tokenizer, TokenProb
from fastmock.core.http import Reply, Request, Stream
from fastmock.core.json import parse as parse_json
from fastmock.engine.answer_size import MAX_CHOICES, check_inputs
from fastmock.engine.responder import Responder
from fastmock.engine.response_template import (
    FINISH_REASON,
    OUTPUT,
    ChoiceFormatError,
    Chunks,
    Document,
    Rendering,
    ResponseTemplate,
    envelope,
    fragment,
)
from fastmock.providers.openai import params
from fastmock.providers.openai.param_names import Parameters
from fastmock.rules.settings import ReplySpec

_MOST_PROMPTS = 2048
_CHECKS: dict[str, params.Check] = {
    **params.COMMON_CHECKS,
    "logprobs": params.integer(0, 5),
    "best_of": params.integer(1, 20),
    "echo": params.boolean,
    "suffix": params.string,
}
_PARAMETERS = Parameters(_CHECKS)


def parse(body: dict[str, Any], unique: str, tokenizers: TokenizerOf) -> list[ChatRequest]:
    """Parse a request into one ChatRequest per prompt; raise the API's own error if it is invalid.

    Rules see the decoded text of a token array, or without a vocabulary its numbers, separated by spaces.
    """
    model = params.model_of(body)
    tokenizer = tokenizers(model)
    present = _PARAMETERS.of(body)
    logprobs = body.get("logprobs")
    constraining = logprobs is not None or body.get("stop")
    chats = []
    for text, tokens in _prompts(body.get("prompt"), tokenizer):
        chat = ChatRequest(unique, body, model)
        chat.endpoint = "completions"
        chat.tokenizer = tokenizer
        chat.user_message = text
        chat.prompt_tokens = tokens
        chat.sets_length, chat.sets_least = present.sets_length, present.sets_least
        params.read_options(chat)
        if constraining:
            chat.add_details().constraints = OutputConstraints(stop=params.read_stop(body), top_logprobs=logprobs)
        chats.append(chat)
    return chats


def _prompts(prompt: Any, tokenizer: Tokenizer) -> list[tuple[str, int]]:
    """Return the text and the token count of each prompt."""
    count = tokenizer.count
    if prompt is None:  # the API then starts a new document
        return [("", 0)]
    if type(prompt) is str:
        return [(prompt, count(prompt))]
    if type(prompt) is not list:
        raise errors.WrongType("prompt", "one of a string or array", prompt)
    if not prompt:
        raise errors.EmptyArray("prompt")
    if all(type(item) is int for item in prompt):
        return [_decoded(prompt, tokenizer)]
    if len(prompt) > _MOST_PROMPTS:
        raise errors.ArrayTooLong("prompt", _MOST_PROMPTS, len(prompt))
    found = []
    for index, item in enumerate(prompt):
        if type(item) is str:
            found.append((item, count(item)))
        elif type(item) is list and item and all(type(token) is int for token in item):
            found.append(_decoded(item, tokenizer))
        else:
            raise errors.WrongType(f"prompt[{index}]", "one of a string or array of integers", item)
    return found


def _decoded(tokens: list[int], tokenizer: Tokenizer) -> tuple[str, int]:
    text = tokenizer.decode(tokens)
    return " ".join(map(str, tokens)) if text is None else text, len(tokens)


class CompletionChoiceFormat:
    """The choices of legacy completions."""

    chunk_object = "text_completion"

    def whole(self, document: Document, fingerprint: str) -> Document:
        """Fill in the missing parts of a document from a file; raise ChoiceFormatError if its form is invalid."""
        choices = document.get("choices")
        if not isinstance(choices, list) or not choices:
            raise ChoiceFormatError(("choices",), "must be a list with at least one choice")
        filled = []
        for index, choice in enumerate(choices):
            if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
                raise ChoiceFormatError(("choices", index), "must be an object with a string 'text'")
            finish = FINISH_REASON if choice["text"] == OUTPUT else "stop"
            standard: Document = {"text": "", "index": index, "logprobs": None, "finish_reason": finish}
            filled.append({**standard, **choice, "index": index})
        document = envelope(document, "text_completion", "completion_id", filled, fingerprint)
        return {key: value for key, value in document.items() if key != "service_tier"}

    def document(self, spec: ReplySpec) -> Document:
        """Return the document of an inline reply; raise ChoiceFormatError for tool calls, refusals and reasoning."""
        for name in ("tool_calls", "refusal", "reasoning"):
            if getattr(spec, name) is not None:
                raise ChoiceFormatError((name,), "is not supported by legacy completions")
        return {"choices": [{"text": OUTPUT if spec.content is None else spec.content}]}

    def answer(self, choice: Document) -> Answer:
        """Return the answer of a rendered choice."""
        return Answer(choice["text"], finish_reason=choice["finish_reason"])

    def choice(self, answer: Answer, index: int, chat: ChatRequest) -> Document:
        """Render an answer as a choice."""
        text = answer.text or ""
        logprobs = _logprobs(answer, len(text))
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": answer.finish_reason}

    def chunks(self, choice: Document, chunker: Chunker) -> Chunks:
        """Split a rendered choice into the steps of its stream."""

        def chunk(text: str, finish: str | None, logprobs: Document | None = None) -> bytes:
            return fragment({"text": text, "index": choice["index"], "logprobs": logprobs, "finish_reason": finish})

        logprobs: Any = choice.get("logprobs")
        steps = []
        if _is_cut(logprobs, len(choice["text"])):
            ends = [*logprobs["text_offset"], len(choice["text"])]
            if before := choice["text"][: ends[0]]:  # the echo of the prompt
                steps.append((0, [chunk(before, None)]))
            for place in range(0, len(ends) - 1, chunker.per_chunk):
                end = min(place + chunker.per_chunk, len(ends) - 1)
                part = {name: values[place:end] for name, values in logprobs.items()}
                steps.append((end - place, [chunk(choice["text"][ends[place] : ends[end]], None, part)]))
        else:
            steps = [(tokens, [chunk(piece, None)]) for tokens, piece in chunker.cut(choice["text"])]
        return [*steps, (0, [chunk("", choice["finish_reason"])])]


def _is_cut(logprobs: Any, length: int) -> bool:
    """Return whether the logprobs contain the offset of each token in a text of ``length`` characters."""
    lists = list(logprobs.values()) if isinstance(logprobs, dict) and logprobs.get("text_offset") else []
    if not lists or not all(isinstance(one, list) and len(one) == len(lists[0]) for one in lists):
        return False
    offsets = logprobs["text_offset"]
    return all(type(one) is int for one in offsets) and [0, *offsets, length] == sorted([0, *offsets, length])


def _logprobs(answer: Answer, length: int) -> Document | None:
    """Return the logprobs of a text of ``length`` characters; an echoed prompt comes before its tokens."""
    if answer.logprobs is None:
        return None
    data = b"".join(one.token for one in answer.logprobs)
    place = length - len(data.decode(errors="replace"))
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
        "tokens": [_token_text(one.token) for one in answer.logprobs],
        "token_logprobs": [one.logprob for one in answer.logprobs],
        "top_logprobs": [
            None if one.logprob is None else {_token_text(token): logprob for token, logprob in one.top}
            for one in answer.logprobs
        ],
        "text_offset": offsets,
    }


def _token_text(token: bytes) -> str:
    return token.decode(errors="backslashreplace")


class Completions:
    """The endpoint; see ``manager.Dialect``."""

    def __init__(self, responder: Responder, tokenizers: TokenizerOf, validate: Callable[[ChatRequest], None]) -> None:
        self._responder = responder
        self._tokenizers = tokenizers
        self._validate = validate

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        return self.answer(parse_json(request.body), unique, request=request)

    def read(self, request: Request, unique: str) -> ChatRequest:
        """Parse and validate a request."""
        chat = self.parse(parse_json(request.body), unique)
        chat.request = request
        self._validate(chat)
        return chat

    def parse(self, body: Document, unique: str) -> ChatRequest:
        """Parse a request body into the ChatRequest of the first prompt, with the prompt tokens of all."""
        first, *others = parse(body, unique, self._tokenizers)
        first.prompt_tokens += sum(chat.prompt_tokens for chat in others)
        return first

    def depends_on_body_alone(self, chat: ChatRequest) -> bool:
        """Return whether the response depends on the request body alone; several prompts are not planned."""
        prompt = chat.body.get("prompt")
        single = type(prompt) is not list or len(prompt) == 1 or type(prompt[0]) is int
        return single and not chat.body.get("echo")

    def rendering(self, template: ResponseTemplate) -> Rendering:
        """Return a template in the dialect."""
        return template

    def deliver(
        self, chat: ChatRequest, rendering: Rendering, answers: Sequence[Answer] | None = None
    ) -> Reply | Stream:
        """Send a completion."""
        return self._responder.send(chat, rendering, answers)

    def answer(
        self, body: Document, unique: str, file: str | None = None, request: Request | None = None
    ) -> Reply | Stream:
        """Answer a parsed request, by the rules or by a response file.

        A list of prompts gets the choices of all prompts, in order.
        """
        chats = parse(body, unique, self._tokenizers)
        for chat in chats:
            chat.request, chat.prompts = request, len(chats)
        first = chats[0]
        if request is not None:
            self._validate(first)
        if (choices := len(chats) * first.choices) > MAX_CHOICES:
            raise errors.AnswerTooLarge(choices, "choices", MAX_CHOICES)
        check_inputs(request, len(chats))
        if len(chats) == 1 and not body.get("echo"):
            return self._responder.respond(first, file)
        answers: list[Answer] = []
        for chat in chats:
            template, prompt_answers = self._responder.answers(chat, file)
            if body.get("echo"):
                prompt_answers = self._echoed(chat, prompt_answers)
            answers += prompt_answers
            if chat is first:
                first_template = template
        first.prompt_tokens = sum(chat.prompt_tokens for chat in chats)
        return self._responder.send(first, first_template, answers)

    def _echoed(self, chat: ChatRequest, answers: list[Answer]) -> list[Answer]:
        """Add the prompt to each answer, and its tokens to the logprobs, if requested."""
        prompt: tuple[TokenProb, ...] = ()
        if chat.constraints is not None and chat.constraints.top_logprobs is not None:
            prompt = self._responder.probabilities(chat, chat.user_message)
            prompt = tuple(one if place else TokenProb(one.token, None) for place, one in enumerate(prompt))
        return [
            answer._replace(
                text=f"{chat.user_message}{answer.text}",
                logprobs=None if answer.logprobs is None else (*prompt, *answer.logprobs),
            )
            for answer in answers
        ]
