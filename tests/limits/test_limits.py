"""Rate limits: the arithmetic, the headers, the errors, and both stores."""

import threading
import time
from collections import Counter
from contextlib import closing
from http.client import HTTPConnection

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.core.completion import ChatRequest
from fastmock.core.durations import duration
from fastmock.core.http import Reply, Request, ResponseHead
from fastmock.core.problems import ConfigError
from fastmock.limits.bucket import BEGIN, DAY, FOR_EVER, MINUTE, PASSED, SECOND, Rate, take
from fastmock.limits.limiter import RateLimits, _rates
from fastmock.limits.settings import Limits, Rates
from fastmock.limits.stores import Here, Shared
from fastmock.providers.openai.provider import OPENAI
from fastmock.replication.connection import Connection
from fastmock.replication.settings import Store
from fastmock.shared.block import Share
from fastmock.shared.rate_buckets import Buckets
from fastmock.shared.store_state import StoreState
from tests.support import KEY, examples, make_app, wait_until
from tests.valkey import Valkey, needs_valkey, valkey

PATH = "/v1/chat/completions"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
unit, integration = pytest.mark.unit, pytest.mark.integration


def rate(limit, period=MINUTE, unit_="requests", burst=None):
    return Rate(unit_, limit, period, burst or period, "")


def passes(one, arrivals, wanted=1, fixed=False, count_refused=False):
    """Return which of some arrivals pass, and the waits of those that do not."""
    values, seen = [0] * (BEGIN + 1), []
    for now in arrivals:
        (refused, wait, _), _ = take([one], values, [wanted], [wanted], now, fixed, count_refused)
        seen.append(0 if refused == PASSED else wait)
    return seen


@unit
def test_token_bucket_refills_continuously():
    start = 1_000_000 * SECOND
    assert passes(rate(3), [start] * 5) == [0, 0, 0, 20 * SECOND, 20 * SECOND]
    assert passes(rate(3), [start] * 3 + [start + 19_999_999, start + 20 * SECOND, start + 20 * SECOND]) == [
        *(0, 0, 0),
        1,
        0,
        20 * SECOND,
    ]
    assert passes(rate(60, burst=SECOND), [start, start, start + SECOND, start + SECOND]) == [0, SECOND, 0, SECOND]
    every_5_ms = range(start, start + 2 * MINUTE, 5000)
    passed = [wait for wait in passes(rate(500), every_5_ms) if wait == 0]
    assert len(passed) == 500 + 1000 - 1  # the bucket, and what it is refilled with


@unit
def test_fixed_window_is_full_again_after_its_end():
    start = 1_000_000 * MINUTE
    arrivals = [start, start + 59 * SECOND, start + 59 * SECOND, start + MINUTE]
    assert passes(rate(2), arrivals, fixed=True) == [0, 0, SECOND, 0]


@unit
def test_refused_requests_count_when_configured():
    start = 1_000_000 * SECOND
    every_second = [start + second * SECOND for second in range(300)]
    assert passes(rate(6), every_second).count(0) == 6 + 29
    assert passes(rate(6), every_second, count_refused=True).count(0) == 6


@unit
def test_quota_is_never_refilled():
    assert passes(rate(2, FOR_EVER), [0, 1, 2, DAY * 400]) == [0, 0, 1, 1]


@unit
@examples(50)
@given(
    st.lists(
        st.builds(rate, st.integers(1, 2000), st.sampled_from([MINUTE, DAY]), burst=st.sampled_from([None, SECOND])),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.tuples(st.integers(0, 9 * SECOND), st.integers(0, 500), st.integers(0, 500)), max_size=12),
)
def test_bucket_fast_path_equals_the_reference(rates, arrivals):
    now = 1_000_000 * SECOND
    here, values = Here(Buckets(Share()), False, False), [0] * (BEGIN + len(rates))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastmock.limits.stores.time.monotonic_ns", lambda: now * 1000)
        for later, estimate, actual in arrivals:
            now += later
            given = [estimate] * len(rates), [actual] * len(rates)
            verdict, values[1] = take(rates, values, *given, now)
            assert here.take(1, rates, *given) == verdict
            assert list(here._table.known[1][1 : BEGIN + len(rates)]) == values[1:]


