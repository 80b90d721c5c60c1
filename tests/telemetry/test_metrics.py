"""Metrics: exact counts over all workers, and their exposition."""

import os
import re
import signal
import threading
import time
import urllib.request
from contextlib import closing
from http.client import HTTPConnection

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastmock.core.http import LargeReply, Request, Stream
from fastmock.core.problems import ConfigError
from fastmock.latency.pacer import Pacer
from fastmock.telemetry.metrics import Metrics
from fastmock.telemetry.observer import observe
from tests.support import KEY, ROOT, make_app, undisturbed, wait_until

PATH = "/v1/chat/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
unit, integration = pytest.mark.unit, pytest.mark.integration
on_both = pytest.mark.parametrize("runtime", ["robyn", "granian"])


def samples(text):
    """Return all samples by name and labels."""
    families = text_string_to_metric_families(text)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


def total(found, name, **labels):
    """Add up the samples of a name that have some labels."""
    return sum(value for (at, *of), value in found.items() if at == name and labels.items() <= dict(of).items())


@pytest.fixture
def metered():
    """Return a function that compiles a configuration into a function that posts, and one that reads the metrics."""

    def configured(config=None):
        app = make_app({"metrics": {"enabled": True}} | (config or {}))
        metrics = Metrics(app)
        app = observe(app, [metrics])
        app = metrics.served(app)

        def post(path, body=b"", method="POST", headers=KEY):
            return app.handle(Request(method, path, headers, orjson.dumps(body) if body else b""))

        def play(path, body):
            """Send an answer by the clock."""
            answer = post(path, body)
            cut = answer.cut if isinstance(answer, Stream) else lambda begin, end: b""
            pacer = Pacer(answer.due_times, cut, time.monotonic(), app.lateness)
            while pacer.due is not None:
                time.sleep(max(0, pacer.due - time.monotonic()))
                pacer.take(time.monotonic())

        return post, play, lambda: samples(post("/metrics", method="GET").body.decode())

    return configured


@unit
def test_metrics_count_requests_and_tokens(metered):
    pattern = {"name": "weather", "match": {"content_contains": "sun"}, "content": "It shines."}
    post, _, read = metered({"responses": {"chat_completions": {"patterns": [pattern]}}})
    usage = orjson.loads(post(PATH, HELLO).body)["usage"]
    post(PATH, {"model": "n", "messages": [{"role": "user", "content": "sun?"}], "stream": True})
    post(PATH, {"model": "m"})
    post("/v1/messages", HELLO | {"max_tokens": 5})
    post("/v1/embeddings", {"model": "e", "input": "a b c d e"})
    post("/v1/models/x", method="GET")
    post("/nowhere", method="GET")
    found = read()
    requests = "fastmock_requests_total"
    assert total(found, requests) == 7
    labels = {"endpoint": "chat_completions", "model": "m", "status": "200"}
    assert total(found, requests, **labels, rule="chat_completions.default") == 1
    assert total(found, requests, endpoint="chat_completions", model="n", rule="weather") == 1
    assert total(found, requests, endpoint="chat_completions", status="400") == 1
    assert total(found, requests, endpoint="messages", model="m") == 1
    assert total(found, requests, endpoint="models") == 1
    assert total(found, requests, endpoint="other", status="404") == 1
    assert (
        total(found, "fastmock_prompt_tokens_total", endpoint="chat_completions", model="m") == usage["prompt_tokens"]
    )
    said = total(found, "fastmock_completion_tokens_total", endpoint="chat_completions", model="m")
    assert said == usage["completion_tokens"]
    assert total(found, "fastmock_prompt_tokens_total", endpoint="embeddings") > 0
    assert total(found, "fastmock_request_duration_seconds_count") == 7
    assert total(found, "fastmock_time_to_first_token_seconds_count", model="n") == 1


@unit
@undisturbed
def test_metrics_time_paced_answers(metered):
    _, play, read = metered({"latency": {"ttft": 60, "itl": 20}, "output": {"kind": "counter", "tokens": 6}})
    play(PATH, HELLO | {"stream": True})
    play(PATH, HELLO)
    found = read()
    assert total(found, "fastmock_time_to_first_token_seconds_count") == 1
    assert 0.06 <= total(found, "fastmock_time_to_first_token_seconds_sum") < 0.16
    assert total(found, "fastmock_inter_token_latency_seconds_count") >= 5
    assert 0.09 <= total(found, "fastmock_inter_token_latency_seconds_sum") < 0.2
    assert total(found, "fastmock_request_duration_seconds_count") == 2
    assert 0.32 <= total(found, "fastmock_request_duration_seconds_sum") < 0.6
    assert total(found, "fastmock_open_streams") == 0
    assert total(found, "fastmock_frame_lateness_seconds_bucket", le="+Inf") >= 7


@unit
def test_metrics_stop_counting_an_abandoned_stream_as_open(metered):
    post, _, read = metered({"latency": {"ttft": 1000}})
    answer = post(PATH, HELLO | {"stream": True})
    assert total(read(), "fastmock_open_streams") == 1
    del answer
    found = read()
    assert total(found, "fastmock_open_streams") == 0
    assert total(found, "fastmock_request_duration_seconds_count") == 1


