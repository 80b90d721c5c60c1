"""Apply the constraints of a request to the answers of its rule: tool calls, JSON, stop sequences, logprobs.

An answer stays as written if it meets the constraints. If the request requires a tool call or JSON and the answer has
none, one is generated, since clients rely on it.
"""

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from random import Random
from typing import Any
from zlib import crc32

import orjson

from fastmock.config.settings import Settings
from fastmock.content.filler import lorem
from fastmock.content.json_schema.budget import ANSWER_STEPS, Budget, BudgetExceededError
from fastmock.content.json_schema.generator import Maker, SchemaError
from fastmock.core import errors
from fastmock.core.byte_cache import byte_cache
from fastmock.core.completion import (
    NO_RULE,
    Answer,
    ChatRequest,
    OutputConstraints,
    Tokenizer,
    TokenProb,
    Tool,
    ToolCall,
)
from fastmock.core.http import Request
from fastmock.core.json import as_json
from fastmock.engine.answer_size import check_logprobs, move_apart

_CACHE_BYTES = 24 * 2**20  # of compiled schemas
_LONGEST_SCHEMA = 2**19  # bytes
_CHARACTERS_PER_STEP = 2  # of generated JSON, which is counted, split and rendered
_BYTES_PER_STEP = 200  # of a compiled schema, per step of its compilation
_MOST_QUICK = 4096  # schemas remembered as quick
_VARIANTS = 8  # distinct values generated per schema: few, so that all are soon cached
_TYPE_KEYWORDS = {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"}  # any determines the type of a value
_PREDICTED_MORE = 64  # characters of a prediction compared beyond the length of the answer
_LONGEST_TOKEN = 16  # characters, typically
_GENERATED_TOKENS = 12  # of a generated text, if no schema says more

_OTHERS = [b" the", b",", b" of", b" to", b" and", b" in", b" is", b" it", b" you", b" that", b" was", b" for", b" on"]


def count(answer: Answer, tokenizer: Tokenizer) -> int:
    """Return the number of tokens of an answer."""
    tokens = tokenizer.count(answer.text or "") + tokenizer.count(answer.refusal or "")
    tokens += tokenizer.count(answer.reasoning or "")
    for call in answer.calls:
        tokens += called_tokens(call.name, tokenizer) + tokenizer.count(call.arguments)
    return tokens


def called_tokens(name: str, tokenizer: Tokenizer) -> int:
    """Return the number of tokens of a tool call without its arguments."""
    return 3 + tokenizer.count(name)


def unchanged(some: Sequence[Answer], others: Sequence[Answer]) -> bool:
    """Return whether no answer was changed."""
    return all(one is other for one, other in zip(some, others, strict=True))


def is_json(text: str | None, any_value: bool = True) -> bool:
    """Return whether a text is JSON: an object, or with ``any_value`` any value."""
    try:
        value = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return False
    return any_value or isinstance(value, dict)


def _compiled_bytes(schema: bytes, compiled: Maker | SchemaError) -> int:
    """Estimate the size of a compiled schema: the parsed source and the objects created from it."""
    return 2000 + (20 * len(schema) + _BYTES_PER_STEP * compiled.steps if isinstance(compiled, Maker) else len(schema))


@byte_cache(_CACHE_BYTES, _compiled_bytes)
def _compiled(schema: bytes) -> Maker | SchemaError:
    """Compile a JSON schema; return the error if no value satisfies it, so that it is cached too."""
    try:
        return Maker(orjson.loads(schema))
    except SchemaError as error:
        return error


_quick: set[bytes] = set()
"""Digests of compiled schemas whose values are generated quickly. A request with any other schema is answered in a
separate thread.
"""


class _Values:
    """Generates values of schemas for one request, all of them within one budget."""

    def __init__(self, seed: int, variant: int, request: Request | None) -> None:
        self._seed, self._variant, self._request = seed, variant, request
        self._budget = Budget(ANSWER_STEPS)
        self._known: dict[int, tuple[Any, bytes, Maker | SchemaError]] = {}  # by identity of the schema in the value

    def generate(self, schema: Any, choice: int, holder: str, arguments: bool = False) -> Any:
        """Return a value, the same for the same schema, seed, message and choice.

        Args:
            schema: the parsed schema.
            choice: the index of the choice.
            holder: the parameter that the schema comes from.
            arguments: whether the value must be an object if the schema leaves its type open.

        Raises:
            SchemaError: there is no such value, or none within the budget.
        """
        known = self._known.get(id(schema))
        if known is None:
            is_open = arguments and isinstance(schema, dict) and not _TYPE_KEYWORDS & schema.keys()
            source = as_json({"type": "object", **schema} if is_open else schema, holder)
            if len(source) > _LONGEST_SCHEMA:
                raise SchemaError((), f"schema is too complex: it is longer than {_LONGEST_SCHEMA} bytes")
            digest = blake2b(source, digest_size=16).digest()
            if digest not in _quick:
                move_apart(self._request)
            known = self._known[id(schema)] = (schema, digest, _compiled(source))
            if isinstance(known[2], SchemaError) or known[2].is_quick:
                if len(_quick) >= _MOST_QUICK:
                    _quick.clear()
                _quick.add(digest)
        _, digest, compiled = known
        if isinstance(compiled, SchemaError):
            raise compiled
        drawn = blake2b(b"%d:%d:%b" % (self._seed, self._variant + choice, digest), digest_size=8).digest()
        return compiled.make(Random(int.from_bytes(drawn, "big")), self._budget)

    def serialize(self, value: Any) -> str:
        """Return a value as JSON; raise SchemaError if all texts of the request exceed the budget."""
        text = orjson.dumps(value).decode()
        try:
            self._budget.spend(len(text) // _CHARACTERS_PER_STEP)
        except BudgetExceededError as error:
            raise SchemaError((), f"schema is too complex: serializing its values {error}") from None
        return text


class ConstraintApplier:
    """Applies the constraints of requests to answers."""

    def __init__(self, settings: Settings) -> None:
        self._seed = settings.seed
        self._auto_call = settings.tools.auto_call

    def key(self, chat: ChatRequest, prose: bool) -> tuple[Any, ...] | None:
        """Return the cache key of the answer generated for ``chat``; None if it cannot be cached, empty if the answer
        stays.

        Call only for rules that answer with text alone; ``prose``: whether it is constant and not JSON.
        """
        constraints = chat.constraints
        if constraints is None or constraints.examines_text:
            return None
        tool = self._tool_to_call(chat, constraints)
        if tool is not None:
            form = constraints.legacy, constraints.named and chat.endpoint == "chat_completions"
            return (constraints.tools_key, tool.name, *form, _variant(chat)) if constraints.tools_key else None
        if constraints.json:
            return (constraints.json_key, _variant(chat)) if prose and constraints.json_key else None
        return ()

    def generates(self, chat: ChatRequest, constraints: OutputConstraints) -> bool:
        """Return whether an answer of mere text is replaced by a tool call or by JSON."""
        return constraints.json or self._tool_to_call(chat, constraints) is not None

    def apply(
        self, chat: ChatRequest, answers: Sequence[Answer], repeats: bool, fallback_text: Callable[[], str]
    ) -> list[Answer] | None:
        """Return the answers that meet the constraints of ``chat``; None if ``answers`` already do.

        Args:
            chat: the request; it has constraints.
            answers: the answers of its rule.
            repeats: whether the rule may repeat its tool calls after their results.
            fallback_text: returns a text to use instead of tool calls that are not allowed.

        Raises:
            ApiError: the constraints cannot be met.
        """
        constraints = chat.constraints
        assert constraints is not None  # noqa: S101 - see the arguments
        values = _Values(self._seed, _variant(chat), chat.request)
        constrained = [
            self._constrain(chat, constraints, answer, place, values, repeats, fallback_text)
            for place, answer in enumerate(answers)
        ]
        if constraints.prediction is not None:
            self._predict(chat, constraints.prediction, constrained)
        return None if unchanged(constrained, answers) else constrained

    def _constrain(
        self,
        chat: ChatRequest,
        constraints: OutputConstraints,
        answer: Answer,
        place: int,
        values: _Values,
        repeats: bool,
        fallback_text: Callable[[], str],
    ) -> Answer:
        constrained = answer
        if answer.calls:
            constrained = self._allowed_calls(chat, constraints, answer, repeats, fallback_text)
            if constraints.named and constrained is answer:
                constrained = answer._replace()  # a new object, since its finish reason changes
        if not constrained.calls and constrained.refusal is None:
            tool = self._tool_to_call(chat, constraints)
            if tool is not None:
                calls = (self._call(chat, tool, place, values),)
                constrained = Answer(calls=calls, finish_reason="tool_calls", reasoning=answer.reasoning)
            elif constraints.json and not is_json(constrained.text, constraints.schema is not None):
                constrained = Answer(text=self._json(chat, constraints, place, values), reasoning=answer.reasoning)
        if constraints.stop and constrained.text:
            constrained = _cut_at_stop(constrained, constraints.stop)
        if constrained is not answer:
            constrained = constrained._replace(tokens=count(constrained, chat.tokenizer))
        if constraints.top_logprobs is not None and not constrained.calls:
            text = constrained.refusal if constrained.text is None else constrained.text
            constrained = constrained._replace(logprobs=self.probabilities(chat, text or "", constraints.top_logprobs))
        return constrained

    def _allowed_calls(
        self,
        chat: ChatRequest,
        constraints: OutputConstraints,
        answer: Answer,
        repeats: bool,
        fallback_text: Callable[[], str],
    ) -> Answer:
        """Return an answer of a rule without the tool calls that are not allowed."""
        if constraints.call == "none" or (chat.tool_results and not repeats):
            text = answer.text if answer.text is not None else fallback_text()
            return Answer(text=text, reasoning=answer.reasoning)
        if len(answer.calls) > 1 and (not constraints.parallel or constraints.legacy):
            return answer._replace(calls=answer.calls[:1])
        return answer

    def _tool_to_call(self, chat: ChatRequest, constraints: OutputConstraints) -> Tool | None:
        """Return the tool to generate a call of; None if the answer is a text.

        After tool results, only required tools that have not been called yet are called, so that agent loops end.
        """
        offered = constraints.tools if constraints.allowed is None else constraints.allowed
        if constraints.call == "required":
            left = [tool for tool in offered if tool.name not in constraints.called] if chat.tool_results else offered
            return left[0] if left else None
        if (
            self._auto_call
            and constraints.call == "auto"
            and offered
            and not chat.tool_results
            and chat.rule == NO_RULE
        ):
            return offered[0]
        return None

    def _call(self, chat: ChatRequest, tool: Tool, place: int, values: _Values) -> ToolCall:
        """Generate a tool call."""
        id_ = f"call_{chat.unique[8:]}{place or ''}"
        if tool.schema is None:
            return ToolCall(
                id_, tool.name, lorem(_GENERATED_TOKENS, self._seed, str(_variant(chat) + place)), custom=True
            )
        kind = "functions" if chat.constraints and chat.constraints.legacy else "tools"
        try:
            value = values.generate(tool.schema, place, kind, arguments=True)
            if not isinstance(value, dict):
                raise SchemaError((), "schema must be a JSON Schema of 'type: \"object\"'")
            arguments = values.serialize(value)
        except SchemaError as error:
            numbers = (
                number for number, one in enumerate(chat.constraints.tools if chat.constraints else ()) if one is tool
            )
            inner = ".function" if kind == "tools" else ""
            param = f"{kind}[{next(numbers, 0)}]{inner}.parameters"
            holder = f"function '{tool.name}'"
            raise errors.InvalidSchema(holder, param, "invalid_function_parameters", error.path, str(error)) from None
        return ToolCall(id_, tool.name, arguments)

    def _json(self, chat: ChatRequest, constraints: OutputConstraints, place: int, values: _Values) -> str:
        """Generate JSON."""
        if constraints.schema is None:
            return orjson.dumps({"message": lorem(_GENERATED_TOKENS, self._seed, str(_variant(chat) + place))}).decode()
        try:
            return values.serialize(values.generate(constraints.schema, place, "response_format"))
        except SchemaError as error:
            holder = f"response_format '{constraints.name}'"
            raise errors.InvalidSchema(holder, "response_format", None, error.path, str(error)) from None

    def _predict(self, chat: ChatRequest, prediction: str, answers: Sequence[Answer]) -> None:
        """Count the accepted tokens of a prediction: those at the beginning of the answer."""
        text, tokenizer = answers[0].text or "", chat.tokenizer
        tokens, predicted = tokenizer.tokens(text), tokenizer.tokens(prediction[: len(text) + _PREDICTED_MORE])
        differ = (place for place, (one, other) in enumerate(zip(tokens, predicted, strict=False)) if one != other)
        details = chat.add_details()
        details.accepted_tokens = next(differ, min(len(tokens), len(predicted)))
        details.rejected_tokens = max(0, tokenizer.count(prediction) - details.accepted_tokens)
        details.hidden_tokens = details.reasoning_tokens + details.rejected_tokens

    def probabilities(self, chat: ChatRequest, text: str, top: int) -> tuple[TokenProb, ...]:
        """Generate plausible logprobs: a high one for each token, the rest of the probability for alternatives."""
        found = []
        check_logprobs(chat, len(text) // _LONGEST_TOKEN, top)  # a lower bound, before the tokens are counted
        tokens = chat.tokenizer.tokens(text)
        check_logprobs(chat, len(tokens), top)
        for place, token in enumerate(tokens):
            digest = blake2b(b"%d:%d:%b" % (self._seed, place, token), digest_size=4).digest()
            share = 0.55 + 0.449 * int.from_bytes(digest, "big") / 2**32
            likely = [(token, share)]
            left = 0.99 * (1 - share)  # without the probability of tokens that are not listed
            start = digest[0] % len(_OTHERS)
            for other in (*_OTHERS[start:], *_OTHERS[:start], *(b"%d" % number for number in range(9))):
                if len(likely) >= top:
                    break
                if other != token:
                    left *= 0.5
                    likely.append((other, left))
            logs = [(one, round(math.log(part), 6)) for one, part in likely]
            found.append(TokenProb(token, logs[0][1], tuple(logs[:top])))
        return tuple(found)


def _variant(chat: ChatRequest) -> int:
    """Return the variant of generated values for ``chat``, selected by its message."""
    return crc32(chat.user_message.encode()) % _VARIANTS


def _cut_at_stop(answer: Answer, stops: Sequence[str]) -> Answer:
    """Return the answer up to the first stop sequence in its text; without tool calls, which come after the text."""
    text = answer.text or ""
    places = [(place, stop) for stop in stops if (place := text.find(stop)) >= 0]
    if not places:
        return answer
    place, stop = min(places)
    return answer._replace(text=text[:place], calls=(), finish_reason="stop", stop=stop)
