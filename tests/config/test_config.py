"""Loading the configuration: layers, errors, defaults, reference and JSON Schema."""

import io
import re
from pathlib import Path

import orjson
import pytest

from fastmock.cli.main import main
from fastmock.config.json_schema import json_schema
from fastmock.config.load import load
from fastmock.config.overlay import Overlay
from fastmock.config.reference import _settings, markdown
from fastmock.config.settings import Settings
from fastmock.core.problems import dotted
from fastmock.faults.registry import FAULTS
from fastmock.latency.pacer import Pacer
from fastmock.shared.block import Share
from fastmock.shared.lateness import LatenessMeter
from tests.support import ROOT, make_app

pytestmark = pytest.mark.unit


def test_settings_layers_take_precedence_in_order(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("server: {host: file, port: 1, workers: auto}\nstreaming: {chunk_delay_ms: 50}\n")
    environ = {"FASTMOCK_PORT": "2", "MOCK_OPENAI_PORT": "9", "MOCK_OPENAI_CORS_ORIGINS": "https://a, https://b"}
    config, problems = load(file, environ, {("server", "host"): "flag"})
    server = config.settings.server
    assert problems == []
    assert (server.host, server.port, server.workers) == ("flag", 2, 0)
    assert server.cors_origins == ["https://a", "https://b"]
    assert config.settings.streaming.chunk_delay_ms == 50


@pytest.mark.parametrize("name", ["config.json", "config.yaml", None])
def test_config_file_in_the_working_directory_is_loaded(tmp_path, name):
    if name:
        (tmp_path / name).write_text('{"seed": 7}')
    config, _ = load(None, {}, {}, tmp_path)
    assert config.settings.seed == (7 if name else 0)
    assert config.file == (tmp_path / name if name else None)


def run(tmp_path: Path, text: str, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, list[str]]:
    file = tmp_path / "config.json"
    file.write_text(text)
    out, err = io.StringIO(), io.StringIO()
    code = main(["--config", str(file), *arguments], environ or {}, out, err)
    return code, err.getvalue().replace(f"{tmp_path}/", "").splitlines()


def test_config_with_several_errors_reports_all_of_them(tmp_path):
    (tmp_path / "bad.json").write_text('{"choices": [{"message": {"content": "$user_mesage"}}], "x": $nope}')
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "shape.json").write_text("{}")
    patterns = [
        {"match": {"modle": "x", "content_regex": "("}, "content": "$modl"},
        {"match": {}, "response_file": "bad.json"},
        {"match": {}, "response_file": "broken.json"},
        {"match": {}, "response_file": "missing.json"},
        {"match": {}, "response_file": "shape.json"},
        {"match": {}, "content": "a", "response": {}},
    ]
    config = {"serer": {}, "server": {"runtime": "robin"}, "responses": {"chat_completions": {"patterns": patterns}}}
    code, lines = run(tmp_path, orjson.dumps(config).decode(), "--port", "99999", environ={"FASTMOCK_WORKERS": "x"})
    assert code == 2
    at = "responses.chat_completions.patterns"
    expected = [
        "flag --port: server.port: must be less than or equal to 65535",
        "environment variable FASTMOCK_WORKERS: server.workers: must be a valid integer",
        "config.json: server.runtime: must be 'auto', 'robyn' or 'granian', not 'robin'; did you mean 'robyn'?",
        "config.json: serer: unknown name; did you mean 'server'?",
        f"config.json: {at}[0].match.modle: unknown name; did you mean 'model'?",
        f"config.json: {at}[0].match.content_regex: is not a regular expression",
        f"config.json: {at}[0].content: unknown variable $modl; did you mean 'model'?",
        "bad.json: choices[0].message.content: unknown variable $user_mesage; did you mean 'user_message'?",
        "bad.json: x: unknown variable $nope",
        f"config.json: {at}[2].response_file: broken.json is not valid JSON",
        f"config.json: {at}[3].response_file: missing.json cannot be read: no such file",
        "shape.json: choices: must be a list with at least one choice",
        f"config.json: {at}[5]: takes one of",
    ]
    for line in expected:
        assert any(line in found for found in lines), (line, lines)
    assert lines[0] == f"fastmock: {len(expected)} errors in the configuration"


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1} x', "\udcff"])
def test_config_file_that_cannot_be_parsed_is_named(tmp_path, text):
    file = tmp_path / "config.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    err = io.StringIO()
    assert main(["--config", str(file)], {}, io.StringIO(), err) == 2
    assert str(file) in err.getvalue()


