"""Plans for bodies seen before: every answer is the one that would be given without them."""

import gc
import re
import tracemalloc
from datetime import datetime
from hashlib import blake2b
from itertools import count

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from fastmock.core.http import Reply, Request, Stream
from fastmock.engine import plans
from fastmock.engine.cache import Cache
from fastmock.engine.splicing import MARKS, splice
from fastmock.shared.cache_counts import cache_counts
from tests.support import KEY, examples, joined_shares, make_app

pytestmark = pytest.mark.unit

CHAT, LEGACY, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
HELLO = [{"role": "user", "content": "Hello there"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}, "n": {"type": "integer"}}, "required": ["a", "n"]}
FUNCTION = {"name": "look_up", "description": "Looks up.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]


def chat(**more):
    return CHAT, {"model": "gpt-4o", "messages": HELLO} | more


def response(**more):
    return RESPONSES, {"model": "gpt-4o", "input": "Hello there"} | more


def message(**more):
    return MESSAGES, {"model": "claude-sonnet-4-5", "max_tokens": 200, "messages": HELLO} | more


FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
STREAM = {"stream": True}
REQUESTS = [
    chat(),
    chat(**STREAM),
    chat(**STREAM, stream_options={"include_usage": True}),
    chat(**STREAM, stream_options={"include_obfuscation": False}),
    chat(n=2),
    chat(n=3, stream=True),
    chat(messages=[{"role": "user", "content": "weather"}]),
    chat(messages=[{"role": "user", "content": "weather"}], stream=True),
    chat(messages=[*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "again"}]),
    chat(tools=TOOLS, tool_choice="required"),
    chat(tools=TOOLS, tool_choice="required", stream=True),
    chat(response_format=FORMAT),
    chat(response_format=FORMAT, stream=True),
    chat(stop="o"),
    chat(logprobs=True, top_logprobs=2),
    chat(max_tokens=3),
    chat(max_tokens=3, stream=True),
    chat(model="o3", reasoning_effort="high"),
    chat(user="me", metadata={"a": "b"}),
    chat(store=True),
    chat(service_tier="flex"),
    chat(messages="wrong"),
    chat(model="gpt-4o-mini", messages=[{"role": "user", "content": "word " * 1500}]),
    (LEGACY, {"model": "davinci-002", "prompt": "Hello there"}),
    (LEGACY, {"model": "davinci-002", "prompt": ["Hello there"], "stream": True}),
    (LEGACY, {"model": "davinci-002", "prompt": ["Hello", "weather"]}),
    (LEGACY, {"model": "davinci-002", "prompt": "Hello", "echo": True, "logprobs": 1}),
    response(),
    response(**STREAM),
    response(store=False),
    response(store=False, stream=True),
    response(input="weather", tools=[{"type": "function", **FUNCTION}], tool_choice="required"),
    response(previous_response_id="resp_1"),
    response(background=True),
    response(model="o3", reasoning={"effort": "low", "summary": "auto"}),
    response(temperature=3),
    message(),
    message(**STREAM),
    message(max_tokens=2),
    message(max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024}),
    message(tools=[{"name": "look_up", "input_schema": SCHEMA}], tool_choice={"type": "any"}, stream=True),
    message(messages=[]),
]

UNPLANNED = [
    chat(store=True),
    chat(messages="wrong"),
    (LEGACY, {"model": "davinci-002", "prompt": ["Hello", "weather"]}),
    (LEGACY, {"model": "davinci-002", "prompt": "Hello", "echo": True, "logprobs": 1}),
    response(previous_response_id="resp_1"),
    response(background=True),
    response(temperature=3),
    message(messages=[]),
]

HEADERS = st.sampled_from(
    [
        {},
        {},
        {},
        {"x-team": "blue"},
        {"authorization": "Bearer other:sk-test", "x-api-key": "other:sk-test"},
        {"x-fastmock-ttft-ms": "5"},
        {"x-fastmock-validation": "lenient"},
        {"x-fastmock-output-tokens": "7"},
        {"x-fastmock-fault": "status; status=500"},
    ]
)

