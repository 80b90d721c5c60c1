"""Fault injection."""

import re
from collections import Counter
from dataclasses import replace

import orjson
import pytest

from fastmock.build import build
from fastmock.config.load import load
from fastmock.core.http import Reply, Request
from fastmock.core.problems import ConfigError
from fastmock.faults.registry import FAULTS
from fastmock.faults.settings import Window, seconds
from fastmock.faults.trigger import is_open
from fastmock.latency.pacer import UNCOUNTED, Pacer
from fastmock.server.runtimes.select import RUNTIMES, choose
from tests.support import KEY, ROOT, make_app

pytestmark = pytest.mark.unit

PATH = "/v1/chat/completions"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
STATUS = {
    "rate_limit": (429, "rate_limit_exceeded"),
    "insufficient_quota": (429, "insufficient_quota"),
    "server_error": (500, None),
    "bad_gateway": (502, None),
    "service_unavailable": (503, None),
    "timeout": (408, "request_timeout"),
}


def failing(call, **server):
    return call({"server": {"simulate_errors": True, **server}})


@pytest.mark.parametrize("kind", STATUS)
def test_simulated_error_types_have_the_error_envelope(call, kind):
    reply = failing(call, error_rate=1, error_types={kind: 3})(PATH, HELLO)
    error = orjson.loads(reply.body)["error"]
    assert (reply.head.status, error["code"]) == STATUS[kind]
    assert error.keys() == {"message", "type", "param", "code"}
    wait = dict(reply.more).get("retry-after")
    assert (wait is not None) == (kind == "rate_limit")
    if wait:
        assert "gpt-4o in organization org-fastmock" in error["message"]
        assert re.search(rf"try again in {wait}s", error["message"])


def test_simulated_error_rate_and_weights_hold(call):
    post = failing(call, error_rate=0.3, error_types={"timeout": 1, "server_error": 2, "rate_limit": 0})
    seen = Counter(post(PATH, HELLO).head.status for _ in range(6000))
    assert seen.keys() == {200, 408, 500}
    # Five standard deviations of the binomial distribution.
    assert abs(seen[408] - 600) < 5 * (6000 * 0.1 * 0.9) ** 0.5
    assert abs(seen[500] - 1200) < 5 * (6000 * 0.2 * 0.8) ** 0.5


def test_simulated_error_is_decided_by_key_and_seed(call):
    post, again = failing(call, error_rate=0.5), failing(call, error_rate=0.5)
    keys = [KEY | {"x-fastmock-key": f"request {number}"} for number in range(64)]
    fates = [post(PATH, HELLO, headers=key).head.status for key in keys]
    assert len(set(fates)) > 3
    assert fates == [again(PATH, HELLO | {"n": 2}, headers=key).head.status for key in reversed(keys)][::-1]
    other = call({"seed": 1, "server": {"simulate_errors": True, "error_rate": 0.5}})
    assert fates != [other(PATH, HELLO, headers=key).head.status for key in keys]
    without = {post(PATH, HELLO).head.status for _ in range(64)}
    assert 200 in without
    assert len(without) > 3


def test_simulated_errors_come_after_auth_and_spare_health(call):
    post = failing(call, error_rate=1)
    assert post(PATH, HELLO, headers={}).head.status == 401
    assert post("/health", method="GET").head.status == 200
    assert post(PATH, b"\xff").head.status != 200


def test_faults_disabled_wrap_nothing():
    app = make_app()
    assert len(app._guards) == 1
    assert all(responder.send.__name__ == "render" for responder in app.responders)


def statuses(call, faults, requests, config=None):
    """Return the status of each request: ``faults`` are given a status of their own each, from 501."""
    given = [{"kind": "status", "status": 501 + number} | fault for number, fault in enumerate(faults)]
    post = call({"faults": given} | (config or {}))
    return [post(path, body, headers=KEY | headers).head.status for path, body, headers in requests]