def test_environment_variables_unknown_or_of_kubernetes_are_warned_about():
    config, problems = load(
        None, {"FASTMOCK_PROT": "1", "FASTMOCK_PORT": "tcp://10.0.0.1:80"}, {}, Path("/nonexistent")
    )
    assert problems == []
    assert config.settings.server.port == 8080
    assert "did you mean 'FASTMOCK_PORT'" in " ".join(config.warnings)
    assert "Kubernetes" in " ".join(config.warnings)


WRONG_TAGS = ["!!int x", "!!int ''", "!!float x", "!!bool x", "!!timestamp x", "!!timestamp 2001-13-45", "!!set x"]


@pytest.mark.parametrize("text", ['{"seed": 7, "server": {"port": 1}}', "seed: 7\nserver: {port: 1}"])
def test_one_variable_holds_the_whole_configuration(text, tmp_path):
    variable = {"FASTMOCK_CONFIG_JSON": text, "FASTMOCK_PORT": "2"}
    config, problems = load(None, variable, {}, tmp_path)
    assert problems == []
    assert (config.settings.seed, config.settings.server.port) == (7, 2)
    assert config.warnings == ()
    file = tmp_path / "other.json"
    file.write_text('{"seed": 8}')
    assert load(str(file), variable, {}, tmp_path)[0].settings.seed == 8  # --config has precedence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"seed": ', "FASTMOCK_CONFIG_JSON: is not valid JSON"),
        ("seed: [", "FASTMOCK_CONFIG_JSON: is not valid YAML"),
        *[(f"seed: {value}", "FASTMOCK_CONFIG_JSON: is not valid YAML") for value in WRONG_TAGS],
        ("just words", "FASTMOCK_CONFIG_JSON: must hold an object of settings"),
        ('{"sed": 7}', "environment variable FASTMOCK_CONFIG_JSON: sed: unknown name; did you mean 'seed'?"),
    ],
)
def test_errors_in_the_variable_name_it(text, message, tmp_path):
    _, problems = load(None, {"FASTMOCK_CONFIG_JSON": text}, {}, tmp_path)
    assert [str(problem).startswith(message) for problem in problems] == [True]
    _, problems = load(None, {"FASTMOCK_CONFIG_JSON": "{}", "FASTMOCK_CONFIG": "x.json"}, {}, tmp_path)
    assert [str(one) for one in problems] == ["FASTMOCK_CONFIG_JSON: cannot be used together with FASTMOCK_CONFIG"]