@unit
def test_rates_are_charged_all_or_none():
    rates = [rate(10), rate(100, MINUTE, "tokens")]
    values = [0] * 4
    now = 1_000_000 * SECOND
    (refused, _, left), _ = take(rates, values, [1, 90], [1, 30], now)
    assert (refused, [remaining for remaining, _ in left]) == (PASSED, [9, 70])
    (refused, wait, left), _ = take(rates, values, [1, 90], [1, 30], now)
    assert (refused, wait, [remaining for remaining, _ in left]) == (1, 12 * SECOND, [9, 70])
    (refused, _, left), until = take(rates, values, [1, 90], [1, 30], now + 12 * SECOND)
    assert (refused, [remaining for remaining, _ in left]) == (PASSED, [9, 60])
    assert until == now + 12 * SECOND + 24 * SECOND


@unit
@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (17, "17ms"),
        (1000, "1s"),
        (1250, "1.25s"),
        (60_000, "1m0s"),
        (392_500, "6m32.5s"),
        (3_661_001, "1h1m1.001s"),
        (86_400_000, "24h0m0s"),
    ],
)
def test_durations_are_written_in_go_format(milliseconds, text):
    assert duration(milliseconds) == text


def headers_of(reply):
    """Return all headers of an answer but the request's id."""
    return dict((*reply.head.headers, *zip(reply.head.varying, reply.values, strict=True), *reply.more))


@pytest.fixture
def clock_stopped(monkeypatch):
    """Stop the clock of the limits: they refill while a busy machine is late."""
    now = time.monotonic_ns()
    monkeypatch.setattr("fastmock.limits.stores.time.monotonic_ns", lambda: now)


def limited(call, **limits):
    post = call({"limits": limits})
    return lambda *args, **more: (reply := post(*args, **more), headers_of(reply), orjson.loads(reply.body))


@unit
@pytest.mark.usefixtures("clock_stopped")
def test_openai_limits_have_headers_and_error_message(call):
    post = limited(call, requests_per_minute=3, tokens_per_minute=3000, requests_per_day=100)
    for left in (2, 1, 0):
        reply, headers, body = post(PATH, HELLO)
        assert reply.head.status == 200
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("3", str(left))
        assert headers["x-ratelimit-limit-tokens"] == "3000"
    used = 3 * body["usage"]["total_tokens"]
    assert abs(int(headers["x-ratelimit-remaining-tokens"]) - (3000 - used)) <= 1
    assert headers["x-ratelimit-reset-requests"] in ("1m0s", "59.999s")
    reply, headers, body = post(PATH, HELLO)
    assert reply.head.status == 429
    assert (body["error"]["type"], body["error"]["code"]) == ("requests", "rate_limit_exceeded")
    wait = int(headers["retry-after-ms"])
    assert 19_900 < wait <= 20_000
    assert headers["retry-after"] == "20"
    assert "on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in " in body["error"]["message"]
    assert f"in {duration(wait)}." in body["error"]["message"]
    assert headers["x-ratelimit-remaining-requests"] == "0"


@unit
@pytest.mark.usefixtures("clock_stopped")
def test_anthropic_limits_have_headers_and_error_message(call):
    ask = {"model": "c", "max_tokens": 20, "messages": [{"role": "user", "content": "Hello"}]}
    post = limited(call, requests_per_minute=2, input_tokens_per_minute=1000, output_tokens_per_minute=35)
    _, headers, body = post("/v1/messages", ask)
    left = {name.removeprefix("anthropic-ratelimit-"): value for name, value in headers.items()}
    assert (left["requests-limit"], left["requests-remaining"]) == ("2", "1")
    assert abs(int(left["input-tokens-remaining"]) - (1000 - body["usage"]["input_tokens"])) <= 1
    assert abs(int(left["output-tokens-remaining"]) - (35 - body["usage"]["output_tokens"])) <= 1
    assert left["requests-reset"].startswith("20")
    assert left["requests-reset"].endswith("Z")
    reply, headers, body = post("/v1/messages", ask)
    assert reply.head.status == 429
    assert body["error"]["type"] == "rate_limit_error"
    assert "rate limit of 35 output tokens per min" in body["error"]["message"]
    assert int(headers["retry-after"]) >= 1


