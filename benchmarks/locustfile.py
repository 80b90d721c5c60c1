"""Load scenarios for locust: chat, streams, embeddings, other dialects, and a mix of all.

``make locust`` starts a server and runs them; by hand, against any server:

    locust -f benchmarks/locustfile.py Mixed --host http://127.0.0.1:8080 --headless -u 50 -r 50 -t 30s

The classes are ``Chat``, ``Streaming``, ``Embeddings``, ``Dialects`` and ``Mixed``; without a name locust runs all
five. ``LOAD_SHAPE=ramp`` or ``spike`` shapes the load in place of ``-u``, ``-r`` and ``-t``; ``LOAD_KEY`` is the API
key.
"""

import itertools
import os
import random
import time
from typing import Any, ClassVar

from locust import FastHttpUser, LoadTestShape, constant

KEY = os.environ.get("LOAD_KEY", "sk-locust")
PATH = "/v1/chat/completions"
SHAPE = os.environ.get("LOAD_SHAPE", "")

_number = itertools.count(random.getrandbits(40) << 20)
"""Numbers that no other process or run sends."""


class ApiUser(FastHttpUser):
    """A client that sends one request after another, each with a different body."""

    abstract = True
    wait_time = constant(0)
    default_headers: ClassVar[dict[str, str]] = {"authorization": f"Bearer {KEY}"}

    def chat(self) -> None:
        """Request a non-streaming completion."""
        with self.client.post(PATH, json=question(), name="chat", catch_response=True) as answer:
            if answer.status_code == 200 and not answer.json()["choices"][0]["message"]["content"]:
                answer.failure("no content")

    def stream(self) -> None:
        """Request a stream and read it as it arrives; the time to the first content is a separate entry.

        Locust counts that entry as a request too, in ``Aggregated``.
        """
        start = time.perf_counter()
        first = None
        size = 0
        line = b""
        body = question() | {"stream": True}
        with self.client.post(PATH, json=body, name="stream", stream=True, catch_response=True) as answer:
            if answer.status_code != 200:
                return
            while line != b"data: [DONE]\n" and (line := answer.stream.readline(b"\n")):
                size += len(line)
                if first is None and b'"delta":{"content"' in line:
                    first = (time.perf_counter() - start) * 1000
            answer.stream.read()  # to the very end, so that the connection can be reused
            answer.request_meta["response_time"] = (time.perf_counter() - start) * 1000
            if first is None or line != b"data: [DONE]\n":
                answer.failure("the stream was cut short")
                return
        entry = {"request_type": "POST", "name": "stream: time to first token", "response_time": first}
        self.environment.events.request.fire(**entry, response_length=size, exception=None, context={})

    def respond(self) -> None:
        """Request a response."""
        body = {"model": "gpt-4o", "input": question()["messages"][0]["content"]}
        with self.client.post("/v1/responses", json=body, name="response", catch_response=True) as answer:
            if answer.status_code == 200 and answer.json()["status"] != "completed":
                answer.failure("not completed")

    def message(self) -> None:
        """Request an Anthropic message."""
        body = question() | {"max_tokens": 1000}
        with self.client.post("/v1/messages", json=body, name="message", catch_response=True) as answer:
            if answer.status_code == 200 and not answer.json()["content"]:
                answer.failure("no content")

    def embed(self) -> None:
        """Request one embedding."""
        body = {
            "model": "text-embedding-3-small",
            "input": f"text {next(_number)} to embed",
            "encoding_format": "base64",
        }
        self.client.post("/v1/embeddings", json=body, name="embeddings")


def question() -> dict[str, Any]:
    """Return the body of a chat request."""
    return {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": f"please test this with number {next(_number)}"}],
    }


class Chat(ApiUser):
    """Non-streaming completions only."""

    tasks: ClassVar = {ApiUser.chat: 1}


class Streaming(ApiUser):
    """Streaming completions only."""

    tasks: ClassVar = {ApiUser.stream: 1}


class Embeddings(ApiUser):
    """Embeddings only."""

    tasks: ClassVar = {ApiUser.embed: 1}


class Dialects(ApiUser):
    """Responses and Anthropic messages."""

    tasks: ClassVar = {ApiUser.respond: 1, ApiUser.message: 1}


class Mixed(ApiUser):
    """The requests of an application with retrieval, a chat window and agents."""

    tasks: ClassVar = {
        ApiUser.chat: 5,
        ApiUser.stream: 3,
        ApiUser.embed: 2,
        ApiUser.respond: 2,
        ApiUser.message: 1,
    }


class _Stages(LoadTestShape):
    """Numbers of users over time: (until second, users, users started per second)."""

    abstract = True
    stages: ClassVar[list[tuple[float, int, float]]]

    def tick(self) -> tuple[int, float] | None:
        """Return the current number of users, and the number started per second; None at the end."""
        now = self.get_run_time()
        return next(((users, rate) for until, users, rate in self.stages if now < until), None)


if SHAPE == "ramp":

    class Ramp(_Stages):
        """More users every five seconds, from 10 to 100."""

        stages: ClassVar = [(5.0 * step, 10 * step, 10.0) for step in range(1, 11)]

elif SHAPE == "spike":

    class Spike(_Stages):
        """Ten users, then two hundred for ten seconds, then ten again."""

        stages: ClassVar = [(10.0, 10, 10.0), (20.0, 200, 200.0), (30.0, 10, 200.0)]
