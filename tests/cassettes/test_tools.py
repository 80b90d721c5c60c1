"""The commands for cassettes, rules from cassettes, and imports."""

import io
import json
import re
from dataclasses import replace

import orjson
import pytest
import yaml

from fastmock.cassettes.canonical import Body
from fastmock.cassettes.cassette import Frame, digest_of, parse_line
from fastmock.cassettes.importers import ImportFailedError, import_files
from fastmock.cli.main import main
from fastmock.core.problems import ConfigError
from tests.cassettes.support import EVENTS, JSON, PATH, chat, line, posted, write
from tests.support import KEY, make_app

pytestmark = pytest.mark.unit


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    code = main([*map(str, arguments)], {}, out, err)
    return code, out.getvalue(), err.getvalue()


def reply(text, **message):
    choices = [{"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}]
    return orjson.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": choices})


def test_list_and_show(tmp_path):
    frames = [(1.0, b"data: 1\n\n"), (20.5, b"data: 2\n\n")]
    write(tmp_path, line(posted(chat("Hello")), reply("Hi")), line(posted(chat(stream=True)), *frames, headers=EVENTS))
    code, out, _ = run("cassettes", "list", tmp_path)
    assert code == 0
    first, second = out.splitlines()
    assert f"{tmp_path}/a.jsonl:1  POST {PATH} gpt-4o -> 200" in first
    assert first.endswith("'Hello'")
    assert "(2 frames, 20 ms)" in second or "(2 frames, 21 ms)" in second
    code, out, _ = run("cassettes", "show", f"{tmp_path}/a.jsonl:2")
    assert code == 0
    assert "     20.5 ms  data: 2" in out
    assert '"stream": true' in out
    code, out, _ = run("cassettes", "show", tmp_path / "a.jsonl")
    assert '"content": "Hi"' in out
    assert run("cassettes", "show", f"{tmp_path}/a.jsonl:7")[0] == 2
    assert run("cassettes", "list", tmp_path / "none") == (2, "", f"fastmock: {tmp_path}/none does not exist\n")


def test_check_names_damaged_lines_secrets_and_edits_and_rehash_mends(tmp_path):
    good = line(posted(chat("Hello")), b"1")
    edited = good.replace(b"Hello", b"Howdy")
    leaking = good.replace(b'"1"', b'"sk-abcdefghijklmnopqrs1"')
    write(tmp_path, good, b"{}\n", edited, leaking, good[:50])
    code, out, _ = run("cassettes", "check", tmp_path)
    assert code == 1
    texts = {text.partition(" ")[0].rpartition(":")[2]: text for text in out.splitlines()}
    assert sorted(texts) == ["2", "3", "4", "5"]
    assert "lacks 'version'" in texts["2"]
    assert "was edited" in texts["3"]
    assert texts["4"].endswith("holds a secret in the body of the answer: a text like sk-a…")
    assert "torn" in texts["5"]
    assert run("cassettes", "prune", tmp_path, "--damaged")[0] == 0
    code, out, _ = run("cassettes", "check", tmp_path, "--rehash")
    assert code == 1  # the secret is still there
    assert ["hashed again" in text for text in out.splitlines()] == [True, False]
    assert "edited" not in run("cassettes", "check", tmp_path)[1]
    app = make_app({"cassettes": str(tmp_path)})
    assert app.handle(posted(chat("Howdy"))).body == b"1"
    assert app.handle(posted(chat("Hello"))).body == b"1"


def test_edited_recordings_answer_their_own_requests(tmp_path):
    lines = [line(posted(chat(text)), text.encode()) for text in ("one", "two")]
    write(tmp_path, *(one.replace(b'"content":"', b'"content":"edited ') for one in lines))
    assert run("cassettes", "check", tmp_path, "--rehash")[0] == 0
    app = make_app({"cassettes": str(tmp_path)})
    assert [app.handle(posted(chat(f"edited {text}"))).body for text in ("two", "one", "two")] == [
        b"two",
        b"one",
        b"two",
    ]


def test_prune_removes_unused_recordings_and_duplicates(tmp_path):
    write(tmp_path, *(line(posted(chat(text)), b"1") for text in ("one", "two", "one", "three")))
    report = tmp_path / "report.json"
    digest = digest_of((tmp_path / "a.jsonl").read_bytes().splitlines()[1])
    report.write_text(json.dumps({"cassettes": {"unused": [{"recording": "elsewhere.jsonl:2", "digest": digest}]}}))
    assert run("cassettes", "prune", tmp_path)[0] == 2
    code, out, _ = run("cassettes", "prune", tmp_path, "--unused", report, "--duplicates")
    assert code == 0
    assert out.splitlines() == [
        f"{tmp_path}/a.jsonl:2 was removed: unused",
        f"{tmp_path}/a.jsonl:3 was removed: a duplicate",
    ]
    texts = [
        parse_line(one).request.body.value["messages"][0]["content"]
        for one in (tmp_path / "a.jsonl").read_bytes().splitlines()
    ]
    assert texts == ["one", "three"]
    code, out, _ = run("cassettes", "prune", tmp_path, "--unused", report)
    assert (code, out) == (0, f"1 of the 1 unused recordings in {report} are not there, or were changed\n")
    assert len((tmp_path / "a.jsonl").read_bytes().splitlines()) == 2
    report.write_text(json.dumps({"cassettes": {"unused": []}}))
    assert run("cassettes", "prune", tmp_path, "--unused", report) == (0, "", "fastmock: nothing to remove\n")
    report.write_text("no report")
    assert f"{report} is not a report" in run("cassettes", "prune", tmp_path, "--unused", report)[2]


def test_commands_say_so_if_there_is_nothing_to_say(tmp_path):
    write(tmp_path, line(posted(chat()), b"1"))
    assert run("cassettes", "check", tmp_path) == (0, "", "fastmock: no damage, no secrets and no edits found\n")
    assert run("cassettes", "prune", tmp_path, "--damaged") == (0, "", "fastmock: nothing to remove\n")
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert run("cassettes", "list", tmp_path) == (0, "", "fastmock: there are no recordings\n")
    code, out, err = run("rules-from", tmp_path)
    assert (code, out) == (2, "")
    assert "there is nothing to make rules of" in err


def test_file_that_is_no_cassette_is_one_error(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' * 100)
    for command in (("cassettes", "list"), ("cassettes", "check"), ("rules-from",)):
        code, out, err = run(*command, tmp_path)
        assert (code, out) == (2, "")
        assert err == f"fastmock: {tmp_path}/a.jsonl is not a cassette: line 1 lacks 'version'\n"
    with pytest.raises(ConfigError) as error:
        make_app({"cassettes": str(tmp_path)})
    assert len(error.value.problems) == 1


@pytest.mark.parametrize(
    ("request_", "answer", "headers", "place"),
    [
        (chat(metadata={"hf_token": "x"}), b"1", [], "the body of the request: field 'hf_token'"),
        (chat(), b'{"credentials": {"pass": "Passw0rd"}}', [], "the body of the answer: field 'credentials.pass'"),
        (chat(), b"1", [("location", "https://a:b@host/")], "the header 'location' of the answer"),
    ],
)
def test_check_finds_what_a_recorder_hides(tmp_path, request_, answer, headers, place):
    made = parse_line(line(posted(request_), answer, headers=headers))
    assert run("cassettes", "check", write(tmp_path, made.line()))[0] == 0
    body = Body("json", orjson.loads(request_))
    leaking = replace(made, request=replace(made.request, body=body),
                      answer=replace(made.answer, headers=dict(headers), frames=[Frame(0.0, answer)]))  # fmt: skip
    code, out, _ = run("cassettes", "check", write(tmp_path, leaking.line()))
    assert code == 1
    assert f"holds a secret in {place}" in out


def test_diff_shows_added_removed_and_changed_recordings(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = write(tmp_path / "old", line(posted(chat("same")), b"{}"), line(posted(chat("gone")), b"1"),
                line(posted(chat("changed", temperature=1)), b'{"a":1}'))  # fmt: skip
    new = write(tmp_path / "new", line(posted(chat("same")), b"{}"), line(posted(chat("added")), b"1"),
                line(posted(chat("changed", temperature=0)), b'{"a":2}', status=201))  # fmt: skip
    code, out, _ = run("cassettes", "diff", old, new)
    assert code == 1
    removed, changed, added = out.splitlines()
    assert removed.startswith("- ")
    assert "'gone'" in removed
    assert added.startswith("+ ")
    assert "status is 201, it was 200; sampling: temperature is 0, it was 1; body: a is 2, it was 1" in changed
    assert run("cassettes", "diff", old, old) == (0, "", "fastmock: no differences\n")


ANSWERS = {
    "/v1/chat/completions": reply("Costs $5"),
    "/v1/responses": orjson.dumps(
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Costs $5"}]}]}
    ),
    "/v1/messages": orjson.dumps({"content": [{"type": "text", "text": "Costs $5"}]}),
    "/v1/completions": orjson.dumps({"choices": [{"text": "Costs $5"}]}),
}


@pytest.mark.parametrize("path", ANSWERS)
def test_rules_from_recordings_answer_with_the_same_text(tmp_path, path):
    body = {"model": "m", "messages": [{"role": "user", "content": "Price?"}], "max_tokens": 9}
    if path.endswith("/responses"):
        body = {"model": "m", "input": "Price?"}
    elif path == "/v1/completions":
        body = {"model": "m", "prompt": "Price?"}
    write(tmp_path, line(posted(orjson.dumps(body), path), ANSWERS[path]))
    code, out, _ = run("rules-from", tmp_path)
    assert code == 0
    config = yaml.safe_load(out)
    [section] = config["responses"].values()
    assert section["rules"] == [
        {"name": "Price?", "match": {"model": "m", "content": "Price?"}, "content": "Costs $$5"}
    ]
    answer = make_app(config).handle(posted(orjson.dumps(body), path, {**KEY, "x-api-key": "k"}))
    assert b"Costs $5" in answer.body


def test_rules_from_streams_have_their_text_and_tool_calls(tmp_path):
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "Let me "}}]},
        {"choices": [{"index": 0, "delta": {"content": "look."}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "get", "arguments": '{"a"'}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}}]},
    ]
    frames = [b"data: %s\n\n" % orjson.dumps(one) for one in chunks]
    messages = [
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use",'
        b'"name":"get"}}\n\n',
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}\n\n',
        b'data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}\n\n',
    ]
    response = [
        b'data: {"type":"response.output_item.added","output_index":0,'
        b'"item":{"type":"function_call","name":"get"}}\n\n',
        b'data: {"type":"response.function_call_arguments.delta","output_index":0,"delta":"{}"}\n\n',
        b'data: {"type":"response.output_text.delta","delta":"Hi"}\n\n',
    ]
    write(
        tmp_path,
        line(posted(chat("one", stream=True)), *frames, headers=EVENTS),
        line(posted(chat("two", stream=True), "/v1/messages"), *messages, headers=EVENTS),
        line(posted(orjson.dumps({"model": "m", "input": "three"}), "/v1/responses"), *response, headers=EVENTS),
    )
    one, two, three = yaml.safe_load(run("rules-from", tmp_path)[1])["responses"]["chat_completions"]["rules"]
    assert (one["content"], one["tool_calls"]) == ("Let me look.", [{"name": "get", "arguments": {"a": 1}}])
    for other in (two, three):
        assert (other["content"], other["tool_calls"]) == ("Hi", [{"name": "get", "arguments": {}}])


