"""Tests that script fastmock through its pytest plugin."""

import openai


def ask(text):
    """Stand for the application: it reads OPENAI_BASE_URL and OPENAI_API_KEY."""
    messages = [{"role": "user", "content": text}]
    return openai.OpenAI().chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content


def test_refund(fastmock):
    fastmock.on("refund").reply("It is on its way.")
    assert ask("A refund, please.") == "It is on its way."
    fastmock.verify("refund", count=1)


def test_retry(fastmock):
    fastmock.on("Hello").fails(503, times=1, retry_after=0).reply("Hi")
    assert ask("Hello") == "Hi"
    assert [request.status for request in fastmock.requests] == [503, 200]
