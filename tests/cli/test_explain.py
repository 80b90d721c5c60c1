"""The command that explains a match."""

from io import StringIO

import orjson
import pytest

from fastmock.cli.main import main
from tests.rules.test_conditions import EXPLAINED

pytestmark = pytest.mark.unit


def test_explain_command_names_winner_and_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_bytes(orjson.dumps(EXPLAINED))
    asked = {"model": "claude-1", "messages": [{"role": "user", "content": "xyz"}]}
    (tmp_path / "request.json").write_bytes(orjson.dumps(asked))
    (tmp_path / "bad.json").write_text('{"model": "m", "messages": []}')

    def explained(*arguments):
        out, err = StringIO(), StringIO()
        return main(["explain", *arguments], {}, out, err), out.getvalue(), err.getvalue()

    code, out, _ = explained("request.json", "--header", "X-A: c")
    assert code == 0
    assert out.splitlines() == [
        "answered by  chat_completions.default",
        "nearest      other",
        "             headers: x-a is 'c', not 'b'",
    ]
    code, _, err = explained("--config", "config.json", "bad.json")
    assert (code, "empty array" in err) == (2, True)
    assert explained("none.json")[0] == 2
    with pytest.raises(SystemExit):
        explained()
