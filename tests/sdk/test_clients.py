"""The client programs of the docs, each in an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support import ROOT, Server

pytestmark = pytest.mark.integration

PROGRAMS = ROOT / "docs/clients"
ENVIRONMENTS = Path(sys.prefix) / "clients"  # made by "make test"
SAID = "Hello yourself, $5 to you!"
GREETING = {"patterns": [{"match": {"content": "Hello"}, "content": "Hello yourself, $$5 to you!"}]}
CONFIG = {
    "responses": {"chat_completions": GREETING, "completions": GREETING},
    "models": {"available": ["gpt-4", "gpt-4o"]},
}

# What the two scripts after it begin with. Of a 503 the SDK parses no body, so this does.
OLD_ERRORS = """
import json, os, openai
openai.api_base, openai.api_key = os.environ["FASTMOCK_URL"], "sk-right"
ask = [{"role": "user", "content": "x"}]
def raised(**body):
    try:
        openai.ChatCompletion.create(**body)
    except openai.error.OpenAIError as error:
        print(type(error).__name__, error.http_status, json.loads(error.http_body)["error"]["code"])
"""
OLD_REFUSALS = """
raised(model="gpt-4", messages=[])
raised(model="unknown", messages=ask)
raised(model="unknown", messages=ask, stream=True)
openai.api_key = "sk-wrong-and-long-enough"
raised(model="gpt-4", messages=ask)
raised(model="gpt-4", messages=ask, stream=True)
"""
# Enough keys that each of the six kinds is drawn; a key draws the same in every run.
OLD_FAILURES = """
for key in range(60):
    raised(model="gpt-4", messages=ask, headers={"x-fastmock-key": str(key)})
"""
OLD_FUNCTIONS = """
import json, os, openai
openai.api_base, openai.api_key = os.environ["FASTMOCK_URL"], "sk-test"
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
body = {"model": "gpt-4", "functions": [{"name": "get_weather", "parameters": schema}]}
asked = [{"role": "user", "content": "What is the weather in Paris?"}]
answer = openai.ChatCompletion.create(messages=asked, function_call={"name": "get_weather"}, **body)
message = answer.choices[0].message
print(message.function_call.name, sorted(json.loads(message.function_call.arguments)), answer.choices[0].finish_reason)
asked += [message.to_dict_recursive(), {"role": "function", "name": "get_weather", "content": "22"}]
answer = openai.ChatCompletion.create(messages=asked, function_call={"name": "get_weather"}, **body)
print(bool(answer.choices[0].message.content))
"""
# This SDK reads asynchronous streams by another library, aiohttp.
OLD_ASYNC = """
import asyncio, os, openai
openai.api_base, openai.api_key = os.environ["FASTMOCK_URL"], "sk-test"
async def main():
    ask = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}
    answer = await openai.ChatCompletion.acreate(**ask)
    print(answer.choices[0].message.content)
    stream = await openai.ChatCompletion.acreate(**ask, stream=True)
    print("".join([chunk.choices[0].delta.get("content", "") async for chunk in stream]))
asyncio.run(main())
"""


# To import a framework takes seconds: a process runs all its programs, each against several servers.
RUN = """
import os, runpy, sys
from itertools import product
programs, urls = (words.split(",") for words in sys.argv[1:])
for program, url in product(programs, urls):
    os.environ.update(FASTMOCK_URL=url + "/v1", OPENAI_BASE_URL=url + "/v1", OPENAI_API_KEY="sk-test")
    runpy.run_path(program, run_name="__main__")
    print("-" * 20, flush=True)
"""
RUNTIMES = ("robyn", "granian")


def on_both(programs):
    """Return the lines that programs should print, in the form of ``outputs``."""
    return {(program, runtime): lines for program, lines in programs.items() for runtime in RUNTIMES}


def python(name):
    found = ENVIRONMENTS / name / "bin/python"
    if not found.exists():
        pytest.skip(f"there is no environment {found}: 'make test' makes it")
    return str(found)


def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    if not (ENVIRONMENTS / "node/node_modules/ai").exists():
        pytest.skip("the SDKs for Node are not installed: 'make test' installs them where npm is")
    return found


def output(url, *command):
    environ = {"FASTMOCK_URL": f"{url}/v1", "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "sk-test"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def printed(interpreter, programs, urls):
    """Return the lines that each program prints with each URL, in this order."""
    command = (interpreter, "-c", RUN, ",".join(str(PROGRAMS / name) for name in programs), ",".join(urls))
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    *parts, rest = done.stdout.split("-" * 20 + "\n")
    assert rest == ""
    return [part.splitlines() for part in parts]


def outputs(interpreter, programs, config, *arguments):
    """Return the lines that programs print, by their names and the runtime of the server."""
    with TemporaryDirectory() as directory, ExitStack() as stack:
        Path(directory, "config.json").write_text(config)
        urls = []
        for runtime in RUNTIMES:
            server = Server("--runtime", runtime, *arguments, cwd=Path(directory))
            stack.callback(server.stop)
            urls.append(server.url)
        return dict(zip(product(programs, RUNTIMES), printed(interpreter, programs, urls), strict=True))


@pytest.mark.parametrize(
    ("program", "environment", "lines"),
    [
        ("quickstart.py", None, [SAID, SAID]),
        ("openai_current.py", None, [SAID, SAID, "2 1536"]),
        ("openai_0_28.py", "openai-0.28", [SAID, SAID, SAID, "2 1536", "messages empty_array"]),
        ("langchain_openai_client.py", "agents", [SAID, SAID, "2 1536"]),
        ("node_openai.mjs", "node", [SAID, SAID, "2 1536", "gpt-4", "gpt-4o"]),
        ("anthropic_current.py", None, [SAID, SAID, "8"]),
        ("scripted.py", None, ["Your refund is on its way."]),
    ],
)
def test_docs_program_prints_the_documented_output(serve, program, environment, lines):
    if environment == "node":
        # Node looks for packages beside the program.
        command = [node(), shutil.copy(PROGRAMS / program, ENVIRONMENTS / "node")]
        found = {(program, one): output(serve(CONFIG, "--runtime", one).url, *command) for one in RUNTIMES}
    else:
        found = outputs(python(environment) if environment else sys.executable, [program], json.dumps(CONFIG))
    assert found == on_both({program: lines})


def test_pytest_example_of_the_docs(tmp_path):
    """Run the example as a user would: with the command on the path, in another directory."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environ = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "--fastmock-timeout=60"}
    program = shutil.copy(PROGRAMS / "test_refund.py", tmp_path)
    command = (sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), program)
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