@unit
def test_request_larger_than_its_limit_is_refused_without_retry_after(call):
    post = limited(call, tokens_per_minute=1000)
    reply, headers, body = post(PATH, HELLO | {"max_completion_tokens": 5000})
    assert reply.head.status == 429
    assert body["error"]["message"].startswith("Request too large for gpt-4o in organization org-")
    assert "Limit 1000, Requested 5000." in body["error"]["message"]
    assert "retry-after" not in headers
    assert post(PATH, HELLO | {"max_completion_tokens": 1000})[0].head.status == 200
    both = limited(call, tokens_per_minute=1000, estimate="sum")
    assert both(PATH, HELLO | {"max_completion_tokens": 1000})[0].head.status == 429


@unit
def test_quota_exhausted_is_an_insufficient_quota_error(call):
    post = limited(call, quota_requests=1)
    assert post(PATH, HELLO)[0].head.status == 200
    reply, headers, body = post(PATH, HELLO)
    assert (reply.head.status, body["error"]["code"]) == (429, "insufficient_quota")
    assert "retry-after" not in headers
    tokens = limited(call, quota_tokens=50)
    assert [tokens(PATH, HELLO)[0].head.status for _ in range(4)] == [200, 200, 429, 429]


@unit
def test_limits_are_per_key_and_can_differ_by_key_and_model(call):
    per = [{"api_key": "sk-rich*"}, {"model": "o3*", "requests_per_minute": 2}]
    post = limited(call, requests_per_minute=1, per=per)

    def statuses(key, model, count):
        headers = {"authorization": f"Bearer {key}"}
        return [post(PATH, HELLO | {"model": model}, headers=headers)[0].head.status for _ in range(count)]

    assert statuses("sk-a", "gpt-4o", 2) == [200, 429]
    assert statuses("sk-b", "gpt-4o", 2) == [200, 429]
    assert statuses("sk-a", "gpt-4", 1) == [429]
    assert statuses("sk-a", "o3-mini", 2) + statuses("sk-a", "o3", 1) == [200, 200, 429]
    assert statuses("sk-rich-1", "gpt-4o", 5) == [200] * 5


@unit
def test_limits_count_valid_generation_requests_only(call):
    post = limited(call, requests_per_minute=2, tokens_per_minute=10_000)
    assert post(PATH, b"{}")[0].head.status == 400  # what is refused as wrong
    assert post("/v1/models", method="GET")[0].head.status == 200
    _, headers, _ = post("/v1/embeddings", {"model": "e", "input": "a b c d"})
    assert headers["x-ratelimit-remaining-requests"] == "1"
    assert 9990 <= int(headers["x-ratelimit-remaining-tokens"]) < 10_000
    assert post("/v1/responses", {"model": "m", "input": "x"})[0].head.status == 200
    assert post("/v1/moderations", {"input": "x"})[0].head.status == 429


@unit
def test_rate_limit_headers_are_sent_with_a_fault(call):
    post = call({"limits": {"requests_per_minute": 5}, "faults": [{"kind": "status", "status": 503}]})
    assert headers_of(post(PATH, HELLO))["x-ratelimit-remaining-requests"] == "4"


# What follows needs sockets.