def test_rules_from_errors_vectors_and_the_rest(tmp_path):
    vector = orjson.dumps({"data": [{"embedding": [0.5, 0.25]}]})
    embed = orjson.dumps({"model": "text-embedding-3-small", "input": "cat"})
    write(
        tmp_path,
        line(posted(chat("busy")), b"{}", status=429, headers=[("retry-after", "3")]),
        line(posted(embed, "/v1/embeddings"), vector),
        line(posted(b"{}", "/v1/images/generations"), b"{}"),
        line(posted(chat("busy")), b"{}", status=429, headers=[("retry-after", "3")]),
        line(posted(chat("empty")), b"{}"),
    )
    target = tmp_path / "rules.yaml"
    code, out, err = run("rules-from", tmp_path / "a.jsonl", "--to", target)
    assert (code, out) == (0, "")
    assert err.count("not carried over") == 2
    assert "/v1/images/generations has no rules" in target.read_text()
    config = yaml.safe_load(target.read_text())
    assert config["faults"] == [
        {"kind": "status", "status": 429, "match": {"model": "gpt-4o", "content": "busy"}, "retry_after": 3}
    ]
    app = make_app(config)
    answer = app.handle(posted(chat("busy")))
    assert (answer.head.status, dict(answer.more)["retry-after"]) == (429, "3")
    assert b"0.25" in app.handle(posted(embed[:-1] + b',"encoding_format":"float"}', "/v1/embeddings")).body


