"""The GitHub Action's steps as a shell runs them, and the recipes for CI."""

import ast
import json
import os
import re
import subprocess
import sys

import httpx
import pytest
import yaml

from fastmock.config.environment import CONTENTS_VARIABLE, scalars, variables
from fastmock.config.load import load
from tests.support import ROOT

unit, integration = pytest.mark.unit, pytest.mark.integration
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
RULES = {
    "responses": {"strict": True, "chat_completions": {"rules": [{"match": {"content": "Hello"}, "content": "Hi"}]}}
}
TOLD = {"FASTMOCK_URL", CONTENTS_VARIABLE, "FASTMOCK_IMAGE"}


def step(name):
    [found] = [one for one in ACTION["runs"]["steps"] if one["name"] == f"{name} fastmock"]
    return found


class Job:
    """A job of GitHub that uses the action."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "temp/fastmock").mkdir(parents=True)
        (directory / "temp/fastmock/venv").symlink_to(sys.prefix)  # what the first step installs
        for name in ("env", "output", "summary"):
            (directory / name).write_text("")

    def run(self, name, **inputs):
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("FASTMOCK_", "OPENAI_"))}
        environ |= {
            "RUNNER_TEMP": str(self.directory / "temp"),
            "GITHUB_ENV": str(self.directory / "env"),
            "GITHUB_OUTPUT": str(self.directory / "output"),
            "GITHUB_STEP_SUMMARY": str(self.directory / "summary"),
            "PYTHONPATH": str(ROOT),
        }
        given = dict.fromkeys(step(name)["env"], "") | inputs
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(name)["run"]]  # as the runner does
        return subprocess.run(
            command, cwd=self.directory, env=environ | given, capture_output=True, text=True, check=False, timeout=60
        )

    def environment(self):
        return dict(line.split("=", 1) for line in (self.directory / "env").read_text().splitlines())


@integration
@pytest.mark.parametrize(("content", "fail_on", "code"), [("Hallo", "misses", 3), ("Hallo", "", 0)])
def test_action_starts_the_server_and_reports_at_the_end(tmp_path, content, fail_on, code):
    job = Job(tmp_path)
    (tmp_path / "rules.json").write_text(json.dumps(RULES))
    done = job.run("Start", CONFIG="rules.json", ARGS="--workers 2")
    assert done.returncode == 0, done.stdout + done.stderr
    environ = job.environment()
    assert f"url={environ['FASTMOCK_URL']}" in (tmp_path / "output").read_text().split()
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}
    headers = {"authorization": f"Bearer {environ['OPENAI_API_KEY']}"}
    reply = httpx.post(f"{environ['OPENAI_BASE_URL']}/chat/completions", json=body, headers=headers)
    assert reply.status_code == (200 if content == "Hello" else 404)
    done = job.run("Stop", FAIL_ON=fail_on, JOB_STATUS="success")
    assert done.returncode == code, done.stdout + done.stderr
    assert "1 request: rules answered" in done.stdout
    assert (tmp_path / "summary").read_text().startswith("### fastmock")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{environ['FASTMOCK_URL']}/health")


@integration
def test_action_shows_the_log_if_the_server_does_not_start_or_the_job_failed(tmp_path):
    job = Job(tmp_path)
    (tmp_path / "wrong.json").write_text('{"sed": 1}')
    done = job.run("Start", CONFIG="wrong.json")
    assert (done.returncode, "did you mean 'seed'" in done.stdout) == (1, True)
    assert job.run("Start").returncode == 0
    done = job.run("Stop", JOB_STATUS="failure")
    assert (done.returncode, "listening on" in done.stdout) == (0, True)


@unit
def test_action_passes_its_inputs_to_its_steps():
    used = re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text())
    assert set(used) == set(ACTION["inputs"])
    for one in ACTION["runs"]["steps"]:
        assert "${{" not in one["run"]  # inputs come as variables, never as code
        assert one["shell"] == "bash"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs/ci.md").read_text(), re.M | re.S)


def variables_in(value, found):
    """Collect the settings of environment variables in a recipe."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str) and name.startswith("FASTMOCK_"):
                found.append((name, inner))
            variables_in(inner, found)
    elif isinstance(value, list):
        for inner in value:
            variables_in(inner, found)
    return found


@unit
def test_recipes_set_known_variables_and_valid_configurations():
    known = {name for path, info in scalars() for name in variables(path, info)} | TOLD
    found = [pair for text in blocks("yml") for pair in variables_in(yaml.safe_load(text), [])]
    assert len(found) >= 8
    for name, value in found:
        assert name in known
        if name == CONTENTS_VARIABLE:
            config, problems = load(None, {name: value}, {})
            assert problems == []
            assert config.settings.journal.enabled
    code = "\n".join(blocks("py") + blocks("mjs"))
    assert set(re.findall(r"FASTMOCK_\w+", code)) <= known


@unit
def test_recipes_of_the_action_use_its_inputs():
    steps = [one for text in blocks("yml") for one in yaml.safe_load(text).get("steps", ())]
    used = [one["with"] for one in steps if one.get("uses") == "./fastmock"]
    assert len(used) == 2
    assert all(set(given) <= set(ACTION["inputs"]) for given in used)


@unit
def test_recipes_in_python_are_valid():
    for text in blocks("py"):
        ast.parse(text)


@integration
def test_recipes_commands_that_fetch_the_report_work(serve):
    commands = re.findall(r"curl -sf .*", (ROOT / "docs/ci.md").read_text())
    assert len(commands) == 2
    server = serve({"journal": {"enabled": True}, "admin": {"token": "ci"}})
    for command in commands:
        shown = command.split(" >> ")[0].replace(" -o fastmock.xml", "")
        environ = os.environ | {"FASTMOCK_URL": server.url, "FASTMOCK_ADMIN_TOKEN": "ci"}
        done = subprocess.run(["bash", "-c", shown], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "fastmock" in done.stdout