@integration
@needs_valkey
def test_redis_store_agrees_with_the_local_store(tmp_path, monkeypatch):
    monkeypatch.setattr("fastmock.replication.connection._PATIENCE", 20)  # seconds, on a busy machine
    rate_of = st.builds(
        lambda limit, period, unit_, burst: Rate(unit_, limit, period, burst or period, ""),
        st.integers(1, 2000),
        st.sampled_from([MINUTE, DAY, FOR_EVER]),
        st.sampled_from(["requests", "tokens"]),
        st.just(None),
    )
    costs = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=12)
    number = iter(range(1, 1 << 40))

    with valkey(tmp_path) as store:
        connection = Connection(Store(url=store.url), StoreState(Share()))
        made = {
            flags: (here := Here(Buckets(Share()), *flags), Shared(connection, here, *flags))
            for flags in [(fixed, counted) for fixed in (False, True) for counted in (False, True)]
        }

        @examples(150)
        @given(st.lists(rate_of, min_size=1, max_size=4), costs, st.booleans(), st.booleans())
        def agree(rates, taken, fixed, counted):
            key = next(number)
            for estimate, actual in taken:
                estimates = [1 if one.unit == "requests" else estimate for one in rates]
                actuals = [1 if one.unit == "requests" else actual for one in rates]
                here, there = (store.take(key, rates, estimates, actuals) for store in made[fixed, counted])
                if fixed and any(
                    full > full_there for (_, full), (_, full_there) in zip(there[2], here[2], strict=True)
                ):
                    return  # a minute of the clock was over between one and the other
                assert here[0] == there[0]
                for one, (left, full), (left_there, full_there) in zip(rates, here[2], there[2], strict=True):
                    elapsed = SECOND  # at most, between one and the other
                    if one.period != FOR_EVER and not fixed:
                        assert abs(full - full_there) < elapsed
                        assert abs(left - left_there) <= 1 + one.limit * elapsed // one.period
                    else:
                        assert left == left_there
                        assert one.period == FOR_EVER or 0 <= full - full_there < elapsed

        agree()


@integration
@pytest.mark.parametrize("workers", ["1", "2"])
def test_sdk_that_honours_retry_after_loses_no_call(serve, workers):
    from openai import OpenAI

    server = serve({"limits": {"requests_per_minute": 900, "quantize": True}}, "--workers", workers)
    retries = []
    begin = time.monotonic()
    with OpenAI(base_url=f"{server.url}/v1", api_key="sk-x") as client:  # which tries twice more
        for _ in range(100):
            raw = client.chat.completions.with_raw_response.create(**HELLO)
            assert raw.parse().choices[0].message.content
            retries.append(raw.retries_taken)
    assert sum(retries) > 10
    assert time.monotonic() - begin >= (100 - 15) / 15  # the bucket, and 15 a second


