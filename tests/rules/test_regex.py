"""Regular expressions that RE2 does not support."""

import time

import orjson
import pytest

from fastmock.rules.regex import BACKTRACKING_SECONDS

pytestmark = pytest.mark.unit

PATH = "/v1/chat/completions"
USER = [{"role": "user", "content": "x"}]
CHAT = {"model": "gpt-4o", "messages": USER}


def test_regex_that_backtracks_too_long_counts_as_no_match(call, caplog):
    evil = {"name": "evil", "match": {"content_regex": r"(?=a)(a|aa)+$"}, "content": "matched"}
    pattern = {"responses": {"chat_completions": {"patterns": [evil], "default": {"content": "missed"}}}}
    post = call(pattern)
    for text, said in (("a" * 20, "matched"), ("a" * 40 + "!", "missed"), ("a" * 41 + "!", "missed")):
        start = time.thread_time()
        answer = post(PATH, CHAT | {"messages": [{"role": "user", "content": text}]})
        assert orjson.loads(answer.body)["choices"][0]["message"]["content"] == said
        assert time.thread_time() - start < 10 * BACKTRACKING_SECONDS
    assert [record.getMessage().count("evil") for record in caplog.records] == [1]
