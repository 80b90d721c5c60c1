"""Codex CLI and Claude Code hold a conversation with a tool call, each over its own protocol."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT, Server

pytestmark = pytest.mark.integration

INSTALLED = ROOT / ".venv/clients/agents-cli/node_modules/.bin"
ASKED, ANSWER = "Please list the files", "All done: the tool has run."
CODEX_CONFIG = """
model = "gpt-5"
model_provider = "mock"
[model_providers.mock]
name = "mock"
base_url = "{url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
"""


def rule(tool: str, arguments: dict[str, object]) -> dict[str, object]:
    call = {"tool_calls": [{"name": tool, "arguments": arguments}]}
    return {"match": {"content_contains": ASKED, "tool": tool}, "responses": [call, ANSWER]}


RULES = [
    rule("exec_command", {"cmd": "touch made-by-the-tool"}),
    rule("shell", {"command": ["touch", "made-by-the-tool"]}),
    rule("Bash", {"command": "touch made-by-the-tool", "description": "Makes a file"}),
]


def command_of(name: str) -> str:
    found = INSTALLED / name
    command = str(found) if found.exists() else shutil.which(name)
    if command is None:
        pytest.skip(f"{name} is not installed: 'make agents-cli' installs it by npm")
    return command


def run(command: list[str], work: Path, environment: dict[str, str]) -> str:
    """Run an agent in a directory of its own, with no settings but those that are given; return what it prints."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    home = {"HOME": str(work.parent / "home"), "OPENAI_API_KEY": "sk-test", "ANTHROPIC_API_KEY": "sk-test"}
    done = subprocess.run(
        command, cwd=work, env=kept | home | environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    return done.stdout.decode()


@pytest.fixture
def started(serve, runtime: str, tmp_path: Path) -> tuple[Server, Path]:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "home").mkdir()
    config = {"journal": {"enabled": True}, "responses": {"chat_completions": {"patterns": RULES}}}
    return serve(config, "--runtime", runtime), work


@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_codex_runs_a_tool_and_prints_the_answer(started):
    command = command_of("codex")
    server, work = started
    settings = work.parent / "codex"
    settings.mkdir()
    (settings / "config.toml").write_text(CODEX_CONFIG.format(url=server.url))
    words = ["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", ASKED]
    assert ANSWER in run([command, *words], work, {"CODEX_HOME": str(settings)})
    assert (work / "made-by-the-tool").exists()
    paths = [entry["path"] for entry in server.control("GET", "requests")[1]["requests"]]
    assert paths.count("/v1/responses") == 2


@pytest.mark.parametrize("runtime", ["robyn", "granian"])
def test_claude_code_runs_a_tool_and_prints_the_answer(started):
    command = command_of("claude")
    server, work = started
    quiet = dict.fromkeys(("DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"), "1")
    words = ["-p", ASKED, "--model", "claude-sonnet-4-5", "--allowedTools", "Bash"]
    assert ANSWER in run([command, *words], work, quiet | {"ANTHROPIC_BASE_URL": server.url})
    assert (work / "made-by-the-tool").exists()
    paths = [entry["path"] for entry in server.control("GET", "requests")[1]["requests"]]
    assert paths.count("/v1/messages") >= 2
