"""The cost of a schema or pattern is bounded: the request is answered or refused with a 400 soon."""

import gc
import json
import time

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from fastmock.content.json_schema.budget import Budget, BudgetExceededError
from fastmock.content.json_schema.generator import Maker, SchemaError
from fastmock.content.json_schema.limits import strict_violation
from fastmock.content.json_schema.regex_strings import PatternError, Patterns
from fastmock.core.byte_cache import byte_cache
from fastmock.core.http import Request
from tests.content.hostile_schemas import HOSTILE, nest, obj, wrap
from tests.support import KEY, examples, make_app, undisturbed

MOST_SECONDS = 1.0  # of CPU: four times what it may be on a quiet core
MESSAGES = [{"role": "user", "content": "a"}]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    built = make_app({"validation": "lenient"}, tmp_path_factory.mktemp("app"))  # which generates for any schema
    gc.collect()
    gc.freeze()  # as a worker does
    yield built
    gc.unfreeze()


def as_format(schema, **others):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **others}}


def as_tools(schema, **others):
    return [{"type": "function", "function": {"name": "x", "parameters": schema, **others}}]


def chat(schema, **others):
    return {"model": "x", "messages": MESSAGES, "response_format": as_format(schema, **others)}


def with_tools(schema, choice="required", **others):
    return {"model": "x", "messages": MESSAGES, "tool_choice": choice, "tools": as_tools(schema, **others)}


def response(schema):
    return {"model": "x", "input": "a", "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}}


def message(schema):
    tools = [{"name": "x", "input_schema": schema}]
    return {"model": "x", "max_tokens": 9, "messages": MESSAGES, "tool_choice": {"type": "any"}, "tools": tools}


REQUESTS = {
    "response_format": ("/v1/chat/completions", chat),
    "tools": ("/v1/chat/completions", with_tools),
    "text.format": ("/v1/responses", response),
    "input_schema": ("/v1/messages", message),
}


def post(app, path, body):
    return app.handle(Request("POST", path, KEY, json.dumps(body).encode()))


def check_cost(app, path, body):
    """Send a request; check its status, its error and the CPU time that it took."""
    sent = json.dumps(body).encode()
    begun = time.thread_time()
    reply = app.handle(Request("POST", path, KEY, sent))
    took = time.thread_time() - begun
    assert reply.head.status in (200, 400)
    if reply.head.status == 400:
        assert orjson.loads(reply.body)["error"]["type"] == "invalid_request_error"
    assert took < MOST_SECONDS
    return reply


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schema_is_answered_or_refused_soon(app, name):
    count = iter(range(99))

    @undisturbed
    def sent():  # each time another schema to the caches
        check_cost(app, "/v1/chat/completions", chat({"title": str(next(count)), **HOSTILE[name]}))

    sent()


@pytest.mark.parametrize("where", REQUESTS)
@pytest.mark.parametrize(
    "name", ["if tree", "1000 patterns", "oneOf twice 12", "pattern lookahead stars", "minContains"]
)
def test_hostile_schema_is_refused_wherever_it_is_sent(app, where, name):
    path, body = REQUESTS[where]
    reply = check_cost(app, path, body(HOSTILE[name]))
    assert reply.head.status == 400
    assert b"schema is too complex" in reply.body


@pytest.mark.parametrize("choices", [1, 8, 128])
@pytest.mark.parametrize("name", ["numbers 5000", "required 5000", "minLength product", "1000 patterns"])
def test_many_choices_share_one_budget(app, choices, name):
    count = iter(range(99))

    @undisturbed
    def sent():
        body = chat({"title": f"{choices} {next(count)}", **HOSTILE[name]}) | {"n": choices}
        check_cost(app, "/v1/chat/completions", body)

    sent()


def test_refusal_does_not_depend_on_time():
    for name in ("if tree", "told apart", "minItems 99990", "oneOf nest objects"):
        outcomes = set()
        for _ in range(2):
            try:
                outcomes.add(Maker(HOSTILE[name]).steps)
            except SchemaError as error:
                outcomes.add(f"{error.path} {error}")
        assert len(outcomes) == 1


def test_equal_references_are_merged_once():
    assert Maker(HOSTILE["allOf twice 22"]).steps < 3000


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (r"^(?=.*\d)(?!.*x)[a-z\d]+$", "abc1", "abcx1"),
        (r"^(?!-)[a-z-]+(?<!-)$", "a-b", "a-"),
        (r"^P(?=\d|T\d)(\d+D)?(T(?=\d)(\d+H)?)?$", "P1DT2H", "P1DT"),
        (r"^[a-z]{1,5000}$", "abc", "ABC"),
        (r"(?=a)(a+)+$", "aaaa", "a" * 40 + "!"),
        (r"^(?=(a|aa)*$)", "aaa", "a" * 60 + "b"),
        (r"(?i)^(?=K)[k-s]*$", "kLm", "xK"),
        (r"(?=a)[^\W\d]\b", "!a", "a1"),
    ],
)
def test_pattern_that_re2_lacks_is_matched_without_backtracking(pattern, matching, other):
    regex = Patterns(Budget()).regex(pattern)
    assert regex.found_in(matching)
    assert not regex.found_in(other)


def test_pattern_that_is_too_long_is_refused():
    with pytest.raises(PatternError, match="longer than"):
        Patterns(Budget()).regex("a" * 4001)