PYDANTIC_AI = ["Report 1 True", "Report", "Report 2", "True"]
LANGCHAIN = [
    "True",
    "get_weather ['city'] True",
    "get_weather ['city'] True",
    "json_schema Event",
    "function_calling Event",
    "True",
]
ITEMS = "tool_call_item tool_call_output_item message_output_item"
VERCEL = [f"{SAID} true", "true stop", "1 2 stop", "2 2", "getWeather city", "city degrees"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_vercel_ai_sdk_program_prints_the_expected_output(serve, runtime):
    command = [node(), shutil.copy(PROGRAMS / "node_vercel.mjs", ENVIRONMENTS / "node")]
    server = serve(CONFIG | {"tools": {"auto_call": True}}, "--runtime", runtime, "--workers", "2")
    assert output(server.url, *command) == VERCEL * 2


FRAMEWORKS = {
    "langchain": {
        "agents_langchain.py": [
            "get_weather ['city'] True",
            "get_weather ['city']",
            "json_schema Event True",
            "function_calling Event True",
            "dict",
            "Event",
        ],
        "dialects_langchain.py": LANGCHAIN * 2,
    },
    "instructor": {
        "agents_instructor.py": [
            "TOOLS Person",
            "TOOLS_STRICT Person",
            "JSON_SCHEMA Person",
            "partial True",
            "several True",
            "async Person",
        ]
    },
    "pydantic_ai": {
        "agents_pydantic_ai.py": ["True", "Report 1", "Report", "Report 2", "True"],
        "dialects_pydantic_ai.py": PYDANTIC_AI * 2,
    },
    "openai_agents": {
        "agents_openai.py": ["True 1", ITEMS, "Report"],
        "responses_openai_agents.py": ["True 1", ITEMS, "Report", "Report"],
    },
}


@pytest.mark.parametrize("programs", FRAMEWORKS.values(), ids=FRAMEWORKS)
def test_agent_frameworks_work_with_all_dialects(programs):
    assert outputs(python("agents"), programs, "{}", "--workers", "2") == on_both(programs)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_openai_0_28_async_calls_return_the_text(serve, runtime):
    interpreter = python("openai-0.28")
    server = serve(CONFIG, "--runtime", runtime)
    assert output(server.url, interpreter, "-c", OLD_ASYNC) == [SAID, SAID]


def test_openai_0_28_calls_functions(serve):
    interpreter = python("openai-0.28")
    assert output(serve({}).url, interpreter, "-c", OLD_FUNCTIONS) == [
        "get_weather ['city'] stop",
        "True",
    ]


def test_openai_0_28_raises_its_errors(serve):
    interpreter = python("openai-0.28")
    server = serve({"auth": {"mode": "keys", "keys": ["sk-right"]}, "models": {"available": ["gpt-4"], "strict": True}})
    assert output(server.url, interpreter, "-c", OLD_ERRORS + OLD_REFUSALS) == [
        "InvalidRequestError 400 empty_array",
        "InvalidRequestError 404 model_not_found",
        "InvalidRequestError 404 model_not_found",
        "AuthenticationError 401 invalid_api_key",
        "AuthenticationError 401 invalid_api_key",
    ]


def test_openai_0_28_raises_simulated_errors(serve):
    interpreter = python("openai-0.28")
    server = serve({"server": {"simulate_errors": True, "error_rate": 1}})
    assert set(output(server.url, interpreter, "-c", OLD_ERRORS + OLD_FAILURES)) == {
        "RateLimitError 429 rate_limit_exceeded",
        "RateLimitError 429 insufficient_quota",
        "APIError 500 None",
        "APIError 502 None",
        "ServiceUnavailableError 503 None",
        "APIError 408 request_timeout",
    }
