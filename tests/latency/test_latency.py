"""The latency model, generated text and pacing, without a socket; randomness is seeded, the clock is fake."""

import asyncio
import itertools
import math
import random
import time
from statistics import NormalDist, fmean, pstdev

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.build import Layers, build
from fastmock.config.load import load
from fastmock.content.filler import counter
from fastmock.core.http import Reply, Request, Stream
from fastmock.core.problems import ConfigError
from fastmock.core.seeded import seeded_hash
from fastmock.latency.model import Timing, sampler
from fastmock.latency.pacer import Pacer
from fastmock.latency.presets import PRESETS
from fastmock.latency.scheduler import Scheduler
from fastmock.latency.settings import Distribution, Latency
from fastmock.shared.block import Share, clear_gauges
from fastmock.shared.in_flight import InFlight
from fastmock.shared.lateness import LatenessMeter
from tests.support import KEY, examples, joined_shares, make_app

pytestmark = pytest.mark.unit

PATH = "/v1/chat/completions"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello there my friend"}]}
COUNTER = {"output": {"kind": "counter", "tokens": 10}}


def chunks(stream):
    """Take a whole stream: when each step is due, and its events."""
    due_times = list(stream.due_times)
    steps = [stream.cut(number, number + 1) for number in range(len(due_times))]
    assert stream.cut(0, len(due_times)) == b"".join(steps)
    events = [
        [orjson.loads(event[6:]) for event in step.split(b"\n\n") if event and event != b"data: [DONE]"]
        for step in steps
    ]
    return due_times, events


def words(events):
    said = [event["choices"][0]["delta"].get("content") for step in events for event in step if event["choices"]]
    return [word for word in said if word]


def content(reply):
    return orjson.loads(reply.body)["choices"][0]["message"]["content"]


# --- amounts


def cdf(amount):
    if amount.distribution == "uniform":
        return lambda x: min(1.0, max(0.0, (x - amount.min) / (amount.max - amount.min)))
    if amount.distribution == "normal":
        low, high = amount.bounds()
        normal = NormalDist(amount.mean, amount.std)
        span = normal.cdf(high) - normal.cdf(low)
        return lambda x: min(1.0, max(0.0, (normal.cdf(x) - normal.cdf(low)) / span))
    if amount.distribution == "lognormal":
        sigma = math.sqrt(math.log1p((amount.std / amount.mean) ** 2))
        log = NormalDist(math.log(amount.mean) - sigma**2 / 2, sigma)
        return lambda x: log.cdf(math.log(x)) if x > 0 else 0.0
    # A gamma distribution of shape 4 is the time of the fourth event of a Poisson process.
    rate = amount.mean / amount.std**2
    assert amount.mean**2 / amount.std**2 == 4
    return lambda x: 1 - math.exp(-rate * x) * sum((rate * x) ** k / math.factorial(k) for k in range(4))


@pytest.mark.parametrize(
    "given_",
    [
        {"distribution": "normal", "mean": 50, "std": 15},
        {"distribution": "normal", "mean": 10, "std": 30, "min": 0, "max": 500},
        {"distribution": "normal", "mean": 5, "std": 30, "min": 4.999, "max": 5.001},
        {"distribution": "lognormal", "mean": 50, "std": 20},
        {"distribution": "uniform", "min": 3, "max": 8},
        {"distribution": "gamma", "mean": 40, "std": 20},
    ],
)
def test_latency_draws_have_the_configured_distribution(given_):
    amount = Distribution.model_validate(given_)
    draw, share = sampler(amount), cdf(amount)
    number = seeded_hash(0, "test")  # as it is used: a generator a request
    keys = (Request("POST", PATH, {"x-fastmock-key": str(key)}, b"") for key in range(6_000))
    drawn = sorted(draw(random.Random(number(key))) for key in keys)
    distance = max(max(share(x) - i / 6_000, (i + 1) / 6_000 - share(x)) for i, x in enumerate(drawn))
    assert distance < 1.628 / math.sqrt(6_000)  # Kolmogorov-Smirnov at a level of 0.01


def test_latency_draws_have_the_configured_mean_and_deviation():
    for kind in ("lognormal", "gamma"):
        draw = sampler(Distribution(distribution=kind, mean=400, std=100))
        generator = random.Random(1)
        drawn = [draw(generator) for _ in range(40_000)]
        assert fmean(drawn) == pytest.approx(400, rel=0.01)
        assert pstdev(drawn) == pytest.approx(100, rel=0.03)


