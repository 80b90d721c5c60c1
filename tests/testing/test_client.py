"""The client for test suites: it scripts a server in a process of its own."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from fastmock.testing import Client, ControlError, Server, StartError
from fastmock.testing.client import new_session

pytestmark = pytest.mark.integration
CLAUDE = "claude-sonnet"


@pytest.fixture
def mock(server):
    with Client(server.url) as client:
        yield client


def ask(mock, text="hello", **more):
    messages = [{"role": "user", "content": text}]
    return mock.openai(max_retries=more.pop("max_retries", 0)).chat.completions.create(
        model="gpt-4o", messages=messages, **more
    )


def said(mock, text="hello", **more):
    return ask(mock, text, **more).choices[0].message.content


def test_reply_matches_a_part_of_the_message(mock):
    mock.on("hello").reply("Hi")
    assert said(mock, "hello you") == "Hi"
    assert said(mock, "good bye") != "Hi"


def test_later_reply_wins_and_the_same_conditions_are_replaced(mock):
    mock.on().reply("any")
    conditions = mock.on("hello").reply("first")
    assert said(mock) == "first"
    conditions.reply("second")
    assert said(mock) == "second"
    mock.on(model="gpt-4*").reply("third")
    assert said(mock) == "third"


def test_conditions_are_those_of_rules(mock):
    mock.on(re.compile("orders? [0-9]+", re.IGNORECASE)).reply("order")
    mock.on(content="exact").reply("exact")
    mock.on("stream", not_={"stream": True}).reply("whole")
    assert [said(mock, text) for text in ("ORDER 7", "exact", "stream")] == ["order", "exact", "whole"]


def test_replies_by_turn_calls_refusals_and_whole_responses(mock):
    mock.on("turns").reply("one", "two")
    mock.on("weather").calls("get_weather", city="Paris").calls("get_time")
    mock.on("secret").refuses("No.")
    mock.on("raw").responds({"choices": [{"message": {"content": "raw"}, "finish_reason": "length"}]})
    assert said(mock, "turns") == "one"
    calls = ask(mock, "weather").choices[0].message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("get_weather", '{"city":"Paris"}'),
        ("get_time", "{}"),
    ]
    assert ask(mock, "secret").choices[0].message.refusal == "No."
    assert ask(mock, "raw").choices[0].finish_reason == "length"


def test_faults_apply_so_often_and_the_sdk_retries(mock):
    mock.on("hello").fails(429, times=2, retry_after=0).reply("done")
    assert said(mock, max_retries=3) == "done"
    assert [request.status for request in mock.requests] == [429, 429, 200]
    assert [request.fault for request in mock.requests] == ["status", "status", ""]
    mock.on("hello").fails(503, times=1)
    with pytest.raises(openai.InternalServerError):
        ask(mock)


def test_streams_stall_and_are_cut(mock):
    mock.on("hello").streams("one two three four", ttft=10, itl=1)
    mock.on("stall").reply("one two three four").stalls(after=2, seconds=0.2)
    mock.on("cut").reply("one two three four").cuts(after=2, clean=False)
    chunks = list(ask(mock, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two three four"
    assert list(ask(mock, "stall", stream=True))
    with pytest.raises(openai.APIConnectionError):
        list(ask(mock, "cut", stream=True))


def test_anthropic_clients_share_the_session(mock):
    mock.on("hello").reply("Hi")
    message = mock.anthropic().messages.create(
        model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": "hello"}]
    )
    assert message.content[0].text == "Hi"
    assert mock.last_request.endpoint == "messages"


def test_asynchronous_clients_share_the_session(mock):
    mock.on("hello").reply("Hi")

    async def both():
        messages = [{"role": "user", "content": "hello"}]
        async with mock.async_openai() as one, mock.async_anthropic() as other:
            return await asyncio.gather(
                one.chat.completions.create(model="gpt-4o", messages=messages),
                other.messages.create(model=CLAUDE, max_tokens=9, messages=messages),
            )

    completion, message = asyncio.run(both())
    assert completion.choices[0].message.content == message.content[0].text == "Hi"


def test_requests_are_recorded_in_order_with_their_bodies(mock):
    assert mock.last_request is None
    for text in ("one", "two"):
        ask(mock, text)
    assert [request.messages[0]["content"] for request in mock.requests] == ["one", "two"]
    last = mock.last_request
    assert (last.method, last.path, last.model, last.stream) == ("POST", "/v1/chat/completions", "gpt-4o", False)
    assert last.headers["authorization"] == "[redacted]"
    assert last.body["model"] == "gpt-4o"
    assert last.rule == "chat_completions.default"


def test_verify_counts_requests_and_shows_the_nearest(mock):
    ask(mock, "hello")
    mock.verify("hello")
    mock.verify("hello", count=1, model="gpt-4*")
    mock.verify("good bye", count=0)
    with pytest.raises(AssertionError, match="hallo"):
        mock.verify("hallo")
    with pytest.raises(ControlError, match="did you mean 'model'"):
        mock.verify("hello", modle="x")
    timer = threading.Timer(0.2, ask, (mock, "later"))
    timer.start()
    mock.verify("later", wait=10)
    timer.join()


def test_settings_of_the_session_are_replaced(mock):
    mock.configure(strict=True, limits={"requests_per_minute": 1})
    with pytest.raises(openai.NotFoundError):
        ask(mock)
    mock.on("hello").reply("Hi")
    assert said(mock) == "Hi"
    with pytest.raises(openai.RateLimitError):
        ask(mock)
    mock.configure()
    assert said(mock) == "Hi"
    with pytest.raises(ControlError, match="did you mean 'ttft'"):
        mock.configure(latency={"tftt": 1})


def test_clients_never_see_each_other(server):
    def work(number):
        with Client(server.url) as mock:
            mock.on("hello").reply(f"answer {number}").fails(503, times=1)
            first = ask(mock, max_retries=1).choices[0].message.content
            assert len(mock.requests) == 2
            return first

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == [f"answer {number}" for number in range(24)]


def test_reset_leaves_nothing(mock):
    mock.on("hello").reply("Hi").fails(503)
    mock.configure(strict=True)
    mock.reset()
    assert said(mock) != "Hi"
    assert len(mock.requests) == 1
    assert mock.report()["rules"] == []


def test_environment_selects_the_session_in_a_subprocess(mock):
    mock.on("hello").reply("Hi")
    program = "import openai; m = [{'role': 'user', 'content': 'hello'}]\n"
    program += "print(openai.OpenAI().chat.completions.create(model='gpt-4o', messages=m).choices[0].message.content)"
    environ = os.environ | mock.environment()
    out = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert out.stdout == "Hi\n"


def test_url_comes_from_the_environment(server, monkeypatch):
    monkeypatch.delenv("FASTMOCK_URL", raising=False)
    with pytest.raises(ValueError, match="FASTMOCK_URL"):
        Client()
    monkeypatch.setenv("FASTMOCK_URL", f"{server.url}/v1/")
    with Client(session="mine") as mock:
        assert (mock.url, mock.api_key) == (server.url, "mine:sk-fastmock")


def test_client_survives_a_closed_connection_and_a_fork(mock):
    mock.on("hello").reply("Hi")
    mock.control._connection.sock.shutdown(socket.SHUT_RDWR)
    assert said(mock) == "Hi"
    mock.on("hello").reply("Ho")
    child = os.fork()
    if child == 0:
        os._exit(0 if mock.report()["rules"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mock.report()["rules"]


def test_lost_server_is_an_error_at_once(tmp_path):
    server = Server(log=tmp_path / "log", timeout=60)
    client = Client(server.url)
    client.report()
    server.kill()
    with pytest.raises(ControlError, match="does not respond"):
        client.report()


def test_server_that_does_not_start_shows_its_output(tmp_path):
    config = tmp_path / "wrong.json"
    config.write_text('{"sed": 1}')
    with pytest.raises(StartError, match="did you mean 'seed'"):
        Server(config=config, timeout=60)


@pytest.mark.parametrize("name", ["test_a[x/y ü]", "sk-test", "", "x" * 200, "..."])
def test_new_session_is_a_valid_part_of_an_api_key(name):
    from fastmock.core.credentials import split_key

    session = new_session(name)
    assert split_key(f"{session}:sk-test") == (session, "sk-test")
    assert new_session(name) != session


def test_embeddings_of_matching_texts(mock):
    mock.on("cat").embeds(1, 0)
    mock.on("kitten").embeds(0.9, 0.1)
    data = mock.openai().embeddings.create(model="text-embedding-3-small", input=["a cat", "a kitten"]).data
    assert [list(entry.embedding[:2]) for entry in data] == [[1, 0], pytest.approx([0.9, 0.1])]
    assert [rule["hits"] for rule in mock.report()["rules"]] == [1, 1]