VARIABLES = "$$ $uuid $chat_id $completion_id $request_id $timestamp $call_id $model $user_message $prompt_tokens"
RULES = [
    {"match": {"content": "Hello there"}, "content": "Hi! $user_message, 100 % sure."},
    {"match": {"content_contains": "Hello"}, "content": VARIABLES},
    {"match": {"content_contains": "Hello"}, "content": "now it is $timestamp"},
    {
        "match": {"content_contains": "weather"},
        "tool_calls": [{"name": "look_up", "arguments": {"a": "$user_message"}}],
    },
    {"match": {"content_contains": "weather"}, "content": "The weather is fine. " * 8},
    {"match": {"turn": 2}, "content": "again"},
    {"match": {"content_contains": "Hello"}, "responses": [{"content": "first"}, {"content": "second"}]},
    {"match": {"headers": {"x-team": "blue"}}, "content": "For the blue team."},
    {"match": {"session": "other"}, "content": "For the other session."},
    {"match": {"content_regex": r"(?=Hel)(l+|o)"}, "content": "Looked ahead."},
    {"match": {"any": [{"user": "me"}, {"not": {"stream": True}}]}, "content": "Nested."},
    {"match": {"content_contains": "Hello"}, "refusal": "No."},
    {"match": {"content_contains": "Hello"}, "reasoning": "Thinking about it.", "content": "Done."},
    {"match": {"content_contains": "Hello"}, "content": "slow", "latency": {"ttft": 10, "itl": 2}},
    {
        "match": {},
        "response": {"model": "other", "choices": [{"message": {"content": "as $model"}}], "at": "$timestamp"},
    },
]
LEGACY_RULES = [{"match": {"content_contains": "Hello"}, "content": "$completion_id $user_message"}]

FEATURES = {
    "responses": st.fixed_dictionaries(
        {},
        optional={
            "chat_completions": st.builds(
                lambda rules, default: {"rules": rules} | default,
                st.lists(st.sampled_from(RULES), max_size=4),
                st.sampled_from([{}, {"default": {"content": "Default $uuid"}}]),
            ),
            "completions": st.just({"rules": LEGACY_RULES}),
            "strict": st.sampled_from([True, "allow_generated"]),
        },
    ),
    "output": st.sampled_from(
        [
            {"kind": "echo"},
            {"kind": "lorem", "tokens": 12},
            {"kind": "counter", "tokens": {"distribution": "uniform", "min": 2, "max": 9}},
        ]
    ),
    "latency": st.sampled_from([{"ttft": 20, "itl": 3}, {"ttft": {"distribution": "normal", "mean": 50, "std": 9}}]),
    "streaming": st.sampled_from(
        [{"obfuscation": True}, {"tokens_per_chunk": 3}, {"enabled": False}, {"heartbeat": 5}, {"chunk_delay_ms": 4}]
    ),
    "faults": st.lists(
        st.sampled_from(
            [
                {"kind": "status", "status": 503, "times": 2},
                {"kind": "cut", "after": 2, "every_nth": 2},
                {"kind": "wrong_usage", "probability": 0.5},
                {"kind": "broken_tool_arguments"},
                {"kind": "refusal", "every_nth": 2},
                {"kind": "unknown_tool"},
            ]
        ),
        min_size=1,
        max_size=2,
    ),
    "limits": st.sampled_from([{"requests_per_minute": 4}, {"tokens_per_minute": 300}]),
    "overload": st.just({"max_concurrent": 2}),
    "server": st.sampled_from([{"control_headers": True}, {"log_requests": True}]),
    "journal": st.just({"enabled": True}),
    "usage": st.sampled_from([{"simulate_prompt_cache": True}, {"tokenizer": "exact"}, {"tokenizer": "estimate"}]),
    "validation": st.just("lenient"),
    "models": st.just({"available": ["gpt-4o", "claude-sonnet-4-5"], "strict": True}),
    "per_model": st.just([{"model": "gpt-4o*", "context_window": 1000, "latency": {"ttft": 3}}]),
    "stored": st.just({"strict_ids": True}),
    "tools": st.just({"auto_call": True}),
}


def shown(answer):
    """Return all of an answer that a client or an observer may see."""
    common = (
        answer.head.status,
        (*answer.head.headers, *zip(answer.head.varying, answer.values, strict=True), *answer.more),
        answer.request_id,
        (answer.model, answer.rule, answer.fault, answer.limit, answer.check, answer.ending, answer.close_idle),
        None if answer.chat is None else (answer.chat.model, answer.chat.prompt_tokens, answer.chat.completion_tokens),
    )
    due = None if answer.due_times is None else [type(one).__name__ for one in answer.due_times]
    if isinstance(answer, Stream):
        sent = []
        try:
            sent.extend(answer.cut(step, step + 1) for step in range(answer.steps))
        except Exception as error:  # a stream that fails midway
            sent.append(type(error).__name__.encode())
        return (*common, due, answer.steps, answer.tokens, sent)
    assert isinstance(answer, Reply)
    return (*common, due, answer.unsent, b"".join(answer.parts()))