@pytest.mark.parametrize(
    ("name", "text"), [("a.txt", "1.5\n2, 3\n"), ("a.json", "[1.5, 2, 3]"), ("a.yaml", "- 1.5\n- 2\n- 3")]
)
def test_latency_from_a_file_draws_its_samples(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    app = make_app({"latency": {"ttft": {"file": name}}}, tmp_path)
    due_times = {next(reply(app, HELLO | {"stream": True}).due_times) for _ in range(60)}
    assert due_times == {0.0015, 0.002, 0.003}


@pytest.mark.parametrize(
    ("latency", "said"),
    [
        ({"ttft": -1}, "latency.ttft.mean: must be greater than or equal to 0"),
        ({"ttft": "soon"}, "latency.ttft.mean: must be a valid number"),
        ({"ttft": True}, "latency.ttft: must be an object"),
        ({"ttft": {"mean": 1, "std": 2}}, "latency.ttft: constant does not take 'std'"),
        ({"ttft": {"distribution": "gamma", "mean": 1}}, "latency.ttft: gamma needs 'std'"),
        ({"ttft": {"distribution": "uniform", "min": 2, "max": 1}}, "latency.ttft: needs 'min' <= 'max'"),
        ({"itl": {"distribution": "normal", "mean": 9, "std": 1, "min": 10}}, "needs 'min' <= 'mean' <= 'max'"),
        ({"itl": {"file": "x.txt", "mean": 1}}, "'file' cannot be combined with other parts"),
        ({"itl": {"file": "missing.txt"}}, "latency.itl.file: missing.txt cannot be read"),
        ({"itl": {"file": "words.txt"}}, "words.txt must hold numbers only"),
        ({"itl": {"file": "empty.txt"}}, "empty.txt must hold a list of numbers"),
        ({"itl": {"file": "minus.json"}}, "minus.json must hold a list of numbers of at least 0"),
        ({"itl": 1, "tokens_per_second": 9}, "latency: takes 'itl' or 'tokens_per_second', not both"),
        ({"tokens_per_second": 0}, "needs 'tokens_per_second' above 0"),
        ({"preset": "gpt4"}, "latency.preset: must be 'instant', 'fast',"),
        ({"tft": 1}, "latency.tft: unknown name; did you mean 'ttft'?"),
        ({"time_factor_under_load": 0.5}, "latency.time_factor_under_load: must be greater than or equal to 1"),
    ],
)
def test_latency_settings_with_an_error_are_rejected(tmp_path, monkeypatch, latency, said):
    monkeypatch.chdir(tmp_path)
    for name, text in (("words.txt", "a b"), ("empty.txt", ""), ("minus.json", "[-1]")):
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as wrong:
        Layers({"latency": latency}, {}, {}).load()
    assert said in str(wrong.value)
    assert len(wrong.value.problems) == 1


def test_latency_from_environment_variables_is_read(tmp_path):
    config, problems = load(None, {"FASTMOCK_LATENCY_TTFT": "250", "FASTMOCK_LATENCY_PRESET": "fast"}, {}, tmp_path)
    assert problems == []
    assert config.settings.latency.ttft.mean == 250
    assert config.settings.latency.preset == "fast"


# --- the model


def reply(app, body, **headers):
    return app.handle(
        Request("POST", PATH, KEY | {k.replace("_", "-"): v for k, v in headers.items()}, orjson.dumps(body))
    )


def test_latency_total_is_ttft_plus_itl_per_further_token():
    app = make_app({"latency": {"ttft": 200, "itl": 30, "prefill_ms_per_token": 2}} | COUNTER)
    whole = reply(app, HELLO)
    prompt = orjson.loads(whole.body)["usage"]["prompt_tokens"]
    ttft = 0.2 + prompt * 0.002
    assert list(whole.due_times) == pytest.approx([ttft + 9 * 0.03])
    due_times, events = chunks(reply(app, HELLO | {"stream": True}))
    assert due_times == pytest.approx([ttft + 0.03 * number for number in range(10)] + [ttft + 9 * 0.03])
    assert "".join(words(events)) == counter(10)
    assert events[0][0]["choices"][0]["delta"]["role"] == "assistant"  # held back until the first token
    assert len(events[0]) == 2
    assert app.takes_time


def test_latency_chunk_of_several_tokens_is_due_with_its_first():
    config = {"latency": {"ttft": 100, "itl": 10}, "streaming": {"tokens_per_chunk": 4}} | COUNTER
    due_times, events = chunks(reply(make_app(config), HELLO | {"stream": True}))
    assert due_times == pytest.approx([0.1, 0.14, 0.18, 0.19])
    assert [len(word.split()) for word in words(events)] == [4, 4, 2]


def test_latency_tokens_per_second_is_drawn_once_per_answer():
    speed = {"distribution": "uniform", "min": 10, "max": 100}
    app = make_app({"latency": {"tokens_per_second": speed}} | COUNTER)
    seen = set()
    for _ in range(20):
        due_times = list(reply(app, HELLO | {"stream": True}).due_times)[:10]
        gaps = [later - earlier for earlier, later in itertools.pairwise(due_times)]
        assert gaps == pytest.approx([gaps[0]] * 9)
        assert 0.01 <= gaps[0] <= 0.1
        seen.add(round(gaps[0], 9))
    assert len(seen) == 20


def test_chunk_delay_paces_streams_only():
    app = make_app({"streaming": {"chunk_delay_ms": 40, "tokens_per_chunk": 5}} | COUNTER)
    assert list(reply(app, HELLO | {"stream": True}).due_times) == pytest.approx([0, 0.04, 0.04])
    assert reply(app, HELLO).due_times is None  # whole answers take no time
    app = make_app({"streaming": {"chunk_delay_ms": 40}, "latency": {"ttft": 100}} | COUNTER)
    assert list(reply(app, HELLO | {"stream": True}).due_times)[:3] == pytest.approx([0.1, 0.14, 0.18])
    app = make_app({"streaming": {"chunk_delay_ms": 40}, "latency": {"itl": 5}} | COUNTER)
    assert list(reply(app, HELLO | {"stream": True}).due_times)[:3] == pytest.approx([0, 0.005, 0.01])


def test_latency_draws_repeat_by_key_and_vary_without():
    app = make_app({"latency": {"preset": "gpt-4o"}} | COUNTER)

    def due_times(**headers):
        return tuple(reply(app, HELLO | {"stream": True}, **headers).due_times)

    assert due_times(x_fastmock_key="a") == due_times(x_fastmock_key="a") != due_times(x_fastmock_key="b")
    assert due_times() != due_times()


class FixedLoad:
    """A number of answers in flight that a test sets."""

    def __init__(self, running):
        self.running = running

    def enter(self):
        pass

    def leave(self):
        pass

    def count(self):
        return self.running


@pytest.mark.parametrize(("running", "factor"), [(1, 1), (2, 1.5), (3, 2), (5, 3), (50, 3)])
def test_latency_under_load_is_multiplied(running, factor):
    latency = Latency(
        ttft=Distribution(mean=100), itl=Distribution(mean=10), time_factor_under_load=3, saturation_concurrency=5
    )
    timing = Timing(latency, lambda _: (), 0.0, FixedLoad(running))
    assert list(timing.steps([1, 1, 0], 0, None)) == pytest.approx([0.1 * factor, 0.11 * factor, 0.11 * factor])
    assert list(timing.pause(3, 0, None)) == pytest.approx([0.12 * factor])


def test_latency_under_load_is_reevaluated_for_each_token():
    load_ = FixedLoad(1)
    latency = Latency(
        ttft=Distribution(mean=0), itl=Distribution(mean=10), time_factor_under_load=2, saturation_concurrency=2
    )
    timing = Timing(latency, lambda _: (), 0.0, load_)
    due_times = timing.steps([1, 1, 1], 0, None)
    assert [next(due_times), next(due_times)] == pytest.approx([0, 0.01])
    load_.running = 2
    assert next(due_times) == pytest.approx(0.03)
    pause = timing.pause(100, 0, None)  # a whole answer looks again, too
    assert len(list(pause)) > 5


def test_answers_in_flight_are_counted_until_ended_or_abandoned():
    app = make_app({"latency": {"itl": 10}} | COUNTER)
    whole, stream, dropped = (
        reply(app, HELLO),
        reply(app, HELLO | {"stream": True}),
        reply(app, HELLO | {"stream": True}),
    )
    pacers = [Pacer(answer.due_times, lambda *_: b"", 0.0, app.lateness) for answer in (whole, stream, dropped)]
    assert app.in_flight.count() == 3
    del dropped
    pacers.pop()
    assert app.in_flight.count() == 2
    for pacer in pacers:
        pacer.take(1e9)
    assert app.in_flight.count() == 0


# --- levels


def test_latency_of_the_most_specific_level_wins():
    patterns = [
        {"match": {"content": "rule"}, "latency": {"ttft": 7}},
        {"match": {"content": "preset"}, "latency": {"preset": "fast", "itl": 1}},
        {"match": {"content": "instant"}, "latency": {"preset": "instant"}},
    ]
    config = {
        "latency": {"ttft": 100, "itl": 10},
        "per_model": [
            {"model": "slow-*", "latency": {"ttft": 900}, "output": {"tokens": 3}},
            {"model": "*", "latency": {}},
        ],
        "output": {"kind": "counter", "tokens": 2},
        "responses": {"chat_completions": {"patterns": patterns}},
        "server": {"control_headers": True},
    }
    app = make_app(config)

    def due_times(message, model="m", **headers):
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": message}]}
        answer = reply(app, body, **headers)
        return [round(due * 1000, 6) for due in answer.due_times] if isinstance(answer, Stream) else []

    assert due_times("x") == [100, 110, 110]
    assert due_times("x", "slow-1") == [900, 910, 920, 920]
    assert due_times("rule", "slow-1") == [7, 17, 27, 27]
    assert due_times("preset") == [50, 51, 51]
    assert due_times("instant") == []
    assert due_times("x", x_fastmock_ttft_ms="3", x_fastmock_itl_ms="0.5") == [3, 3.5, 3.5]
    assert due_times("rule", x_fastmock_preset="fast", x_fastmock_output_tokens="4") == [50, 55, 60, 65, 65]
    assert due_times("x", x_fastmock_preset="instant") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"x_fastmock_ttft_ms": "soon"},
        {"x_fastmock_itl_ms": "-1"},
        {"x_fastmock_ttft_ms": "nan"},
        {"x_fastmock_preset": ""},
    ],
)
def test_latency_header_with_an_error_is_a_400(headers):
    answer = reply(make_app({"server": {"control_headers": True}}), HELLO, **headers)
    assert answer.head.status == 400
    assert orjson.loads(answer.body)["error"]["param"] in {name.replace("_", "-") for name in headers}


