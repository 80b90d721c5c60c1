"""Compare fastmock with other mock servers of chat completions: the same load, side by side, in one run.

Every server answers ``chat.lua`` on one core, with wrk on another; rounds are interleaved and medians taken. Before it is
timed, a server's answer is checked. Run it with ``make peers``, which installs the servers.
"""

import argparse
import json
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.contenders import HERE, REQUEST, WORDS, Contender, rules
from benchmarks.ratios import awake, machine, measure, running, server_and_load_core, wrk

INSTALLED = Path(sys.prefix) / "clients" / "peers"
MODULES, PYTHON = INSTALLED / "node_modules", INSTALLED / "bin"
LOADS = {"repeated": ("chat.lua", "", "", "500"), "different": ("chat.lua",)}
RULE, STATIC, OWN = "a rule", "one static reply", "its own text"
"""The work of a server: match the message, give the same reply to all, or give a text that cannot be configured."""


@dataclass
class Peer:
    """A server.

    Attributes:
        name: its name, with the version.
        command: its command, with ``PORT`` for the port.
        work: see above.
        setting: its settings, for the report.
        environment: environment variables.
    """

    name: str
    command: list[str]
    work: str
    setting: str
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.contenders = {
            name: Contender(self.name, self.command, load, self.environment) for name, load in LOADS.items()
        }


def npm(package: str) -> str:
    found: str = json.loads((MODULES / package / "package.json").read_text())["version"]
    return f"{package} {found} (npm)"


def pypi(package: str) -> str:
    [found] = INSTALLED.glob(f"lib/python*/site-packages/{package}-*.dist-info")
    return f"{package} {found.stem.partition('-')[2]} (PyPI)"