class Stopped(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime(2026, 1, 1, tzinfo=tz)


def answers(config, sequence, patch):
    """Return the answers to a sequence of requests, with the ids and times that another App would use too."""
    clock, ids = count(1_700_000_000), (blake2b(b"%d" % one, digest_size=16).hexdigest() for one in count())
    now = [0]
    patch.setattr("fastmock.app.unique", lambda: next(ids))
    patch.setattr("fastmock.core.ids.unique", lambda: next(ids))
    for module in ("core.completion", "engine.plans"):
        patch.setattr(f"fastmock.{module}.time", lambda: now[0])
    patch.setattr("fastmock.providers.openai.responses.endpoint.time.time", lambda: now[0])
    patch.setattr("fastmock.limits.stores.time.monotonic_ns", lambda: 5_000_000_000)
    patch.setattr("fastmock.providers.anthropic.provider.datetime", Stopped)
    app = make_app(config)
    found = []
    for number, (place, headers) in enumerate(sequence):
        path, body = REQUESTS[place]
        now[0] = next(clock)
        own = {"x-api-key": "sk-test", "anthropic-version": "2023-06-01"} if path == MESSAGES else KEY
        sent = orjson.dumps(body) if place % 2 else orjson.dumps(body).decode()  # as the runtimes pass it
        found.append(shown(app.handle(Request("POST", path, own | {"x-fastmock-key": str(number)} | headers, sent))))
    return found, cache_counts(app.share)["hits"]


@examples(100, suppress_health_check=list(HealthCheck))
@given(
    st.fixed_dictionaries({}, optional=FEATURES),
    st.lists(st.tuples(st.integers(0, len(REQUESTS) - 1), HEADERS), min_size=1, max_size=4),
    st.lists(st.integers(0, 3), min_size=6, max_size=14),
)
def test_answers_with_plans_equal_those_without(config, asked, order):
    sequence = [asked[place % len(asked)] for place in order]
    with pytest.MonkeyPatch.context() as patch:
        with_plans, _ = answers(config, sequence, patch)
        without, hits = answers(config | {"cache": {"max_bytes": 0}}, sequence, patch)
    assert hits == 0
    for place, (one, other) in enumerate(zip(with_plans, without, strict=True)):
        assert one == other, REQUESTS[sequence[place][0]]


@pytest.mark.parametrize("config", [{}, {"latency": {"ttft": 20, "itl": 3}, "journal": {"enabled": True}}])
def test_every_request_repeated_is_answered_as_without_plans(config, monkeypatch):
    sequence = [(place, {}) for place in range(len(REQUESTS))] * 4
    with_plans, hits = answers(config, sequence, monkeypatch)
    without, _ = answers(config | {"cache": {"max_bytes": 0}}, sequence, monkeypatch)
    for place, (one, other) in enumerate(zip(with_plans, without, strict=True)):
        assert one == other, REQUESTS[place % len(REQUESTS)]
    # Two bodies may share a place among those seen once, by their random hashes: then one is seen anew.
    most = 2 * (len(REQUESTS) - len(UNPLANNED))
    assert most - 4 <= hits <= most


def test_plans_are_spliced_into_every_plain_answer(call, monkeypatch):
    """The fast way is taken: the endpoint itself is not called again."""
    post = call({})
    taken = []
    splices = plans.splice
    monkeypatch.setattr(plans, "splice", lambda *pair: taken.append(splices(*pair)) or taken[-1])
    for path, body in (chat(), chat(**STREAM), message(), message(**STREAM), response(store=False), response(**STREAM)):
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"} if path == MESSAGES else KEY
        taken.clear()
        for _ in range(3):
            assert post(path, body, headers=headers).head.status == 200
        assert taken
        assert None not in taken


def test_plan_of_a_changed_configuration_is_new(call):
    first, second = (call({"responses": {"chat_completions": {"default": {"content": text}}}}) for text in ("a", "b"))
    for _ in range(3):
        assert b'"content":"a"' in first(*chat()).body
    for _ in range(3):
        assert b'"content":"b"' in second(*chat()).body


def test_cache_is_counted_in_health(call):
    post = call({})
    for _ in range(5):
        post(*chat())
    assert orjson.loads(post("/health", method="GET").body)["cache"] == {"hits": 3, "misses": 2}


def test_cache_stays_within_its_bytes_and_keeps_what_is_used(call):
    post = call({"cache": {"max_bytes": 60_000}})

    def ask(number):
        return post(*chat(messages=[{"role": "user", "content": f"question {number}"}]))

    for _ in range(3):
        ask("often")
    for number in range(300):
        ask(number)
        ask(number)
        ask("often")
    hits = orjson.loads(post("/health", method="GET").body)["cache"]["hits"]
    assert hits == 301  # the frequent one is always found, others come twice and are built then


def test_cache_knows_all_keys_that_repeat():
    cache = Cache(1000, joined_shares(1)[0])
    keys = [f"key {number}" for number in range(12_000)]
    assert not any(map(cache.seen_before, keys))
    assert all(map(cache.seen_before, keys))
    assert not any(cache.seen_before(f"new {number}") for number in range(40_000))
    assert not cache.seen_before(keys[0])  # it was long ago


def test_bodies_seen_once_push_no_plan_out(call):
    post = call({"cache": {"max_bytes": 20_000}})
    for _ in range(2):
        post(*chat())
    for number in range(2000):
        post(*chat(messages=[{"role": "user", "content": f"never again {number}"}]))
    for _ in range(25):  # while all bodies are new, not every request is looked up
        post(*chat())
    found = orjson.loads(post("/health", method="GET").body)["cache"]
    assert found["hits"] >= 6
    assert 2000 <= sum(found.values()) <= 2027


UNIQUE, OTHER = MARKS[0].unique, MARKS[1].unique


@pytest.mark.parametrize(
    ("form", "spliced"),
    [
        ("{u}", True),
        ('{{"id":"x-{u[3]}","created":{t}}}', True),
        ("% {u[8]} {t} %d {u[8]} {t}", True),
        ("{u[8]}, {u[8]}; {u[8]}. {u[8]}! {u}? {t}", True),
        ("nothing", True),
        ("{u}{t}", False),
        ("{u[30]}", False),
        ("{reverse}", False),
        ("{length}", False),
    ],
)
def test_splice_finds_ids_and_times_or_refuses(form, spliced):
    class Tails(str):
        def __getitem__(self, begin):
            return str.__getitem__(self, slice(begin, None))

    def text(unique, created):
        varied = {"reverse": unique[::-1], "length": created if unique == UNIQUE else "short"}
        return form.format(u=Tails(unique), t=created, **varied).encode()

    found = splice(*(text(*mark) for mark in MARKS))
    assert (found is not None) is spliced
    if found is not None:
        fresh = "f" * 8 + "0" * 24, 1_700_000_000
        assert found.fill(*fresh) == text(*fresh)
        assert found.size == len(text(*fresh))


def test_marks_differ_everywhere_and_tell_every_place():
    assert all(one != other for one, other in zip(UNIQUE, OTHER, strict=True))
    assert len({UNIQUE[place : place + 3] for place in range(30)}) == 30
    assert re.fullmatch("[0-9a-f]{32}", UNIQUE)


@pytest.mark.parametrize("config", [{"journal": {"enabled": True}}])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        chat(),
        chat(**STREAM),
        chat(messages=[{"role": "user", "content": "word " * 1000}]),
        chat(messages=[{"role": ("user", "assistant")[number % 2], "content": f"{number}"} for number in range(61)]),
        chat(tools=TOOLS, tool_choice="required"),
        response(),
        response(**STREAM),
        message(),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "some text"}),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": [*range(60)], "dimensions": 2}),
    ],
)
def test_entries_of_the_cache_take_no_more_memory_than_they_count(config, path, body, monkeypatch):
    caches = []
    begin = Cache.__init__
    monkeypatch.setattr(Cache, "__init__", lambda self, *given: caches.append(self) or begin(self, *given))
    app = make_app(config)

    def fill(numbers):
        for number in numbers:
            whole = orjson.dumps(
                {**body, "user": f"user {number}"} if path != MESSAGES else body | {"top_k": number + 1}
            )
            if path == "/v1/embeddings":
                given = body["input"]
                whole = orjson.dumps(body | {"input": f"{given} {number}" if type(given) is str else [number, *given]})
            for _ in range(2):
                assert app.handle(Request("POST", path, KEY | {"x-api-key": "k"}, whole.decode())).head.status == 200

    fill(range(5))  # what is only done once
    gc.collect()
    tracemalloc.start()
    before, counted = tracemalloc.get_traced_memory()[0], caches[0]._bytes
    fill(range(5, 25))
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert caches[0]._bytes > counted
    assert taken < 1.1 * (caches[0]._bytes - counted)