def test_latency_headers_when_disabled_are_ignored():
    answer = reply(make_app(), HELLO, x_fastmock_ttft_ms="500", x_fastmock_output_tokens="3")
    assert answer.due_times is None
    assert content(answer).startswith("Hello from fastmock!")


@pytest.mark.parametrize("name", PRESETS)
def test_latency_presets_take_time_except_instant(name):
    app = make_app({"latency": {"preset": name}} | COUNTER)
    answer = reply(app, HELLO | {"stream": True})
    assert app.takes_time == isinstance(answer, Stream) == (name != "instant")


def test_latency_of_embeddings_is_ttft_and_prefill():
    latency = {"ttft": 20, "itl": 1000, "prefill_ms_per_token": 5}
    app = make_app({"latency": latency, "usage": {"tokenizer": "estimate"}})
    body = orjson.dumps({"model": "m", "input": ["abcd", "abcdefgh"]})
    answer = app.handle(Request("POST", "/v1/embeddings", KEY, body))
    assert list(answer.due_times) == pytest.approx([0.02 + 3 * 0.005])


# --- made-up output


@pytest.mark.parametrize("kind", ["lorem", "echo", "counter"])
@pytest.mark.parametrize(
    ("asked", "length", "finish"),
    [
        ({}, 10, "stop"),
        ({"max_tokens": 4}, 4, "length"),
        ({"max_completion_tokens": 4, "max_tokens": 9}, 4, "length"),
        ({"max_tokens": 10}, 10, "length"),
        ({"max_tokens": 30}, 10, "stop"),
        ({"max_tokens": 30, "ignore_eos": True}, 30, "length"),
        ({"min_tokens": 20}, 20, "stop"),
        ({"min_tokens": 20, "max_tokens": 15}, 15, "length"),
        ({"ignore_eos": True, "stop": None, "max_tokens": None}, 10, "stop"),
    ],
)
def test_output_length_follows_limits_and_finish_reason(kind, asked, length, finish):
    app = make_app({"output": {"kind": kind, "tokens": 10}, "validation": "lenient"})
    answer = orjson.loads(reply(app, HELLO | asked).body)
    text = answer["choices"][0]["message"]["content"]
    assert len(text.split()) == length == answer["usage"]["completion_tokens"]
    assert answer["choices"][0]["finish_reason"] == finish
    stream = reply(app, HELLO | asked | {"stream": True, "stream_options": {"include_usage": True}})
    events = [orjson.loads(event[6:]) for event in stream.body.split(b"\n\n") if event and b"[DONE]" not in event]
    assert "".join(words([events])) == text
    assert events[-1]["usage"] == answer["usage"]
    assert events[-2]["choices"][0]["finish_reason"] == finish
    assert all(event["choices"][0]["delta"]["content"] for event in events[1:-2])  # nothing empty


