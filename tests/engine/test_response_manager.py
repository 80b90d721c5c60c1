"""Response managers: answers from a class of the user."""

import io
import signal
import subprocess
import sys
import threading
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.build import build
from fastmock.cli.main import main
from fastmock.config.load import load
from fastmock.core.http import Request
from fastmock.responses import ApiError, ResponseManager
from tests.providers.openai.test_endpoints import GONE, JSON, changed, paths
from tests.support import KEY, ROOT, examples

HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
PATTERNS = [{"match": {"content": "Hello"}, "response_file": "hello.json"}]

MODULE = """
import time
from fastmock.responses import ResponseManager

class Shouting(ResponseManager):
    def generate_chat_response(self, request_data, response_file=None):
        said = request_data["messages"][-1]["content"]
        if said == "raise":
            raise ValueError("no such thing")
        if said == "block":
            time.sleep(1)
        answer = super().generate_chat_response(request_data, response_file)
        message = answer["choices"][0]["message"]
        message["content"] = message["content"].upper() + " $5"
        return answer
"""


@pytest.fixture
def post(tmp_path):
    """Return a function that makes an App with a manager and posts to it."""
    (tmp_path / "hello.json").write_text('{"choices": [{"message": {"content": "Hi $user_message"}}]}')
    (tmp_path / "other.json").write_text('{"choices": [{"message": {"content": "other"}}]}')
    file = tmp_path / "config.json"

    def configured(manager, body, path="/v1/chat/completions", **settings):
        file.write_bytes(orjson.dumps({"responses": {"chat_completions": {"patterns": PATTERNS}}} | settings))
        config, problems = load(file, {}, {})
        assert problems == []
        return build(config, manager).handle(Request("POST", path, KEY, orjson.dumps(body)))

    return configured


@pytest.mark.unit
class TestManager:
    def test_manager_default_answers_by_the_rules(self, post):
        answer = orjson.loads(post(ResponseManager(), HELLO).body)
        assert answer["choices"][0]["message"]["content"] == "Hi Hello"
        assert answer["usage"]["total_tokens"] > 0
        text = orjson.loads(post(ResponseManager(), {"model": "m", "prompt": ["a", "b"]}, "/v1/completions").body)
        assert [choice["index"] for choice in text["choices"]] == [0, 1]
        body = {"model": "m", "input": "a"}
        assert post(ResponseManager(), body, "/v1/embeddings").body == post(None, body, "/v1/embeddings").body

    def test_manager_gets_the_request_and_the_file_of_the_rule(self, post):
        seen = []

        class Mine(ResponseManager):
            def generate_chat_response(self, request_data, response_file=None):
                seen.append((request_data, response_file))
                return super().generate_chat_response(request_data, "other.json")

        assert b'"content":"other"' in post(Mine(), HELLO).body
        assert b'"content":"other"' in post(Mine(), HELLO | {"messages": [{"role": "user", "content": "x"}]}).body
        assert [file for _, file in seen] == ["hello.json", None]
        assert seen[0][0] == HELLO

    def test_manager_answer_is_completed_and_streamed(self, post):
        class Mine(ResponseManager):
            def generate_chat_response(self, request_data, response_file=None):
                return {"choices": [{"message": {"content": "costs $5 or $model"}}]}

        whole = orjson.loads(post(Mine(), HELLO).body)
        assert whole["choices"][0] == {
            "index": 0,
            "message": {"role": "assistant", "content": "costs $5 or $model", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
        assert whole["id"].startswith("chatcmpl-")
        assert whole["model"] == "gpt-4o"
        stream = post(Mine(), HELLO | {"stream": True}, streaming={"tokens_per_chunk": 2}).body
        assert stream.endswith(b"data: [DONE]\n\n")
        assert stream.count(b'"delta":{"content"') == 4  # of two tokens each

    @pytest.mark.parametrize(
        ("returned", "said"),
        [
            (None, "it returned NoneType"),
            ({"choices": []}, "choices must be a list"),
            ({"choices": [{"message": {"content": 5}}]}, "choices[0].message.content must be a string"),
            ({"choices": [{"message": {}}], "x": object()}, "cannot be written as JSON"),
            (ValueError("mine"), "ValueError: mine"),
        ],
    )
    def test_manager_failure_is_a_500_with_the_reason(self, post, returned, said):
        class Mine(ResponseManager):
            def generate_chat_response(self, request_data, response_file=None):
                if isinstance(returned, Exception):
                    raise returned
                return returned

        reply = post(Mine(), HELLO)
        assert reply.head.status == 500
        error = orjson.loads(reply.body)["error"]
        assert error["type"] == "server_error"
        assert error["message"].startswith("The response manager failed: ")
        assert said in error["message"]

    def test_manager_may_raise_api_errors_and_gets_only_valid_requests(self, post):
        class Mine(ResponseManager):
            def generate_chat_response(self, request_data, response_file=None):
                raise ApiError(418, "I am a teapot", code="teapot")

        assert post(Mine(), HELLO).head.status == 418
        assert post(Mine(), {"model": "m"}).head.status == 400
        assert post(Mine(), HELLO, models={"strict": True, "available": ["a"]}).head.status == 404

    def test_manager_single_choice_is_repeated_for_n(self, post):
        class Mine(ResponseManager):
            def generate_chat_response(self, request_data, response_file=None):
                return {"choices": [{"message": {"content": "one"}}]}

        choices = orjson.loads(post(Mine(), HELLO | {"n": 3}).body)["choices"]
        assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(n, "one") for n in range(3)]
        body = {"model": "m", "prompt": ["a", "b"], "n": 2, "echo": True}
        said = [orjson.loads(post(manager, body, "/v1/completions").body)["choices"] for manager in (None, Mine())]
        assert len(said[0]) == 4
        assert said[0] == said[1]

    def test_manager_missing_file_is_named_in_the_error(self, post):
        class Mine(ResponseManager):
            def generate_chat_response(self, request_data, response_file=None):
                return super().generate_chat_response(request_data, "missing.json")

        error = orjson.loads(post(Mine(), HELLO).body)["error"]["message"]
        assert error.endswith("response_file: missing.json cannot be read: no such file or directory")

    def test_manager_embeddings_are_sent_unchanged(self, post):
        class Mine(ResponseManager):
            def generate_embedding_response(self, request_data, response_file=None):
                return {"object": "list", "data": [{"embedding": [1.0, 2.0]}]}

        answer = orjson.loads(post(Mine(), {"model": "m", "input": "a"}, "/v1/embeddings").body)
        assert answer["data"][0]["embedding"] == [1.0, 2.0]

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("no_such_module:X", "cannot import 'no_such_module'"),
            ("fastmock.responses:ResponseManagr", "did you mean 'ResponseManager'?"),
            ("fastmock.core.http:Reply", "is not a subclass"),
            ("tests.engine.test_response_manager:Broken", "cannot be created: RuntimeError: broken"),
            ("nocolon", "responses.manager"),
        ],
    )
    def test_manager_with_a_wrong_name_is_a_config_error(self, name, said):
        errors = io.StringIO()
        assert main(["check", "--response-manager", name], {}, io.StringIO(), errors) == 2
        assert said in errors.getvalue()