def hammer(servers, seconds):
    """Ask until so many seconds are over, on a connection for each server; return how many answers had each status."""
    counts, lock = Counter(), threading.Lock()
    until = time.monotonic() + seconds

    def ask(server):
        own = Counter()
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
            while time.monotonic() < until:
                connection.request("POST", PATH, orjson.dumps(HELLO), KEY)
                response = connection.getresponse()
                response.read()
                own[response.status] += 1
                if response.status == 429:
                    time.sleep(0.005)  # which leaves the machine some time for other tests
        with lock:
            counts.update(own)

    threads = [threading.Thread(target=ask, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


# On a busy machine a store may take longer to answer than requests wait for it.
PATIENT = "import fastmock.replication.connection; fastmock.replication.connection._PATIENCE = 5"
RPM = 600
SECONDS = 6


def assert_held(servers):
    """One that does not obey gets the full bucket and what it is refilled with, within 1 %."""
    start = time.monotonic()
    counts = hammer(servers, SECONDS)
    due = RPM + RPM * (time.monotonic() - start) / 60
    assert counts.keys() == {200, 429}
    assert abs(counts[200] - due) <= due * 0.01 + RPM / 60 * 0.2, (counts, due)  # 0.2 s: when they began and ended


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_limit_holds_for_a_client_that_ignores_retry_after(serve, runtime, workers):
    server = serve({"limits": {"requests_per_minute": RPM}}, "--workers", workers, "--runtime", runtime)
    assert_held([server] * 4)


@integration
@needs_valkey
def test_limit_is_shared_by_two_servers_on_one_store(serve, tmp_path):
    with valkey(tmp_path) as store:
        config = {"limits": {"requests_per_minute": RPM, "store": store.url}}  # the former name of store.url
        servers = [serve(config, "--workers", "2", prelude=PATIENT), serve(config, prelude=PATIENT)]
        assert_held(servers * 2)


@integration
@needs_valkey
def test_limits_are_those_of_each_server_while_their_store_is_lost(serve, tmp_path):
    store = Valkey(tmp_path)
    server = serve({"limits": {"requests_per_minute": 2}, "store": store.url}, "--workers", "2", prelude=PATIENT)

    def statuses(count, key="sk-a"):
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=server.url, headers=headers) as client:
            return [client.post(PATH, json=HELLO).status_code for _ in range(count)]

    assert statuses(3) == [200, 200, 429]
    store.kill()
    assert statuses(4) == [200, 200, 429, 429]  # what this server has counted itself: nothing so far

    def said(words):
        return sum(words in line for line in server.errors)

    assert wait_until(lambda: said("the store cannot be reached"), 5)
    time.sleep(0.6)  # all processes have noticed
    assert said("the store cannot be reached") == 1
    assert httpx.get(f"{server.url}/health").json()["store"] == "unreachable"
    with valkey(tmp_path, store.port) as store:
        assert wait_until(lambda: said("can be reached again"), 10)
        time.sleep(0.6)
        assert said("can be reached again") == 1
        assert statuses(3, "sk-b") == [200, 200, 429]
        # One that answers but takes nothing is as good as none, and is not said to be back.
        with store.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 1)
            assert statuses(3, "sk-c") == [200, 200, 429]
            time.sleep(1.5)
            assert said("the store cannot be reached") == 2
            client.config_set("maxmemory", 0)
        assert wait_until(lambda: said("can be reached again") == 2, 10)


@unit
def test_store_with_an_unknown_scheme_is_a_config_error():
    with pytest.raises(ConfigError, match=r"store\.url: has an unknown scheme: 'http'"):
        make_app({"limits": {"requests_per_minute": 1}, "store": "http://x"})


@unit
def test_rates_are_derived_from_the_settings():
    given_ = Rates(requests_per_minute=120, tokens_per_day=10, quota_tokens=5)
    assert [(one.unit, one.limit, one.period, one.burst) for one in _rates(given_, quantize=True)] == [
        ("tokens", 5, FOR_EVER, FOR_EVER),
        ("requests", 120, MINUTE, SECOND),
        ("tokens", 10, DAY, DAY),
    ]


@integration
@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_rate_limit_error_reaches_the_sdk_with_retry_after(serve, runtime):
    import openai

    server = serve({"limits": {"requests_per_minute": 1, "quota_requests": 2}}, "--runtime", runtime)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-x", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(**HELLO)
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(**HELLO)
        assert raised.value.code == "rate_limit_exceeded"
        assert 59 <= float(raised.value.response.headers["retry-after"]) <= 60


@unit
def test_limits_are_per_key_for_keys_in_x_api_key(call):
    post = call({"limits": {"requests_per_minute": 1}})
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}

    def ask(key):
        headers = {"authorization": "Basic Zm9v", "x-api-key": key}
        return post("/v1/messages", body, headers=headers).head.status

    assert [ask("a"), ask("b"), ask("a"), ask("c")] == [200, 200, 429, 200]


@unit
def test_limit_algorithm_change_starts_with_a_full_bucket():
    buckets = Buckets(Share())
    for algorithm in ("token_bucket", "fixed_window", "token_bucket"):
        limits = RateLimits(Limits(requests_per_minute=5, algorithm=algorithm), {}, buckets)
        ask = ChatRequest("u", {}, "m")
        ask.request = Request("POST", PATH, KEY, b"")
        ask.request.provider = OPENAI
        assert limits.take(ask, Reply(ResponseHead(200, ()), "r", b"")) is not None  # it is let through