def test_output_by_default_is_the_canned_text():
    app = make_app()
    assert content(reply(app, HELLO)).startswith("Hello from fastmock!")  # nothing configured: a canned text


def test_output_echo_repeats_the_message():
    app = make_app({"output": {"kind": "echo"}})
    assert content(reply(app, HELLO)) == "Hello there my friend"
    assert content(reply(app, HELLO | {"max_tokens": 2})) == "Hello there"
    assert content(reply(app, HELLO | {"min_tokens": 6})) == "Hello there my friend Hello there"
    empty = HELLO | {"messages": [{"role": "user", "content": ""}]}
    assert content(reply(app, empty)) == ""


def test_output_lorem_depends_only_on_the_message():
    app = make_app({"output": {"kind": "lorem"}})
    assert content(reply(app, HELLO)) == content(reply(app, HELLO))
    others = {content(reply(app, HELLO | {"messages": [{"role": "user", "content": str(n)}]})) for n in range(20)}
    assert len(others) > 2


def test_output_lengths_are_drawn_from_a_distribution():
    tokens = {"distribution": "normal", "mean": 50, "std": 10}
    app = make_app({"output": {"kind": "counter", "tokens": tokens, "min_tokens": 40}})
    lengths = [len(content(reply(app, HELLO)).split()) for _ in range(300)]
    assert min(lengths) == 40
    assert 49 < fmean(lengths) < 55
    assert len(set(lengths)) > 20
    keyed = {content(reply(app, HELLO, x_fastmock_key="k")) for _ in range(5)}
    assert len(keyed) == 1