def test_rules_from_an_agent_answer_its_loop_in_order(tmp_path):
    user = {"role": "user", "content": "Weather?"}
    call = {"id": "call_1", "type": "function", "function": {"name": "get", "arguments": "{}"}}
    asked = [
        user,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]
    bodies = [orjson.dumps({"model": "gpt-4o", "messages": one}) for one in ([user], asked)]
    answers = [reply(None, tool_calls=[call]), reply("Sunny")]
    write(tmp_path, *(line(posted(body), answer) for body, answer in zip(bodies, answers, strict=True)))
    rules = yaml.safe_load(run("rules-from", tmp_path)[1])
    app = make_app(rules)
    assert b'"get"' in app.handle(posted(bodies[0])).body
    assert b"Sunny" in app.handle(posted(bodies[1])).body
    names = [rule["name"] for rule in rules["responses"]["chat_completions"]["rules"]]
    assert names == ["Weather?", "Weather? (2)"]


def test_rules_from_streams_and_their_twins_are_one(tmp_path):
    chunk = b"data: %s\n\n" % orjson.dumps({"choices": [{"index": 0, "delta": {"content": "Hi"}}]})
    write(tmp_path, line(posted(chat(stream=True)), chunk, b"data: [DONE]\n\n", headers=EVENTS),
          line(posted(chat()), reply("Hi")), line(posted(chat(temperature=1)), reply("Ho")))  # fmt: skip
    out = run("rules-from", tmp_path)[1]
    assert out.count("not carried over") == 1
    assert out.count("has the same conditions and another answer") == 1
    assert len(yaml.safe_load(out)["responses"]["chat_completions"]["rules"]) == 1


