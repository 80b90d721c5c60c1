"""Former names of settings, the two names of the list of rules, and settings that declare flags and restarts."""

import re
from types import SimpleNamespace

import pytest

from fastmock.cli.main import parser
from fastmock.config.flags import changed_until_restart, flags
from fastmock.config.load import load
from fastmock.config.overlay import Overlay
from fastmock.config.renamed import RENAMED
from fastmock.config.settings import Settings
from fastmock.control.redact import settings_shown
from tests.support import ROOT

pytestmark = pytest.mark.unit
RULE = {"match": {"content": "ping"}, "content": "pong"}


def loaded(data, environ=None):
    config, problems = load(data, environ or {}, {})
    return SimpleNamespace(settings=config.settings, warnings=config.warnings, problems=problems, config=config)


def test_renamed_setting_former_name_works_with_one_warning_each():
    found = loaded(
        {
            "latency": {"ttft": 1, "time_factor_under_load": 2, "max_concurrent": 8},
            "streaming": {"max_concurrent": 50},
            "per_model": [{"model": "m", "latency": {"max_concurrent": 3}}],
            "responses": {"chat_completions": {"rules": [RULE | {"latency": {"max_concurrent": 4}}]}},
        }
    )
    assert found.problems == []
    settings = found.settings
    assert settings.latency.saturation_concurrency == 8
    assert settings.server.max_connections == 50
    assert settings.per_model[0].latency.saturation_concurrency == 3
    assert settings.responses.chat_completions.rules[0].latency.saturation_concurrency == 4
    assert len(found.warnings) == 4
    assert (
        "latency.max_concurrent is now called 'saturation_concurrency'; the former name still works" in found.warnings
    )
    assert "streaming.max_concurrent is now called 'server.max_connections'; the former name still works" in (
        found.warnings
    )


def test_renamed_setting_new_name_wins_over_the_former():
    settings = loaded({"latency": {"max_concurrent": 8, "saturation_concurrency": 9}}).settings
    assert settings.latency.saturation_concurrency == 9


def test_renamed_setting_of_the_same_name_in_a_reply_is_left_alone():
    arguments = {"latency": {"max_concurrent": 3}}
    document = {"choices": [{"message": {"content": "x"}}], "latency": {"max_concurrent": 4}}
    rules = [
        {"match": {"content": "call"}, "tool_calls": [{"name": "set", "arguments": arguments}]},
        {"match": {"content": "whole"}, "response": document},
    ]
    found = loaded({"responses": {"chat_completions": {"rules": rules}}})
    assert (found.problems, found.warnings) == ([], ())
    called, whole = found.settings.responses.chat_completions.rules
    assert called.tool_calls[0].arguments == arguments
    assert whole.response == document
    added = Overlay().adding(rules, "")
    assert added.rules[0].pattern.tool_calls[0].arguments == arguments


def test_renamed_setting_former_variable_works_with_a_warning():
    found = loaded({}, {"FASTMOCK_LATENCY_MAX_CONCURRENT": "7", "FASTMOCK_STREAMING_MAX_CONCURRENT": "60"})
    assert found.problems == []
    assert found.settings.latency.saturation_concurrency == 7
    assert found.settings.server.max_connections == 60
    assert len(found.warnings) == 2
    assert "FASTMOCK_LATENCY_SATURATION_CONCURRENCY" in found.warnings[0] + found.warnings[1]


def test_renamed_setting_former_name_works_over_the_control_api():
    overlay = Overlay().patching({"latency": {"max_concurrent": 5}})
    assert overlay.patch == {"latency": {"saturation_concurrency": 5}}
    added = overlay.adding([RULE | {"latency": {"max_concurrent": 6}}], "")
    assert added.rules[0].pattern.latency.saturation_concurrency == 6


def test_renamed_settings_are_listed_in_the_docs():
    page = (ROOT / "docs" / "configure.md").read_text()
    for one in RENAMED:
        new = f"{one.new_section or one.section}.{one.new}"
        assert re.search(rf"^\| `{one.section}\.{one.old}` \| `{re.escape(new)}` \|$", page, re.MULTILINE)


@pytest.mark.parametrize("key", ["rules", "patterns"])
@pytest.mark.parametrize("section", ["chat_completions", "completions", "moderations"])
def test_rules_are_read_under_either_name(key, section):
    rule = {"match": {"content": "ping"}, "flag": []} if section == "moderations" else RULE
    found = loaded({"responses": {section: {key: [rule]}}})
    assert found.problems == []
    [rule] = found.config.rules(section)
    assert rule.name == f"{section}.{key}[0]"
    assert rule.path == ("responses", section, key, 0)


def test_rules_under_both_names_are_an_error():
    found = loaded({"responses": {"chat_completions": {"rules": [RULE], "patterns": [RULE]}}})
    [problem] = found.problems
    assert "takes 'rules' or 'patterns', which are the same, not both" in str(problem)


@pytest.mark.parametrize("key", ["rules", "patterns"])
def test_rules_as_the_control_api_shows_them_are_accepted_again(key):
    settings = loaded({"responses": {"chat_completions": {key: [RULE]}}}).settings
    shown = settings_shown(settings)
    assert [name for name in ("rules", "patterns") if shown["responses"]["chat_completions"].get(name)] == [key]
    assert loaded(shown).problems == []


@pytest.mark.parametrize("key", ["rules", "patterns"])
def test_rules_errors_name_the_key_that_was_written(key):
    found = loaded({"responses": {"chat_completions": {key: [RULE, {"match": {"contents": "x"}, "content": "y"}]}}})
    assert [problem.path for problem in found.problems] == [f"responses.chat_completions.{key}[1].match.contents"]


def test_flags_come_from_the_fields_of_their_settings():
    actions = {
        option: action
        for command in parser()._subparsers._group_actions[0].choices.values()
        for action in command._actions
        for option in action.option_strings
    }
    assert {flag.name for flag in flags().values()} <= actions.keys()
    assert flags()["log_level"].path == ("server", "log_level")
    assert flags()["admin_port"].path == ("admin", "port")
    assert all(actions[flag.name].help for flag in flags().values())


def test_settings_that_need_a_restart_are_compared_with_those_at_the_start():
    started = Settings()
    changed = Settings.model_validate({"server": {"port": 1, "error_rate": 0.5}, "journal": {"size": 7}})
    assert changed_until_restart(started, changed) == ["server.port", "journal.size"]
    assert changed_until_restart(started, started) == []