def test_output_of_a_rule_is_generated_or_inserted():
    patterns = [
        {"match": {"content_contains": "short"}, "output": {"kind": "counter", "tokens": 2}},
        {"match": {"content_contains": "wrapped"}, "content": "<$output>", "output": {"kind": "counter", "tokens": 2}},
    ]
    app = make_app({"responses": {"chat_completions": {"patterns": patterns}}})

    def said(text, **more):
        return orjson.loads(reply(app, HELLO | {"messages": [{"role": "user", "content": text}]} | more).body)

    assert said("short")["choices"][0]["message"]["content"] == counter(2)
    assert said("short", n=2)["usage"]["completion_tokens"] == 4
    assert said("wrapped")["choices"][0]["message"]["content"] == f"<{counter(2)}>"
    assert said("x")["choices"][0]["message"]["content"].startswith("Hello from fastmock!")


def test_output_of_legacy_completions_is_generated(call):
    post = call(COUNTER)
    answer = orjson.loads(post("/v1/completions", {"model": "m", "prompt": ["a", "b"], "max_tokens": 3}).body)
    assert [choice["text"] for choice in answer["choices"]] == [counter(3)] * 2
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
    assert answer["usage"]["completion_tokens"] == 6
    assert orjson.loads(post("/v1/completions", {"model": "m", "max_tokens": 0}).body)["choices"][0]["text"] == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", 0.5), ("max_tokens", "3"), ("min_tokens", -1), ("ignore_eos", 1), ("max_completion_tokens", 0)],
)
def test_output_length_parameter_with_an_error_is_a_400(call, field, value):
    answer = call(COUNTER)(PATH, HELLO | {field: value})
    assert answer.head.status == 400
    assert orjson.loads(answer.body)["error"]["param"] == field