def test_rules_are_tried_by_priority_then_order(call):
    patterns = [
        {"match": {}, "content": "low"},
        {"match": {}, "content": "first", "priority": 5},
        {"match": {}, "content": "second", "priority": 5},
    ]
    post = call({"responses": {"chat_completions": {"patterns": patterns}}})
    assert b'"first"' in post("/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}).body


def test_settings_without_effect_are_warned_about():
    config, _ = load(None, {"FASTMOCK_SIMULATE_ERRORS": "true"}, {}, Path("/nonexistent"))
    from fastmock.build import build

    assert "no effect while 'server.error_rate' is 0" in " ".join(build(config).warnings)


def test_config_errors_do_not_contain_keys(tmp_path):
    for auth in ({"mode": "keys", "keys": ["sk-secret", {"a": "sk-secret"}]}, {"keys": "sk-secret"}, {"mode": "keys"}):
        code, errors = run(tmp_path, orjson.dumps({"auth": auth}).decode())
        assert code == 2
        assert "auth" in errors[1]
        assert "secret" not in "".join(errors)


def test_config_errors_name_unknown_error_types(tmp_path):
    code, errors = run(tmp_path, '{"server": {"error_types": {"ratelimit": 1, "timeout": -1}}}')
    assert code == 2
    assert any("did you mean 'rate_limit'?" in line for line in errors)
    assert any("server.error_types.timeout" in line for line in errors)


def test_settings_all_have_a_description():
    described = {dotted(path): info.description or "" for path, info in _settings(Settings, ())}
    for name, fault in FAULTS.items():
        described[name] = fault.settings_type.__doc__ or ""
        described |= {f"{name}.{own}": i.description or "" for own, i in fault.settings_type.model_fields.items()}
        del described[f"{name}.kind"]
    clause = re.compile(r"(?:Whether|What|Who|How|Where|When|With what|As|Not|And|Or|Also|Only)\b")
    short = {path: text for path, text in described.items() if len(text.split()) < 4 or clause.match(text)}
    assert not short
    assert not [path for path, text in described.items() if "\n" in text or not text.endswith(".")]


def test_config_reference_is_current():
    assert (ROOT / "docs/configuration.md").read_text() == markdown()


def test_config_schema_is_current_and_accepts_the_samples():
    import jsonschema

    assert (ROOT / "docs/config.schema.json").read_text() == json_schema()
    validate = jsonschema.Draft202012Validator(orjson.loads(json_schema())).validate
    sample = orjson.loads((ROOT / "config.json").read_bytes())
    validate(sample)
    assert (ROOT / sample["$schema"]).is_file()
    validate({"server": {"workers": "auto"}, "models": {"available": ["a", {"id": "b"}]}})
    with pytest.raises(jsonschema.ValidationError):
        validate({"server": {"prot": 1}})
    out = io.StringIO()
    assert main(["schema"], {}, out, io.StringIO()) == 0
    assert out.getvalue() == json_schema()


ORIGINAL = """
{
  "server": {"host": "0.0.0.0", "port": 8080, "cors_origins": ["*"], "log_requests": true, "simulate_errors": false,
             "error_rate": 0.0},
  "streaming": {"enabled": true, "chunk_delay_ms": 50, "words_per_chunk": 3},
  "models": [{"id": "gpt-4", "object": "model", "created": 1, "owned_by": "openai"}],
  "responses": {
    "chat_completions": {
      "patterns": [{"match": {"model": "gpt-4", "content_regex": ".*test.*",
                              "system_prompt": "You are a helpful assistant"},
                    "response_file": "responses/chat/test_response.json", "priority": 10}],
      "default": "responses/chat/default.json"},
    "embeddings": {"default": "responses/embeddings/default.json"}}}
"""


def test_config_of_mock_openai_server_loads_unchanged(tmp_path):
    file = tmp_path / "mock_config.json"
    file.write_text(ORIGINAL)
    (tmp_path / "responses").symlink_to(ROOT / "responses")
    config, problems = load(None, {}, {}, tmp_path)
    assert (problems, config.file) == ([], file)
    assert config.settings.streaming.tokens_per_chunk == 3
    assert [card.id for card in config.settings.models.available] == ["gpt-4"]
    from fastmock.build import build

    assert build(config).warnings == []


def test_sample_config_loads_without_warnings():
    config, problems = load(ROOT / "config.json", {}, {})
    assert problems == []
    from fastmock.build import build

    app = build(config)
    assert not app.takes_time
    assert app.warnings == []


def test_pacer_sends_everything_due():
    pacer = Pacer(iter([0.0, 1.0, 2.0, 3.0]), lambda begin, end: b"abcd"[begin:end], 100.0, LatenessMeter(Share()))
    assert pacer.take(100.0) == b"a"
    assert pacer.due == 101.0
    assert pacer.take(100.5) == b""
    assert pacer.take(102.5) == b"bc"
    assert pacer.take(110.0) == b"d"
    assert pacer.due is None
    assert pacer.take(120.0) == b""


def test_default_app_needs_no_configuration():
    assert make_app().rules == 0


def test_config_file_error_is_reported_although_a_runtime_change_covers_it(tmp_path):
    file = tmp_path / "config.json"
    covered = Overlay({"stored": {"max_entries": 5}})
    file.write_text('{"stored": 7}')
    assert [problem.path for problem in load(file, {}, {}, overlay=covered)[1]] == ["stored"]
    file.write_text("{}")
    config, problems = load(file, {}, {}, overlay=covered)
    assert (config.settings.stored.max_entries, problems) == (5, [])