def test_rules_from_a_retry_fail_once_and_then_succeed(tmp_path):
    write(tmp_path, line(posted(chat("busy")), b"{}", status=429), line(posted(chat("busy")), reply("Done")))
    app = make_app(yaml.safe_load(run("rules-from", tmp_path)[1]))
    assert [app.handle(posted(chat("busy"))).head.status for _ in range(3)] == [429, 200, 200]


def test_rules_from_requests_without_a_text_and_refused_ones_are_left_out(tmp_path):
    again = orjson.dumps({"model": "gpt-4o", "previous_response_id": "resp_1", "input": []})
    write(
        tmp_path,
        line(posted(orjson.dumps({"model": "m", "messages": []}), "/v1/messages"), b"{}", status=400),
        line(posted(chat("Hello", temperature=9)), b"{}", status=400),
        line(posted(again, "/v1/responses"), ANSWERS["/v1/responses"]),
        line(posted(chat("Hello")), reply("Hi")),
    )
    out = run("rules-from", tmp_path)[1]
    assert out.count("not carried over") == 3
    assert "was refused with 400" in out
    config = yaml.safe_load(out)
    assert "faults" not in config
    assert len(config["responses"]["chat_completions"]["rules"]) == 1


def test_rules_from_embeddings_have_one_for_each_input(tmp_path):
    vectors = orjson.dumps({"data": [{"embedding": [0.5, 0.25]}, {"embedding": [0.125, 1]}]})
    asked = {"model": "text-embedding-3-small", "input": ["cat", "dog"], "encoding_format": "float"}
    write(tmp_path, line(posted(orjson.dumps(asked), "/v1/embeddings"), vectors))
    app = make_app(yaml.safe_load(run("rules-from", tmp_path)[1]))
    answer = orjson.loads(app.handle(posted(orjson.dumps({**asked, "input": ["dog", "cat"]}), "/v1/embeddings")).body)
    assert [one["embedding"][:2] for one in answer["data"]] == [[0.125, 1], [0.5, 0.25]]