@examples(40)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 3), st.booleans())
def test_continuous_usage_grows_to_the_total(tokens, per_chunk, n, slow):
    config, _ = load(
        {
            "output": {"kind": "counter", "tokens": tokens},
            "streaming": {"tokens_per_chunk": per_chunk},
            "latency": {"itl": 1 if slow else 0},
        },
        {},
        {},
    )
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = reply(build(config), HELLO | {"stream": True, "n": n, "stream_options": options})
    body = stream.body if isinstance(stream, Reply) else stream.cut(0, len(list(stream.due_times)))
    events = [orjson.loads(event[6:]) for event in body.split(b"\n\n") if event and b"[DONE]" not in event]
    said = [event["usage"]["completion_tokens"] for event in events]
    assert said == sorted(said)
    assert said[-1] == tokens * n
    assert said[0] <= min(tokens, per_chunk) * n
    assert all(
        event["usage"]["total_tokens"] == event["usage"]["prompt_tokens"] + seen
        for event, seen in zip(events, said, strict=True)
    )


# --- the clock


def test_lateness_is_summed_over_workers_and_expires_after_a_minute():
    first, second = map(LatenessMeter, joined_shares(2))
    for meter, late in ((first, 0.001), (second, 0.02)):
        pacer = Pacer(iter([0.0] * 50), lambda *_: b"", 1000.0, meter)
        pacer.take(1000.0 + late)
    seen = first.last_minute(1001.0)
    assert seen == second.last_minute(1001.0)
    assert seen.frames == 100
    assert 1 <= seen.p50 <= 1.2
    assert 20 <= seen.p99 <= 24
    assert first.last_minute(1056.0).frames == 100
    assert first.last_minute(1066.0) == (0, 0.0, 0.0)
    Pacer(iter([0.0]), lambda *_: b"", 1060.0, first).take(1060.0)  # in the place of an old histogram
    assert first.last_minute(1060.0).frames == 1


def test_pacer_behind_schedule_sends_larger_pieces():
    meter = LatenessMeter(Share())
    due_times = [number * 0.05 for number in range(10)]
    pacer = Pacer(iter(due_times), lambda begin, end: bytes(range(begin, end)), 0.0, meter)
    assert pacer.take(0.01) == bytes([0])
    assert pacer.due == pytest.approx(0.05)  # on time: one step after another
    assert pacer.take(0.12) == bytes([1, 2])
    assert pacer.due == pytest.approx(0.25)  # behind: the next 0.15 s in one, at the last of them
    assert pacer.take(0.2) == b""
    assert pacer.take(0.255) == bytes([3, 4, 5])
    assert pacer.due == pytest.approx(0.3)  # and on time again
    assert pacer.take(0.4) == bytes([6, 7, 8])
    assert pacer.due == pytest.approx(0.45)
    assert pacer.take(0.45) == bytes([9])
    assert pacer.due is None
    assert meter.last_minute(0.5).frames == 10


def test_answers_in_flight_of_a_dead_worker_are_cleared():
    shares = joined_shares(2)
    first, second = map(InFlight, shares)
    first.enter()
    second.enter()
    second.enter()
    assert first.count() == 3
    clear_gauges(shares[0].numbers, 1)
    assert first.count() == 1


def test_pacer_behind_schedule_warns_once(caplog):
    meter = LatenessMeter(Share())
    for start in range(1000, 1010):
        Pacer(iter([0.0] * 40), lambda *_: b"", float(start), meter).take(start + 0.2)
    assert len(caplog.records) == 1
    assert "falling behind" in caplog.text


class Recorded:
    """A play that writes down when it was done."""

    def __init__(self, due_times):
        self.due_times = due_times
        self.done = []

    def step(self, now):
        while self.due_times and self.due_times[0] <= now:
            self.done.append(now - self.due_times.pop(0))
        return self.due_times[0] if self.due_times else None


class Broken:
    """A play that fails."""

    def step(self, now):
        raise RuntimeError


def test_scheduler_keeps_time_and_survives_a_failing_task(caplog):
    scheduler = Scheduler()
    scheduler.start()
    start = time.monotonic()
    scheduler.add(start + 0.1, Broken())
    plays = [Recorded([start + 0.05 + number / 2000, start + 0.2 + number / 2000]) for number in range(200)]
    for play in reversed(plays):  # each is due before the ones that the wheel waits for
        scheduler.add(play.due_times[0], play)
    asyncio.run(asyncio.sleep(0.4))
    lates = [late for play in plays for late in play.done]
    assert len(lates) == 400
    assert min(lates) >= 0
    assert "a paced answer failed" in caplog.text