class Broken(ResponseManager):
    def __init__(self):
        raise RuntimeError("broken")


@pytest.mark.integration
@pytest.mark.parametrize("runtime", ["auto", "robyn"])
def test_manager_failing_or_blocking_affects_only_its_request(serve, tmp_path, runtime):
    import openai  # here, since it takes most of a second, which unit tests need not wait

    (tmp_path / "mine.py").write_text(MODULE)
    server = serve(None, "--response-manager", "mine:Shouting", "--runtime", runtime)
    assert ("granian (auto)" in server.greeting) == (runtime == "auto")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk", max_retries=0)

    def ask(content):
        messages = [{"role": "user", "content": content}]
        return client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message.content

    assert ask("x").endswith(" $5")
    with pytest.raises(openai.InternalServerError, match="ValueError: no such thing"):
        ask("raise")
    blocked = threading.Thread(target=ask, args=["block"])
    blocked.start()
    time.sleep(0.2)
    start = time.monotonic()
    ask("x")
    assert (time.monotonic() - start < 0.5) == (runtime == "auto")  # Robyn's handlers run one after another
    blocked.join()
    messages = [{"role": "user", "content": "x"}]
    stream = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream).endswith(" $5")
    client.close()


SCRIPT = """
import sys
from fastmock import serve
from fastmock.responses import ResponseManager

class Mine(ResponseManager):
    def __init__(self, word):
        self.word = word
    def generate_chat_response(self, request_data, response_file=None):
        return {"choices": [{"message": {"content": self.word}}]}

sys.exit(serve({"models": {"available": ["mine"]}}, response_manager=Mine("from an object"), port=0, workers=2))
"""


@pytest.mark.integration
def test_serve_from_python_uses_the_manager_object(tmp_path):
    import openai

    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(file)], env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    with process.stdout as out:
        url = next(line.split()[-1] for line in out if "listening on" in line)
        client = openai.OpenAI(base_url=url, api_key="sk")

        def ask():
            return client.chat.completions.create(**HELLO).choices[0].message.content

        assert ask() == "from an object"
        process.send_signal(signal.SIGHUP)  # the object stays
        time.sleep(0.5)
        assert ask() == "from an object"
        assert [model.id for model in client.models.list()] == ["mine"]
        client.close()
        process.terminate()
        assert process.wait(10) == 0


ENTRY = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
CALLS = [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
ANSWER = {
    "id": "x",
    "model": "m",
    "choices": [
        {
            "message": {"role": "assistant", "content": "a", "refusal": None, "tool_calls": CALLS, "more": 1},
            "logprobs": {"content": [ENTRY], "refusal": None},
            "finish_reason": "stop",
        },
        {"message": {"content": None, "function_call": {"name": "f", "arguments": "{}"}}},
    ],
    "usage": {"prompt_tokens": 1},
}
LEGACY = {"tokens": ["a", "b"], "token_logprobs": [0, 0], "top_logprobs": None, "text_offset": [0, 1]}
TEXTS = {"choices": [{"text": "ab", "logprobs": LEGACY, "finish_reason": "stop"}]}


@pytest.mark.unit
@examples(40)
@given(st.data(), st.booleans(), st.sampled_from([{}, {"stop": "a"}, {"n": 3}, {"logprobs": 1}]))
def test_manager_return_value_of_any_kind_is_answered_or_reported(data, stream, extra):
    for path, whole in (("/v1/chat/completions", ANSWER), ("/v1/completions", TEXTS)):
        at = data.draw(st.sampled_from([at for at in paths(whole) if at]))
        document = changed(whole, at, data.draw(JSON | st.just(GONE)))

        class Mine(ResponseManager):
            def generate_chat_response(self, request_data, response_file=None, said=document):
                return said

            generate_completion_response = generate_chat_response

        body = {"model": "m", "messages": HELLO["messages"], "prompt": "x", "stream": stream} | extra
        if path == "/v1/chat/completions" and "logprobs" in body:
            body["logprobs"] = True
        reply = build(load({}, {}, {})[0], Mine()).handle(Request("POST", path, KEY, orjson.dumps(body)))
        assert reply.head.status in (200, 500)
        if reply.head.status == 500:
            assert orjson.loads(reply.body)["error"]["message"].startswith("The response manager failed")