def test_rules_are_not_written_over_others(tmp_path):
    write(tmp_path, line(posted(chat()), reply("Hi")))
    (tmp_path / "rules.yaml").write_text("mine")
    code, _, err = run("rules-from", tmp_path, "--to", tmp_path / "rules.yaml")
    assert (code, err) == (2, f"fastmock: {tmp_path}/rules.yaml: File exists\n")
    assert (tmp_path / "rules.yaml").read_text() == "mine"


def test_stored_completions_are_joined_with_the_pages_of_their_messages(tmp_path):
    stored = {"id": "chatcmpl-AB-1", "object": "chat.completion", "model": "gpt-4o",
              "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}  # fmt: skip
    message = {"id": "chatcmpl-AB-1-0", "role": "user", "content": "Hello", "name": None}
    for name, data in (("completions", [stored]), ("messages", [message])):
        (tmp_path / f"{name}.json").write_bytes(orjson.dumps({"object": "list", "data": data}))
    files = [tmp_path / "completions.json", tmp_path / "messages.json"]
    code, out, _ = run("cassettes", "import", *files, "--to", tmp_path / "c.jsonl")
    assert (code, out) == (0, f"1 recordings written to {tmp_path}/c.jsonl\n")
    body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]})
    assert b'"Hi"' in make_app({"cassettes": str(tmp_path / "c.jsonl")}).handle(posted(body)).body
    code, _, err = run("cassettes", "import", files[0], "--to", tmp_path / "d.jsonl")
    assert code == 2
    assert "there is nothing to import" in err
    assert "has no messages" in err
    assert not (tmp_path / "d.jsonl").exists()
    assert run("cassettes", "import", *files, "--to", tmp_path / "directory")[0] == 2


def test_show_has_the_text_of_a_stream_and_diff_compares_it(tmp_path):
    for name, texts in (("old", ("Hel", "lo")), ("new", ("He", "llo")), ("other", ("Good", "bye"))):
        chunks = [
            b"data: %s\n\n" % orjson.dumps({"choices": [{"index": 0, "delta": {"content": one}}]}) for one in texts
        ]
        (tmp_path / name).mkdir()
        write(tmp_path / name, line(posted(chat(stream=True)), *chunks, headers=EVENTS))
    assert "text: Hello" in run("cassettes", "show", tmp_path / "old" / "a.jsonl")[1]
    assert run("cassettes", "diff", tmp_path / "old", tmp_path / "new")[0] == 0
    code, out, _ = run("cassettes", "diff", tmp_path / "old", tmp_path / "other")
    assert code == 1
    assert 'body: text is "Goodbye", it was "Hello"' in out


def test_names_that_break_lines_break_no_output(tmp_path):
    request = posted(b"", "/v1/x\nserver:\n  port: 1\n#\0")
    request.method = "GET"
    write(tmp_path, line(request, b"{}"), line(posted(chat()), reply("Hi")))
    out = run("rules-from", tmp_path)[1]
    assert "server" not in yaml.safe_load(out)
    assert len(run("cassettes", "list", tmp_path)[1].splitlines()) == 2


def test_damaged_lines_are_named_among_what_is_not_carried_over(tmp_path):
    write(tmp_path, line(posted(chat()), reply("Hi")), b"garbage\n")
    assert "a.jsonl:2: is not valid JSON" in run("rules-from", tmp_path)[1]


VCR = """
interactions:
- request:
    body: '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}'
    headers:
      authorization: [Bearer sk-CANARYCANARYCANARY]
      content-type: [application/json]
    method: POST
    uri: https://api.openai.com/v1/chat/completions
  response:
    body:
      string: !!binary |
        H4sIAAAAAAACA6tWyk1VsqoFAAAA//8=
    headers:
      Content-Type: [application/json]
      Content-Encoding: [gzip]
      Set-Cookie: [CANARY]
    status: {code: 200, message: OK}
- request: {body: null, headers: {}, method: GET, uri: 'https://api.openai.com/v1/models?limit=2'}
  response:
    body: {string: '{"data": []}'}
    headers: {content-encoding: [gzip]}
    status: {code: 200, message: OK}
- request: {method: GET}
  response: {}
- request: {method: GET, uri: 'https://x/', headers: {}}
  response: null
version: 1
"""


