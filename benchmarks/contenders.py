"""The servers and loads that ``make bench`` compares."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
WORDS = "This is a test response of the mock server and it has some twenty words so that a stream has twenty events too"
REQUEST = (
    b'{"model":"gpt-4","messages":[{"role":"system","content":"You are a helpful assistant"},'
    b'{"role":"user","content":"test"}]}'
)
"""A request that the last of ``rules`` answers."""
CONST, BARE, CHAT, FASTAPI = (
    "Robyn const route, same bytes",
    "Robyn bare handler",
    "fastmock, 10 rules",
    "FastAPI, pydantic, `re` loop, 10 rules",
)
"""The baselines, which every run measures, and the plain reply among them."""
REPEATED = "fastmock, 500 bodies repeated"

Measured = list[tuple[float, float]]
"""The CPU time of a request in µs and the requests per second, for each round."""


@dataclass
class Contender:
    """A server and the load on it.

    Attributes:
        name: its name.
        command: its command, with ``PORT`` for the port.
        load: wrk's script and its arguments.
        environment: environment variables.
        quiet, busy: what was measured on a quiet machine, and beside a process that sweeps the cache.
    """

    name: str
    command: list[str]
    load: tuple[str, ...] = ("chat.lua",)
    environment: dict[str, str] = field(default_factory=dict)
    quiet: Measured = field(default_factory=list)
    busy: Measured = field(default_factory=list)


def rules(count: int) -> dict[str, object]:
    """Return a configuration with ``count`` rules, of which the last matches, by regex, model and system prompt."""
    found: list[dict[str, object]] = [
        {"match": {"model": "gpt-4", "content_regex": f"topic{i} .*word{i}"}, "content": f"answer {i}"}
        for i in range(count - 1)
    ]
    match = {"model": "gpt-4", "content_regex": ".*test.*", "system_prompt": "You are a helpful assistant"}
    found.append({"match": match, "content": WORDS})
    rest = {"streaming": {"tokens_per_chunk": 1}, "usage": {"tokenizer": "estimate"}}
    return {**rest, "responses": {"chat_completions": {"rules": found}}}


def fake_cpus(directory: Path) -> Path | None:
    """Compile the library that simulates 64 CPUs; None without a compiler."""
    if shutil.which("cc") is None:
        return None
    library = directory / "fake_cpus.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, HERE / "fake_cpus.c"], check=True)
    return library


def contenders(directory: Path, answer: Callable[[list[str]], bytes]) -> list[Contender]:
    """Return all contenders; ``answer`` returns the response of a server to ``REQUEST``."""
    configs = {}
    for count in (10, 1000):
        configs[count] = directory / f"{count}.json"
        configs[count].write_text(json.dumps(rules(count)))
    forty = directory / "forty.json"
    forty.write_text(json.dumps(rules(10)).replace(WORDS, " ".join(f"w{number}" for number in range(40))))
    mock = [sys.executable, "-m", "fastmock", "--port", "PORT", "--config"]
    ten = [*mock, str(configs[10])]
    body = directory / "body.json"
    body.write_bytes(answer(ten))
    fastapi = [sys.executable, "-m", "benchmarks.baselines.fastapi_app", "PORT"]
    found = [
        Contender(CONST, [sys.executable, "-m", "benchmarks.baselines.robyn_const", "PORT", str(body)]),
        Contender(BARE, [sys.executable, "-m", "benchmarks.baselines.robyn_bare", "PORT", str(body)]),
        Contender(CHAT, ten),
        Contender("fastmock, 10 rules, without the cache", ten, environment={"FASTMOCK_CACHE_MAX_BYTES": "0"}),
        Contender("fastmock, 1,000 rules", [*mock, str(configs[1000])]),
        Contender("fastmock on Robyn, 10 rules", [*ten, "--runtime", "robyn"]),
        *_of_bodies(ten, forty, mock),
        *_of_features(ten),
        Contender(FASTAPI, [*fastapi, str(configs[10])]),
        Contender("FastAPI, stream of 20 events", [*fastapi, str(configs[10])], ("chat.lua", "stream")),
        Contender("FastAPI, stream of 40 events", [*fastapi, str(forty)], ("chat.lua", "stream")),
    ]
    if library := fake_cpus(directory):
        found.insert(6, Contender(f"{CHAT}, 64 CPUs shown", ten, environment={"LD_PRELOAD": str(library)}))
    return found


def _of_bodies(ten: list[str], forty: Path, mock: list[str]) -> Iterable[Contender]:
    """Yield the kinds of requests, with bodies all different and with 500 that are repeated."""
    kinds = {
        "stream of 20 events without delay": ("stream", ""),
        "a tool call with generated arguments": ("tool", ""),
        "JSON generated from a schema": ("schema", ""),
        "a response, stored": ("", "responses"),
        "stream of a response, stored": ("stream", "responses"),
        "an Anthropic message": ("", "messages"),
        "stream of an Anthropic message": ("stream", "messages"),
    }
    for name, load in kinds.items():
        yield Contender(f"fastmock, {name}", ten, ("chat.lua", *load))
    yield Contender("fastmock, stream of 40 events without delay", [*mock, str(forty)], ("chat.lua", "stream"))
    yield Contender(REPEATED, ten, ("chat.lua", "", "", "500"))
    yield Contender(f"{REPEATED}, on Robyn", [*ten, "--runtime", "robyn"], ("chat.lua", "", "", "500"))
    for name, load in kinds.items():
        yield Contender(f"{REPEATED}: {name}", ten, ("chat.lua", *load, "500"))
    exactly = {"FASTMOCK_USAGE_TOKENIZER": "exact"}
    yield Contender("fastmock, prompt of 200 characters, tokens estimated", ten, ("chat.lua", "long"))
    yield Contender("fastmock, the same prompt, tokens counted exactly", ten, ("chat.lua", "long"), exactly)


def _of_features(ten: list[str]) -> Iterable[Contender]:
    """Yield features that add to a plain reply, and embeddings."""
    # Limits are counted, and never reached.
    limits = {f"FASTMOCK_LIMITS_{unit}_PER_MINUTE": "1000000000" for unit in ("REQUESTS", "TOKENS")}
    features = {
        "requests and tokens limited": limits,
        "with metrics": {"FASTMOCK_METRICS_ENABLED": "true"},
        "with the journal": {"FASTMOCK_JOURNAL_ENABLED": "true"},
        "with the journal and findings": {"FASTMOCK_JOURNAL_ENABLED": "true", "FASTMOCK_FINDINGS_ENABLED": "true"},
    }
    for name, environment in features.items():
        yield Contender(f"{CHAT}, {name}", ten, environment=environment)
    for name, environment in features.items():
        yield Contender(f"{REPEATED}, {name}", ten, ("chat.lua", "", "", "500"), environment)
    yield Contender("fastmock, embedding of 20 unseen words", ten, ("embeddings.lua", "1"))
    yield Contender("fastmock, 100 such texts in a request", ten, ("embeddings.lua", "100"))
    yield Contender("fastmock, 100 texts seen before", ten, ("embeddings.lua", "100", "20"))