@unit
def test_metrics_count_faults_and_limits(metered):
    fault = {"kind": "status", "status": 503, "every_nth": 2}
    post, _, read = metered({"faults": [fault], "limits": {"requests_per_minute": 4}})
    for _ in range(6):
        post(PATH, HELLO)
    found = read()
    assert total(found, "fastmock_faults_total", kind="status") == 2
    assert total(found, "fastmock_requests_total", status="503", model="m", rule="chat_completions.default") == 2
    assert total(found, "fastmock_limits_hit_total", limit="requests per min (RPM)") == 2
    assert total(found, "fastmock_requests_total", status="429", model="m") == 2


@unit
def test_metrics_with_many_models_are_bounded(metered):
    post, _, read = metered()
    for number in range(500):
        post(PATH, HELLO | {"model": f"model-{number}"})
    post(PATH, HELLO | {"model": 'a "quoted"\n\x1fthing' + "x" * 1000})
    found = read()
    assert total(found, "fastmock_requests_total") == 501
    assert 300 < total(found, "fastmock_requests_total", model="other") < 410
    assert len({dict(of)["model"] for name, *of in found if name == "fastmock_requests_total"}) <= 102


@unit
def test_metrics_in_vllm_form_are_exposed(metered):
    config = {"metrics": {"vllm": True}, "latency": {"ttft": 1}, "overload": {"max_concurrent": 4}, "models": ["mine"]}
    post, play, read = metered(config)
    play(PATH, HELLO | {"stream": True})
    held = [post(PATH, HELLO) for _ in range(6)]
    found = read()
    assert total(found, "vllm:num_requests_waiting", model_name="mine") == 2
    assert total(found, "vllm:generation_tokens_total", model_name="m") > 0
    assert total(found, "vllm:time_to_first_token_seconds_count", model_name="m") == 1
    assert total(found, "vllm:e2e_request_latency_seconds_count", model_name="m") == 1
    assert ("vllm:kv_cache_usage_perc", ("model_name", "mine")) in found
    assert len(held) == 6


@unit
def test_metrics_disabled_or_not_installed_are_not_served(call, monkeypatch):
    assert call()("/metrics", method="GET").head.status == 404
    monkeypatch.setattr("fastmock.build.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"fastmock\[metrics\]"):
        make_app({"metrics": {"enabled": True}})


@unit
def test_metrics_are_all_documented(metered):
    config = {"overload": {"max_concurrent": 4}, "latency": {"ttft": 1}, "store": "redis://127.0.0.1:1/0"}
    post, *_ = metered({"metrics": {"vllm": True}, **config})
    page = (ROOT / "docs/metrics.md").read_text()
    said = set(re.findall(r"`((?:fastmock|vllm:)_?[a-z0-9_]+)`", page))
    text = post("/metrics", method="GET").body.decode()
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert said == shown


# What follows needs sockets.


def scrape(server):
    with urllib.request.urlopen(server.url + "/metrics") as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return samples(answer.read().decode())


@integration
@on_both
def test_metrics_equal_the_counts_of_the_clients(serve, runtime):
    config = {"metrics": {"enabled": True}, "faults": [{"kind": "status", "status": 500, "probability": 0.1}]}
    server = serve(config, "--runtime", runtime, "--workers", "2")
    counted = {}
    lock = threading.Lock()

    def work(number):
        own = {}
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
            for turn in range(400):
                body = HELLO | {"model": f"m{(number + turn) % 3}", "stream": turn % 4 == 0}
                connection.request("POST", PATH, orjson.dumps(body), KEY)
                response = connection.getresponse()
                response.read()
                key = body["model"], str(response.status)
                own[key] = own.get(key, 0) + 1
        with lock:
            for key, count in own.items():
                counted[key] = counted.get(key, 0) + count

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(6):  # whichever worker is asked
        found = scrape(server)
        seen = {key: total(found, "fastmock_requests_total", model=key[0], status=key[1]) for key in counted}
        assert seen == counted
        assert total(found, "fastmock_requests_total") == 3200
        assert total(found, "fastmock_request_duration_seconds_count") == 3200


@integration
@on_both
def test_metrics_of_a_killed_worker_are_kept(serve, runtime):
    server = serve({"metrics": {"enabled": True}}, "--runtime", runtime, "--workers", "2")
    with httpx.Client(headers=KEY) as client:
        for _ in range(50):
            assert client.post(f"{server.url}{PATH}", json=HELLO).status_code == 200
    before = server.workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: len(server.workers()) == 2 and not set(before) & set(server.workers()), 10)
    found = scrape(server)
    assert total(found, "fastmock_requests_total") == 50
    assert total(found, "fastmock_worker_restarts_total") == 2
    assert total(found, "fastmock_workers") == 2


@integration
def test_metrics_continue_over_a_reload(serve):
    server = serve({"metrics": {"enabled": True}}, "--workers", "2")
    with httpx.Client(headers=KEY) as client:
        client.post(f"{server.url}{PATH}", json=HELLO)
        server.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: "reloaded: " in "".join(server.errors), 10)
        client.post(f"{server.url}{PATH}", json=HELLO)
    found = scrape(server)
    assert total(found, "fastmock_requests_total") == 2
    assert total(found, "fastmock_configuration_generation") == 1


@unit
def test_metrics_large_stream_without_latency_is_counted(metered):
    post, _, read = metered({"output": {"kind": "lorem", "tokens": 12_000}})
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "stream": True}
    answer = post(PATH, body)
    assert isinstance(answer, LargeReply)
    assert answer.head.status == 200
    assert total(read(), "fastmock_requests_total", status="200") == 1
    assert total(read(), "fastmock_request_duration_seconds_count") == 1