def test_vcrpy_cassettes_are_imported_and_replay(tmp_path):
    (tmp_path / "vcr.yaml").write_text(VCR)
    code, out, _ = run("cassettes", "import", tmp_path / "vcr.yaml", "--to", tmp_path / "c" / "a.jsonl")
    assert code == 0
    assert "interactions[2] is incomplete" in out
    assert "2 recordings written" in out
    assert "CANARY" not in (tmp_path / "c" / "a.jsonl").read_text()
    app = make_app({"cassettes": str(tmp_path / "c")})
    answer = app.handle(posted(chat("Hello")))
    assert answer.head.status == 200
    listed = posted(b"", "/v1/models")
    listed.method, listed.query = "GET", {"limit": ["2"]}
    assert app.handle(listed).body == b'{"data": []}'
    assert run("cassettes", "import", tmp_path / "vcr.yaml", "--to", tmp_path / "c" / "a.jsonl")[0] == 2


FILES = """
interactions:
- request:
    body: !!python/object/new:_io.BytesIO
      state: !!python/tuple
      - !!binary |
        UE9TVEVE
      - 0
      - null
    headers: {}
    method: POST
    uri: https://x/v1/files
  response: {body: {}, headers: {}, status: {code: 201, message: Created}}
- request:
    parsed_body: {model: gpt-4o, messages: [{role: user, content: Hi}]}
    headers: {content-type: [application/json]}
    method: POST
    uri: https://x/v1/chat/completions
  response: {parsed_body: {ok: 1}, headers: {}, status: {code: 200, message: OK}}
"""


def test_files_and_parsed_bodies_in_vcrpy_cassettes_are_imported(tmp_path):
    (tmp_path / "vcr.yaml").write_text(FILES)
    assert run("cassettes", "import", tmp_path / "vcr.yaml", "--to", tmp_path / "c.jsonl")[0] == 0
    app = make_app({"cassettes": str(tmp_path / "c.jsonl")})
    assert app.handle(posted(b"POSTED", "/v1/files")).head.status == 201
    assert app.handle(posted(chat("Hi"))).body == b'{"ok":1}'
    for value in ("!!python/object/apply:os.system ['false']", "!!bool x"):
        (tmp_path / "evil.yaml").write_text(f"interactions: {value}")
        code, _, err = run("cassettes", "import", tmp_path / "evil.yaml", "--to", tmp_path / "d.jsonl")
        assert code == 2
        assert "cannot be parsed" in err


def test_vcrpy_cassettes_in_json_are_imported(tmp_path):
    request = {"method": "POST", "uri": f"https://x{PATH}", "headers": JSON, "body": chat("Hi").decode()}
    response = {"status_code": 200, "headers": {}, "content": '{"ok": 1}', "http_version": "HTTP/1.1"}
    (tmp_path / "vcr.json").write_text(json.dumps({"interactions": [{"request": request, "response": response}]}))
    assert [*import_files([tmp_path / "vcr.json"], tmp_path / "c.jsonl")] == [
        f"1 recordings written to {tmp_path / 'c.jsonl'}"
    ]
    app = make_app({"cassettes": str(tmp_path / "c.jsonl")})
    assert app.handle(posted(chat("Hi"))).body == b'{"ok": 1}'


