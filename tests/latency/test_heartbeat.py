"""Heartbeats keep a waiting stream alive and do not change its content."""

import httpx
import pytest

from fastmock.content.filler import counter
from fastmock.core.framing import SSE
from fastmock.core.http import ResponseHead, Stream
from fastmock.latency.heartbeat import beat
from fastmock.latency.pacer import UNCOUNTED, Pacer
from tests.support import serving

unit, integration = pytest.mark.unit, pytest.mark.integration
CONFIG = {
    "latency": {"ttft": 700, "itl": 5},
    "output": {"kind": "counter", "tokens": 5},
    "streaming": {"heartbeat": {"interval": 0.2, "form": "ping"}},
    "per_model": [{"model": "quiet", "heartbeat": {"interval": 600}}],
    "server": {"control_headers": True},
    "responses": {
        "chat_completions": {"patterns": [{"match": {"content": "slow"}, "content": "x", "heartbeat": 0.5}]},
    },
}
CHAT = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "x"}]}
KEY = {"authorization": "Bearer sk-test"}


def _numbered(begin, end):
    return b"".join(b"<%d>" % number for number in range(begin, end))


def walked(due_times, interval, step=0.05):
    """Return what a stream of these due times sends, by the time at which it does."""
    stream = Stream(ResponseHead(200, ()), "req_x", iter(due_times), _numbered, len(due_times))
    beat(stream, interval, b":")
    pacer, now, sent = Pacer(stream.due_times, stream.cut, 0.0, UNCOUNTED), 0.0, []
    while pacer.due is not None:
        if data := pacer.take(now):
            sent.append((now, data))
        now = round(now + step, 3)
    return sent


@unit
def test_heartbeats_fill_gaps_without_changing_frames():
    assert walked([0.35, 0.4, 0.4, 1.0], 0.1)[:2] == [(0.1, b":"), (0.2, b":")]
    assert b"".join(data for _, data in walked([0.35, 0.4, 0.4, 1.0], 0.1)) == b":::<0><1><2>:::::<3>"
    assert b"".join(data for _, data in walked([0.0, 0.05, 0.1], 0.2)) == b"<0><1><2>"
    assert b"".join(data for _, data in walked([0.5, 0.6], 0.2, step=2.0)) == b"::<0><1>"  # visited late, all at once


@unit
def test_heartbeats_of_many_streams_are_due_together():
    streams = []
    for start in (0.0, 0.003, 0.006, 0.009):
        stream = Stream(ResponseHead(200, ()), "", iter([1.999]), lambda begin, end: b"<>" * (end - begin), 1)
        beat(stream, 1.0, b":")
        streams.append(Pacer(stream.due_times, stream.cut, 10.001 + start, UNCOUNTED))
    assert [pacer.due for pacer in streams] == pytest.approx([11.0] * 4)
    assert [pacer.take(11.0) for pacer in streams] == [b":"] * 4
    assert [pacer.due for pacer in streams] == pytest.approx([12.0, 12.003, 12.006, 12.009])


@pytest.fixture(scope="module", params=["robyn", "granian"])
def server(request, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("beats"), CONFIG, "--runtime", request.param) as running:
        yield running


def raw(server, path, body, **headers):
    named = KEY | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{server.url}{path}", json=body, headers=named, timeout=20).content


@integration
def test_heartbeats_are_sent_before_the_first_token(server):
    data = raw(server, "/v1/chat/completions", CHAT)
    assert data.startswith(SSE.heartbeat * 3 + b"data: ")
    assert data.count(SSE.heartbeat) == 3
    messages = raw(server, "/v1/messages", CHAT | {"max_tokens": 50})
    assert messages.startswith(b'event: ping\ndata: {"type":"ping"}\n\n')
    assert SSE.heartbeat not in messages
    assert raw(server, "/v1/responses", {"model": "m", "input": "x", "stream": True}).startswith(SSE.heartbeat)
    assert raw(server, "/v1/completions", {"model": "m", "prompt": "x", "stream": True}).startswith(SSE.heartbeat)


@integration
def test_heartbeats_are_configurable_by_model_rule_and_header(server):
    assert SSE.heartbeat not in raw(server, "/v1/chat/completions", CHAT | {"model": "quiet"})
    slow = CHAT | {"messages": [{"role": "user", "content": "slow"}]}
    assert raw(server, "/v1/chat/completions", slow).count(SSE.heartbeat) == 1
    assert raw(server, "/v1/chat/completions", CHAT, x_fastmock_heartbeat="0.1").count(SSE.heartbeat) == 6
    assert SSE.heartbeat not in raw(server, "/v1/chat/completions", CHAT, x_fastmock_heartbeat="0")


@integration
def test_heartbeats_are_ignored_by_the_official_sdks(server):
    import anthropic
    import openai

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-test", max_retries=0) as client:
        stream = client.chat.completions.create(model="m", messages=CHAT["messages"], stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == counter(5)
        with client.responses.stream(model="m", input="x") as events:
            assert events.get_final_response().output_text == counter(5)
    asked = {"model": "m", "max_tokens": 50, "messages": CHAT["messages"]}
    with anthropic.Anthropic(base_url=server.url, api_key="k") as client, client.messages.stream(**asked) as stream:
        assert stream.get_final_text() == counter(5)
