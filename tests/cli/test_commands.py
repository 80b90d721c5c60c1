"""The commands: their arguments, output and exit codes."""

import io
import re

import orjson
import pytest

from fastmock.cli.main import main, parser
from tests.support import ROOT

pytestmark = pytest.mark.unit

INLINE = {"choices": [{"message": {}}]}


def test_check_command_lists_rules_in_order_and_warns_of_shadowed_ones(tmp_path):
    patterns = [
        {"match": {"content": "a"}, "content": "A" * 100},
        {
            "name": "first",
            "match": {"content_contains": "a"},
            "response": {"choices": [{"message": {}}]},
            "priority": 5,
        },
    ]
    file = tmp_path / "check.json"
    file.write_bytes(orjson.dumps({"responses": {"chat_completions": {"patterns": patterns}}}))
    out = io.StringIO()
    assert main(["check", str(file)], {}, out, io.StringIO()) == 0
    lines = out.getvalue().splitlines()
    at = lines.index("chat_completions")
    assert lines[at + 1] == "     5  first: content_contains 'a' -> an inline response"
    assert lines[at + 2].startswith("     0  chat_completions.patterns[0]: content 'a' -> 'AAA")
    assert lines[-1] == "warning: chat_completions.patterns[0] can never win: first comes before it"
    file.write_text('{"serer": {}}')
    assert main(["check", str(file)], {}, out, io.StringIO()) == 2


@pytest.mark.parametrize("argv", [["chek"], ["schema", "x"], ["check", "a", "--config", "b"]])
def test_command_with_wrong_usage_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv, {}, io.StringIO(), io.StringIO())
    assert stopped.value.code == 2


def test_command_help_lists_only_its_own_options(capsys):
    texts = {}
    for command in ("serve", "run", "check", "explain", "schema"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"], {}, io.StringIO(), io.StringIO())
        assert stopped.value.code == 0
        texts[command] = capsys.readouterr().out
        assert len(texts[command].splitlines()) < 70
    assert {name for name, text in texts.items() if "--port" in text} == {"serve", "run"}
    assert {name for name, text in texts.items() if "--header" in text} == {"explain"}
    assert {name for name, text in texts.items() if "--config" in text} == {"serve", "run", "check", "explain"}
    assert all(command in parser().format_help() for command in texts)


@pytest.mark.parametrize("command", [[], ["serve"], ["run"], ["check"], ["explain"], ["schema"]])
def test_docs_name_every_option(command, capsys):
    with pytest.raises(SystemExit):
        main([*command, "--help"], {}, io.StringIO(), io.StringIO())
    page = (ROOT / "docs/command-line.md").read_text()
    assert [option for option in re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out) if option not in page] == []
