"""The clients that people use, each in an environment of its own, running the programs that the README shows."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.integration

PROGRAMS = ROOT / "docs/clients"
ENVIRONMENTS = Path(sys.prefix) / "clients"  # made by "make test"
GREETING = [{"match": {"content": "Hello"}, "content": "Hello yourself, $$5 to you!"}]

OLD_ERRORS = """
import os, sys, openai
openai.api_base, openai.api_key = os.environ["FASTMOCK_URL"], sys.argv[1]
def raised(**body):
    try:
        openai.ChatCompletion.create(**body)
    except openai.error.OpenAIError as error:
        print(type(error).__name__, error.http_status)
ask = [{"role": "user", "content": "x"}]
raised(model="gpt-4", messages=[])
raised(model="unknown", messages=ask)
openai.api_key = "sk-wrong-and-long-enough"
raised(model="gpt-4", messages=ask)
"""


def python(name):
    found = ENVIRONMENTS / name / "bin/python"
    if not found.exists():
        pytest.skip(f"there is no environment {found}: 'make test' makes it")
    return str(found)


def node():
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    if not (ENVIRONMENTS / "node/node_modules/openai").exists():
        pytest.skip("the Node SDK is not installed: 'make test' installs it where npm is")
    return found


def output(url, *command):
    environ = {"FASTMOCK_URL": f"{url}/v1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("runtime", ["robyn", "granian"])
@pytest.mark.parametrize(
    ("program", "environment", "size"),
    [
        ("openai_current.py", None, 1536),
        ("openai_0_28.py", "openai-0.28", 1536),
        ("langchain_openai_client.py", "langchain", 1536),
        ("node_openai.mjs", "node", 1536),
    ],
)
def test_what_the_readme_shows(serve, tmp_path, runtime, program, environment, size):
    if environment == "node":
        # Node looks for packages beside the program.
        command = [node(), shutil.copy(PROGRAMS / program, ENVIRONMENTS / "node")]
    else:
        command = [python(environment) if environment else sys.executable, str(PROGRAMS / program)]
    server = serve({"responses": {"chat_completions": {"patterns": GREETING}}}, "--runtime", runtime)
    said = "Hello yourself, $5 to you!"
    assert output(server.url, *command) == [said, said, f"2 {size}"]


def test_the_old_sdk_raises_what_it_should(serve):
    interpreter = python("openai-0.28")
    server = serve({"auth": {"mode": "keys", "keys": ["sk-right"]}, "models": {"available": ["gpt-4"], "strict": True}})
    assert output(server.url, interpreter, "-c", OLD_ERRORS, "sk-right") == [
        "InvalidRequestError 400",
        "InvalidRequestError 404",
        "AuthenticationError 401",
    ]


@pytest.mark.unit
def test_the_readme_shows_these_programs_word_for_word():
    shown = re.findall(r"^```(?:python|js)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    programs = [program.read_text() for program in sorted(PROGRAMS.iterdir())]
    assert len(programs) == 4
    for program in programs:
        assert any(text == program for text in shown)