@pytest.mark.parametrize("pattern", ["(?>a*)b", "a++b", "(a)?(?(1)b|c)", r"(a)(?=\1)a"])
def test_pattern_that_cannot_be_proven_is_refused_with_its_path(app, pattern):
    reply = post(app, "/v1/chat/completions", chat(wrap({"type": "string", "pattern": pattern})))
    assert reply.head.status == 400
    assert "'properties', 'a', 'pattern'" in orjson.loads(reply.body)["error"]["message"]


def test_backreference_with_given_values_is_refused(app):
    reply = post(app, "/v1/chat/completions", chat(wrap({"enum": ["abab"], "pattern": r"^(ab)\1$"})))
    assert reply.head.status == 400
    assert b"without backtracking" in reply.body


LIMITS = {
    "11 levels of nesting exceeds limit of 10": nest(11, lambda inner: obj(a=inner), {"type": "string"}),
    "5001 parameters exceeds limit of 5000": obj(**{f"k{i}": {"type": "null"} for i in range(5001)}),
    "Expected at most 1000 enum values in total within a single schema": obj(
        a={"enum": list(range(501))}, b={"enum": list(range(500))}
    ),
    "Expected at most 15000 total characters across enum values": wrap({"enum": [f"{i:0100}" for i in range(251)]}),
    "Expected at most 120000 total characters": obj(**{f"{i:0130}": {"type": "null"} for i in range(1000)}),
}


@pytest.mark.parametrize("words", LIMITS)
def test_strict_schema_beyond_a_documented_limit_is_refused_with_the_api_message(app, words):
    reply = post(app, "/v1/chat/completions", chat(LIMITS[words], strict=True))
    error = orjson.loads(reply.body)["error"]
    assert reply.head.status == 400
    assert error["message"].startswith(f"Invalid schema for response_format 'x': {words}")
    assert error["param"] == "response_format"
    error = orjson.loads(post(app, "/v1/chat/completions", with_tools(LIMITS[words], strict=True)).body)["error"]
    assert error["message"].startswith(f"Invalid schema for function 'x': {words}")
    assert (error["param"], error["code"]) == ("tools[0].function.parameters", "invalid_function_parameters")


@pytest.mark.parametrize("words", LIMITS)
def test_limits_of_strict_schemas_do_not_bind_others(app, words):
    assert words in (strict_violation(LIMITS[words]) or "")
    assert post(app, "/v1/chat/completions", with_tools(LIMITS[words], "auto")).head.status == 200


def test_strict_schema_within_the_limits_is_accepted(app):
    schema = nest(10, lambda inner: obj(a=inner), {"enum": [f"{i}" for i in range(1000)]})
    assert strict_violation(schema) is None
    assert post(app, "/v1/chat/completions", chat(schema, strict=True)).head.status == 200


def test_budget_ends_work_beyond_it():
    budget = Budget(10)
    budget.spend(10)
    with pytest.raises(BudgetExceededError):
        budget.spend()


def test_byte_cache_keeps_within_its_limit():
    calls = []

    @byte_cache(1000, lambda text, result: len(text))
    def size(text):
        calls.append(text)
        return len(text)

    texts = [bytes([97 + place]) * 200 for place in range(10)]
    for text in texts:
        size(text)
        size(texts[0])  # used again and again, so it stays
    assert calls == texts
    size(texts[1])
    assert calls[-1] == texts[1]  # it was dropped
    for _ in range(2):
        size(b"x" * 501)
    assert calls[-2:] == [b"x" * 501] * 2  # too large to be kept


WORDS = st.sampled_from(
    [*"abx", "^(?=a)b", "(a+)+$", "[^a]{3}", r"(a)\1", "(", r"\p{L}{2,5}", "(?<!a)b", "a{99,}", "email", "uri", "date"]
)
NUMBERS = st.sampled_from([-1, 0, 1, 2, 3, 0.1, 1e308, 99_990, 10**18, -1e-300, True, "x"])
LEAVES = st.one_of(st.booleans(), st.none(), WORDS, NUMBERS, st.just({"$ref": "#"}), st.just({"$ref": "#/$defs/a"}))


def keywords(inner):
    lists = st.lists(inner, max_size=4)
    named = st.dictionaries(WORDS, inner, max_size=4)
    values = {
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems", "enum"), lists),
        **dict.fromkeys(("not", "if", "then", "else", "items", "contains", "additionalProperties", "const"), inner),
        **dict.fromkeys(("properties", "patternProperties", "$defs", "dependentSchemas"), named),
        **dict.fromkeys(("minItems", "maxItems", "minLength", "minProperties", "minContains", "maxContains"), NUMBERS),
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "multipleOf"), NUMBERS),
        **dict.fromkeys(("pattern", "format"), WORDS),
        "propertyNames": inner,
        "required": st.lists(WORDS, max_size=3),
        "uniqueItems": st.booleans(),
        "type": st.sampled_from(["object", "array", "string", "number", "integer", ["string", "null"], []]),
        "$ref": st.sampled_from(["#", "#/$defs/a", "#/properties/b", "#/x"]),
    }
    return st.fixed_dictionaries({}, optional=values)


@examples(100, suppress_health_check=list(HealthCheck))
@given(st.recursive(LEAVES, keywords, max_leaves=12))
def test_any_schema_is_answered_or_refused(app, schema):
    if not isinstance(schema, dict):
        schema = {"properties": {"a": schema}, "required": ["a"]}
    for path, body in REQUESTS.values():
        assert post(app, path, body(schema)).head.status in (200, 400)