ONE = (PATH, HELLO, {})


@pytest.mark.parametrize(
    ("fault", "fates"),
    [
        ({}, "xxxxxxxxxx"),
        ({"probability": 0}, ".........."),
        ({"probability": 1}, "xxxxxxxxxx"),
        ({"every_nth": 3}, "..x..x..x."),
        ({"skip_first": 4}, "....xxxxxx"),
        ({"times": 2}, "xx........"),
        ({"skip_first": 1, "every_nth": 2, "times": 3}, "..x.x.x..."),
    ],
)
def test_fault_trigger_applies_to_the_expected_requests(call, fault, fates):
    seen = statuses(call, [fault], [ONE] * 10)
    assert "".join("x" if status == 501 else "." for status in seen) == fates


def test_fault_first_in_the_list_applies(call):
    assert statuses(call, [{"times": 1}, {"every_nth": 2}, {"skip_first": 1}], [ONE] * 4) == [501, 200, 502, 503]


def test_fault_probabilities_add_up_in_one_draw(call):
    seen = Counter(statuses(call, [{"probability": 0.3}, {"probability": 0.3}, {"probability": 0.2}], [ONE] * 6000))
    # With a draw for each in turn the later ones would get 0.21 and 0.098 instead.
    for status, rate in ((501, 0.3), (502, 0.3), (503, 0.2), (200, 0.2)):
        assert abs(seen[status] - 6000 * rate) < 5 * (6000 * rate * (1 - rate)) ** 0.5


def test_fault_match_rule_and_key_select_requests(call):
    def asking(text, model="gpt-4o", path=PATH, **headers):
        return path, HELLO | {"model": model, "messages": [{"role": "user", "content": text}]}, headers

    patterns = [{"name": "greeting", "match": {"content": "Hi"}, "content": "Hi!"}]
    config = {"responses": {"chat_completions": {"patterns": patterns}}}
    requests = [
        asking("Hi"),
        asking("Ho"),
        asking("Ho", "o3-mini"),
        asking("Ho", authorization="Bearer sk-other"),
        asking("Ho", path="/v1/messages", **{"x-api-key": "sk-anthropic"}),
        ("/v1/embeddings", {"model": "e", "input": "x"}, {}),
    ]
    requests[4][1]["max_tokens"] = 10
    requests[4][2]["authorization"] = None

    def struck(**fault):
        return "".join("x" if status == 501 else "." for status in statuses(call, [fault], requests, config))

    assert struck(rule="greet*") == "x....."
    assert struck(rule="*default") == ".xxxx."
    assert struck(match={"model": "o3*"}) == "..x..."
    assert struck(match={"content_contains": "H"}) == "xxxxx."
    assert struck(match={"endpoint": "messages"}) == "....x."
    assert struck(match={"endpoint": "embeddings"}) == ".....x"
    assert struck(api_key="sk-o*") == "...x.."
    assert struck(api_key="sk-a*") == "....x."
    assert struck(match={"not": {"model": "gpt*"}}, rule="*") == "..x..x"


@pytest.mark.parametrize(
    ("window", "open_at"),
    [
        ({"after": "10s"}, [10, 11, 1000]),
        ({"after": 10, "duration": "1m"}, [10, 69]),
        ({"duration": "500ms"}, [0, 0.4]),
        ({"after": "5s", "duration": "2s", "period": "10s"}, [5, 6.9, 15, 16.9, 1005]),
    ],
)
def test_fault_window_is_open_at_the_expected_times(window, open_at):
    def struck(at):
        return is_open(Window(**window), at)

    times = (0, 0.4, 0.5, 4.9, 5, 6.9, 7, 9.9, 10, 11, 14.9, 15, 16.9, 17, 69, 70, 1000, 1005)
    assert [at for at in times if struck(at)] == [at for at in times if at in open_at or _within(window, at)]