def written(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


def peers(directory: Path) -> Iterator[Peer]:
    """Yield all servers, configured in ``directory``."""
    config = written(directory, "fastmock.json", json.dumps(rules(10)))
    mock = [sys.executable, "-m", "fastmock", "--port", "PORT", "--config", config]
    own = f"fastmock {version('fastmock')}"
    yield Peer(own, mock, RULE, "10 rules; Granian")
    yield Peer(f"{own}, on Robyn", [*mock, "--runtime", "robyn"], RULE, "10 rules")
    yield Peer(f"{own}, without its cache", mock, RULE, "10 rules", {"FASTMOCK_CACHE_MAX_BYTES": "0"})
    yield Peer(
        f"FastAPI {version('fastapi')}, a loop over rules",
        [sys.executable, "-m", "benchmarks.baselines.fastapi_app", "PORT", config],
        RULE,
        "10 rules; uvicorn",
    )
    fixtures = {"fixtures": [{"match": {"userMessage": "test"}, "response": {"content": WORDS}}]}
    yield Peer(
        npm("@copilotkit/aimock"),
        [
            *("node", str(MODULES / "@copilotkit/aimock/dist/cli.js"), "--port", "PORT", "--log-level", "silent"),
            *("--fixtures", written(directory, "aimock.json", json.dumps(fixtures))),
        ],
        RULE,
        "1 rule; log level silent",
    )
    simple = {
        "version": 1,
        "rules": [{"name": "x", "when": {"messages_contain": "test"}, "respond": {"content": WORDS}}],
    }
    yield Peer(
        pypi("fakellm"),
        [
            str(PYTHON / "fakellm"),
            "serve",
            "--port",
            "PORT",
            "--config",
            written(directory, "f.yaml", json.dumps(simple)),
        ],
        RULE,
        "1 rule",
    )
    reply = {"id": "chatcmpl-{{timestamp}}", "object": "chat.completion", "model": "gpt-4"}
    message = {"index": 0, "message": {"role": "assistant", "content": WORDS}, "finish_reason": "stop"}
    matched = {
        "path": "/v1/chat/completions",
        "method": "POST",
        "match": "contains(body.messages[-1].content, 'test')",
        "response": {"status": 200, "content": json.dumps(reply | {"choices": [message]})},
    }
    written(directory, "mock-llm.yaml", json.dumps({"rules": [matched]}))
    start = f"cd {directory} && PORT=$0 exec node {MODULES / '@dwmkerr/mock-llm/dist/main.js'}"
    yield Peer(npm("@dwmkerr/mock-llm"), ["sh", "-c", start, "PORT"], RULE, "1 rule")
    texts = {"responses": {"x": "y"}, "defaults": {"unknown_response": WORDS}, "settings": {"lag_enabled": False}}
    yield Peer(
        pypi("mockllm"),
        [str(PYTHON / "mockllm"), "start", "-p", "PORT", "-r", written(directory, "mockllm.yml", json.dumps(texts))],
        STATIC,
        "it has rules for whole messages only",
    )
    yield Peer(
        pypi("llmock"),
        [str(PYTHON / "llmock"), "serve", "--port", "PORT", "--log-level", "error", "--response-style", "static"],
        OWN,
        "style static",
    )
    yield Peer(
        npm("mock-openai-api"), ["node", str(MODULES / "mock-openai-api/dist/cli.js"), "-p", "PORT"], OWN, "its models"
    )
    yield Peer(
        npm("llmock"),
        [
            *(
                "node",
                str(MODULES / "llmock/bin/llmock.js"),
                "start",
                "--foreground",
                "--port=PORT",
                "--host=127.0.0.1",
            ),
            *("--endpoint=/v1/chat/completions", "--logRequests=false", "--responseType=static"),
        ],
        OWN,
        "type static",
    )
    if nginx := shutil.which("nginx"):
        body = json.dumps(reply | {"choices": [message]})
        settings = (
            f"daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log /dev/null; events {{}} "
            "http { access_log off; keepalive_requests 1000000000; server { listen 127.0.0.1:NUMBER; "
            f"location / {{ default_type application/json; return 200 '{body}'; }} }} }}"
        )
        template = written(directory, "nginx.template", settings)
        start = f"sed s/NUMBER/$0/ {template} > {directory}/nginx.conf && exec {nginx} -c {directory}/nginx.conf"
        yield Peer("nginx, a constant body", ["sh", "-c", start, "PORT"], STATIC, "the limit")


def problem(peer: Peer, core: str) -> str:
    """Return what is wrong with the answer of a server; empty if nothing is."""
    try:
        with running(peer.command, core, peer.environment) as (_, port, _):
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            headers = {"authorization": "Bearer sk-benchmark", "content-type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(url, REQUEST, headers), timeout=20) as response:
                said = json.loads(response.read())["choices"][0]["message"]["content"]
            if wrk(port, core, 2) < 20:
                return "it hangs under 64 connections"
    except SystemExit:
        return "it does not start with these settings"
    except (OSError, ValueError, LookupError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if said == WORDS or (peer.work == OWN and said) else f"it says {said!r}"


def report(found: list[Peer], excluded: dict[str, str], rounds: int, seconds: int) -> str:
    lines = [
        "# fastmock beside other mock servers",
        "",
        f"Written by `make peers` on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {rounds} interleaved rounds of {seconds} s, "
        "medians. One worker pinned to one core, wrk with 64 keep-alive connections on another; 500 bodies repeated, and "
        "every body different. Each answer was checked before it was timed.",
        "",
        f"{machine()}.",
        "",
        "| server | settings | work | repeated: CPU µs/request | requests/s | different: CPU µs/request | requests/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for peer in found:
        cells = [peer.name, peer.setting, peer.work]
        for contender in peer.contenders.values():
            cells += [f"{median(cpu for cpu, _ in contender.quiet):.1f}"]
            cells += [f"{median(rate for _, rate in contender.quiet):,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Not comparable in all: servers without rules do less work for a reply.", ""]
    if excluded:
        lines += [
            "Left out, since they do not answer this load:",
            "",
            *(f"- {name}: {why}" for name, why in excluded.items()),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="seconds of each measurement")
    arguments = parser.parse_args()
    server_core, load_core = server_and_load_core()
    with tempfile.TemporaryDirectory() as directory, awake():
        found, excluded = [], {}
        for peer in peers(Path(directory)):
            if why := problem(peer, server_core):
                excluded[peer.name] = why
                print(f"left out: {peer.name}: {why}", flush=True)
            else:
                found.append(peer)
        for round_ in range(arguments.rounds):
            for peer in found:
                for load, contender in peer.contenders.items():
                    contender.quiet.append(measure(contender, server_core, load_core, arguments.seconds))
                    rate = contender.quiet[-1][1]
                    print(f"{round_ + 1}/{arguments.rounds} {peer.name}, {load}: {rate:,.0f} requests/s", flush=True)
        text = report(found, excluded, arguments.rounds, arguments.seconds)
    print(text)
    (HERE / "peers.md").write_text(text)


if __name__ == "__main__":
    main()