def test_stored_completions_are_imported(tmp_path):
    completion = orjson.loads(reply("Hi")) | {"model": "gpt-4o", "temperature": 1.0, "tools": None}
    page = {"object": "list", "data": [{"id": "chatcmpl-1-0", "role": "user", "content": "Hello", "name": None}]}
    rows = [
        {**completion, "messages": page},
        completion,
        {
            "messages": [{"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Goodbye"}],
            "model": "gpt-4o",
        },
    ]
    (tmp_path / "stored.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    code, out, _ = run("cassettes", "import", tmp_path / "stored.jsonl", "--to", tmp_path / "c.jsonl")
    assert code == 0
    assert "stored.jsonl:2: has no messages" in out
    app = make_app({"cassettes": str(tmp_path / "c.jsonl")})
    assert orjson.loads(app.handle(posted(chat("Hello"))).body)["choices"][0]["message"]["content"] == "Hi"
    assert orjson.loads(app.handle(posted(chat("Bye"))).body)["choices"][0]["message"]["content"] == "Goodbye"


FIXTURES = [
    {
        "match": {"userMessage": "hello"},
        "response": {"content": "Hi for $1", "id": "x"},
        "streamingProfile": {"ttft": 5, "tps": 9},
    },
    {
        "match": {"userMessage": "weather", "model": "gpt-4*"},
        "response": {"toolCalls": [{"name": "get", "arguments": {}}]},
    },
    {"match": {"inputText": "cat", "endpoint": "embedding"}, "response": {"embedding": [1, 0]}},
    {"match": {"userMessage": "busy"}, "response": {"error": {"message": "x"}, "status": 429, "retryAfter": 7}},
    {"match": {"systemMessage": ["kind", "brief"]}, "response": {"content": {"json": True}}, "latency": 3, "chaos": {}},
    {"match": {"userMessage": "sun"}, "response": {"blocks": [{"type": "text", "text": "It is sunny."}]}},
    {"match": {"turnIndex": 1, "hasToolResult": False}, "response": {"content": "second"}},
    {"match": {"toolCallId": "call_1"}, "response": {"content": "never"}},
    {"match": {"userMessage": "draw"}, "response": {"image": {}}},
    {"match": {"userMessage": "next", "sequenceIndex": 1}, "response": {"content": "later"}},
    {"match": {}, "response": {"toolCalls": [{}]}},
]


def test_fixtures_of_aimock_become_rules(tmp_path):
    (tmp_path / "fixtures.json").write_text(json.dumps({"fixtures": FIXTURES}))
    code, out, _ = run("rules-from", tmp_path / "fixtures.json")
    assert code == 0
    notes = [text for text in out.splitlines() if text.startswith("#")]
    assert [re.search(r"fixtures\[(\d+)\]: (.*)", text).groups() for text in notes] == [
        ("0", "without id"),
        ("4", "without chaos"),
        ("7", "its condition 'toolCallId' has no counterpart"),
        ("8", "its response has only image"),
        ("9", "its condition 'sequenceIndex' has no counterpart"),
        ("10", "is malformed: KeyError('name')"),
    ]
    app = make_app(yaml.safe_load(out))
    tools = [{"type": "function", "function": {"name": "get"}}]

    def answer(*messages, **more):
        given = [dict(zip(("role", "content"), one, strict=True)) for one in messages]
        return app.handle(posted(orjson.dumps({"model": "gpt-4o", "messages": given, **more})))

    def said(*messages, **more):
        return orjson.loads(answer(*messages, **more).body)["choices"][0]["message"]

    assert said(("user", "oh hello"))["content"] == "Hi for $1"
    assert said(("user", "weather"), tools=tools)["tool_calls"][0]["function"]["name"] == "get"
    assert said(("system", "be kind and brief"), ("user", "?"))["content"] == '{"json":true}'
    assert said(("user", "?"), ("assistant", "!"), ("user", "and?"))["content"] == "second"
    busy = answer(("user", "busy"))
    assert (busy.head.status, dict(busy.more)["retry-after"]) == (429, "7")


def test_files_that_cannot_be_imported_are_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ImportFailedError, match=r"a\.json cannot be parsed"):
        [*import_files([tmp_path / "a.json"], tmp_path / "c.jsonl")]
    (tmp_path / "b.json").write_text("7")
    with pytest.raises(ImportFailedError, match=r"b\.json is no cassette"):
        [*import_files([tmp_path / "b.json"], tmp_path / "c.jsonl")]
    assert run("cassettes", "import", tmp_path / "none.yaml", "--to", tmp_path / "c.jsonl")[0] == 2