def _within(window, at):
    """Say the same another way, for the times that are not written down."""
    after, duration, period = (seconds(window.get(name)) for name in ("after", "duration", "period"))
    starts = [(after or 0) + turn * (period or 0) for turn in range(200 if period else 1)]
    return any(start <= at < start + (duration or 1e9) for start in starts)


def test_fault_not_applicable_is_counted_in_health(call):
    post = call({"faults": [{"kind": "cut"}, {"kind": "status", "status": 500}]})
    for stream in (False, True, False):
        assert post(PATH, HELLO | {"stream": stream}).fault == ("cut" if stream else "")
    health = orjson.loads(post("/health", method="GET").body)
    assert health["faults"] == [
        {"kind": "cut", "chosen": 3, "not_applicable": 2},
        {"kind": "status", "chosen": 0, "not_applicable": 0},
    ]


def test_fault_prevents_storing_the_answer(call):
    post = call({"faults": [{"kind": "status", "status": 500, "times": 1}], "stored": {"strict_ids": True}})
    assert post(PATH, HELLO | {"store": True}).head.status == 500
    assert post(PATH, HELLO | {"store": True}).head.status == 200
    assert len(orjson.loads(post("/v1/chat/completions", method="GET").body)["data"]) == 1


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_fault_unsupported_by_robyn_is_a_config_error(kind):
    least = {"status": {"status": 500}, "slow_first_token": {"for": "1s"}}.get(kind, {})
    only_granian = kind in ("stall", "reset", "close_idle", "hang")
    for settings, beyond in (
        (least, only_granian),
        (least | {"clean": False}, True) if kind in ("cut", "truncated_body") else (least, only_granian),
        ({"for": "1s"}, False) if kind == "stall" else (least, only_granian),
    ):
        config = {"faults": [{"kind": kind} | settings]}
        assert choose(make_app(config))[1] == "granian"
        config["server"] = {"runtime": "robyn"}
        if beyond:
            with pytest.raises(ConfigError, match=r"faults\[0\]: Robyn does not support .* take granian"):
                make_app(config)
        else:
            make_app(config)


def test_fault_docs_list_every_fault_and_its_runtimes():
    page = (ROOT / "docs" / "faults.md").read_text()
    for kind, fault in FAULTS.items():
        settings = fault.settings_type
        row = re.search(rf"^\| `{kind}` \|.*$", page, re.MULTILINE)
        assert row, kind
        least = {"status": {"status": 500}, "slow_first_token": {"for": "1s"}}.get(kind, {})
        act = fault(settings(kind=kind, **least))
        unclean = "clean" in settings.model_fields
        wanted = "partly" if unclean or kind == "stall" else "no" if act.needs else "yes"
        assert row[0].split("|")[-3].strip().partition(",")[0] == wanted, row[0]


def text_of(answer):
    """Return what a stream says in the end."""
    if isinstance(answer, Reply):
        return answer.body.decode()
    pacer, text = Pacer(answer.due_times, answer.cut, 0.0, UNCOUNTED), b""
    while pacer.due is not None:
        text += pacer.take(pacer.due)
    return text.decode()


def health(post):
    return orjson.loads(post("/health", method="GET").body)["faults"]


@pytest.mark.parametrize("when", [{"times": 1}, {"skip_first": 1, "times": 1}, {"every_nth": 2, "times": 1}])
def test_fault_trigger_counts_only_applicable_requests(call, when):
    post = call({"faults": [{"kind": "cut", "after": 1} | when]})
    for _ in range(3):
        assert post(PATH, HELLO).head.status == 200  # which cannot be cut
    streams = [post(PATH, HELLO | {"stream": True}) for _ in range(2 if len(when) > 1 else 1)]
    assert "[DONE]" not in text_of(streams[-1])
    assert all("[DONE]" in text_of(stream) for stream in streams[:-1])
    assert health(post) == [{"kind": "cut", "chosen": 1, "not_applicable": 0}]


