"""``POST /v1/completions``, the legacy endpoint."""

from typing import Any

from fastmock.api import checks, errors
from fastmock.api.rulebook import Rulebook
from fastmock.api.script import FINISH_REASON, OUTPUT, Chunks, Document, ShapeError, envelope, fragment
from fastmock.content.pieces import sized
from fastmock.content.tokens import count
from fastmock.wire import Ask, Reply, Request, Stream

_MOST_PROMPTS = 2048


def parse(body: dict[str, Any], unique: str) -> list[Ask]:
    """Read a request into one Ask a prompt; raise the API's own error where it is wrong.

    A token array has no text that could be known without the vocabulary: rules see its ids, separated by spaces.
    """
    model = checks.model_of(body)
    asks = []
    for text, tokens in _prompts(body.get("prompt")):
        ask = Ask(unique, body, model)
        ask.user_message = text
        ask.prompt_tokens = tokens
        checks.read_options(ask)
        asks.append(ask)
    return asks


def parse_one(body: dict[str, Any], unique: str) -> Ask:
    """Read a request as ``parse`` does, into the Ask of its first prompt with the tokens of all."""
    first, *others = parse(body, unique)
    first.prompt_tokens += sum(ask.prompt_tokens for ask in others)
    return first


def _prompts(prompt: Any) -> list[tuple[str, int]]:
    """Return the text and the tokens of each prompt."""
    if prompt is None:  # the API then completes from the start of a document
        return [("", 0)]
    if type(prompt) is str:
        return [(prompt, count(prompt))]
    if type(prompt) is not list:
        raise errors.wrong_type("prompt", "one of a string or array", prompt)
    if not prompt:
        raise errors.empty_array("prompt")
    if all(type(item) is int for item in prompt):
        return [(" ".join(map(str, prompt)), len(prompt))]
    if len(prompt) > _MOST_PROMPTS:
        raise errors.too_long("prompt", _MOST_PROMPTS, len(prompt))
    found = []
    for index, item in enumerate(prompt):
        if type(item) is str:
            found.append((item, count(item)))
        elif type(item) is list and item and all(type(token) is int for token in item):
            found.append((" ".join(map(str, item)), len(item)))
        else:
            raise errors.wrong_type(f"prompt[{index}]", "one of a string or array of integers", item)
    return found


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

    def tokens(self, choice: Document) -> int:
        """See ``script.Shape``."""
        return count(choice["text"])

    def text(self, choice: Document) -> str | None:
        """See ``script.Shape``."""
        text: str = choice["text"]
        return text

    def chunks(self, choice: Document, per_chunk: int) -> Chunks:
        """See ``script.Shape``."""

        def chunk(text: str, finish: str | None) -> bytes:
            return fragment({"text": text, "index": choice["index"], "logprobs": None, "finish_reason": finish})

        steps = [(tokens, [chunk(piece, None)]) for tokens, piece in sized(choice["text"], per_chunk)]
        return [*steps, (0, [chunk("", choice["finish_reason"])])]


def document_of(text: str) -> Document:
    """Return the document that says ``text``."""
    return {"choices": [{"text": text}]}


class Completions:
    """The endpoint."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook

    def __call__(self, request: Request, unique: str) -> Reply | Stream:
        """Answer a request."""
        return self.say(checks.parse(request.body), unique, request=request)

    def say(
        self, body: Document, unique: str, file: str | None = None, request: Request | None = None
    ) -> Reply | Stream:
        """Answer a parsed request, by the rules or by a response file.

        A list of prompts gets the choices of all, one prompt's after another's.
        """
        asks = parse(body, unique)
        for ask in asks:
            ask.request = request
        scripts = [self._rulebook.script(ask, file) for ask in asks]
        if len(asks) == 1 and not body.get("echo"):
            return self._rulebook.send(asks[0], scripts[0])
        choices: list[Document] = []
        for ask, script in zip(asks, scripts, strict=True):
            for choice in script.choices(ask):
                text = ask.user_message + choice["text"] if body.get("echo") else choice["text"]
                choices.append({**choice, "text": text, "index": len(choices)})
        asks[0].prompt_tokens = sum(ask.prompt_tokens for ask in asks)
        return self._rulebook.send(asks[0], scripts[0], choices)