def test_fault_by_header_not_applicable_is_counted(call):
    post = call({"server": {"control_headers": True}, "faults": [{"kind": "cut", "probability": 1}]})
    post(PATH, HELLO)
    asked = KEY | {"x-fastmock-fault": "cut"}
    assert dict(post(PATH, HELLO, headers=asked).more)["x-fastmock-fault"] == "cut; not applicable"
    assert health(post) == [
        {"kind": "cut", "chosen": 1, "not_applicable": 1},
        {"kind": "asked for by a header", "chosen": 1, "not_applicable": 1},
    ]


@pytest.mark.parametrize("fault", ["cut; after=1m", "stall; after=1m; for=1s"])
def test_fault_time_not_reached_is_counted_as_not_applicable(call, fault):
    post = call({"server": {"control_headers": True}, "latency": {"ttft": 1, "itl": 1}})
    stream = post(PATH, HELLO | {"stream": True}, headers=KEY | {"x-fastmock-fault": fault})
    assert "[DONE]" in text_of(stream)
    assert health(post)[-1]["not_applicable"] == 1


@pytest.mark.parametrize("part", ["probability=0", "times=1", "every_nth=2", "rule=x", "window=1m"])
def test_fault_header_with_trigger_settings_is_a_400(call, part):
    post = call({"server": {"control_headers": True}})
    refused = post(PATH, HELLO, headers=KEY | {"x-fastmock-fault": f"status; status=503; {part}"})
    assert refused.head.status == 400
    assert "cannot be set for one request" in refused.body.decode()


def test_fault_settings_without_effect_are_warned_about():
    faults = [
        {"kind": "cut", "rule": "wether"},
        {"kind": "cut", "probability": 0.8},
        {"kind": "status", "status": 500, "probability": 0.7},
    ]
    patterns = [{"name": "weather", "match": {}, "content": "x"}]
    config = {"faults": faults, "responses": {"chat_completions": {"patterns": patterns}}}
    warnings = " ".join(make_app(config).warnings)
    assert "faults[0].rule: no rule has this name: 'wether'; did you mean 'weather'?" in warnings
    config = {"faults": faults[1:]}
    warnings = " ".join(make_app(config).warnings)
    assert "probabilities add up to 1.5" in warnings


def test_fault_match_works_on_embeddings(call):
    match = {"endpoint": "embeddings", "user": "bob"}
    post = call({"faults": [{"kind": "status", "status": 503, "match": match}]})
    body = {"model": "text-embedding-3-small", "input": "x"}
    assert post("/v1/embeddings", body).head.status == 200
    assert post("/v1/embeddings", body | {"user": "bob"}).head.status == 503


def test_fault_unsupported_by_the_serving_runtime_is_refused():
    loaded, problems = load({"server": {"control_headers": True}}, {}, {})
    assert problems == []
    app = build(replace(loaded, runtimes=(RUNTIMES["robyn"],)))
    request = Request("POST", PATH, KEY | {"x-fastmock-fault": "hang"}, orjson.dumps(HELLO))
    assert app.handle(request).head.status == 400
    loaded, _ = load({"faults": [{"kind": "hang"}]}, {}, {})
    with pytest.raises(ConfigError, match="Robyn does not support 'hang'"):
        build(replace(loaded, runtimes=(RUNTIMES["robyn"],)))


def test_fault_settings_error_is_reported_once():
    _, problems = load({"faults": [{"kind": "status", "status": 500, "times": 0}]}, {}, {})
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [("", "in 1s."), ("; retry_after=7", "in 7s."), ("; retry_after=7; retry_after_ms=20.5", "in 21ms.")],
)
def test_fault_rate_limit_message_has_the_retry_time(call, more, said):
    post = call({"server": {"control_headers": True}})
    reply = post(PATH, HELLO, headers=KEY | {"x-fastmock-fault": f"status; status=429{more}"})
    assert f"try again {said}" in orjson.loads(reply.body)["error"]["message"]
