"""Replaying: which recording answers, its form and its time, and refusals."""

import re
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.build import build
from fastmock.cassettes.canonical import Canonical
from fastmock.config.load import load
from fastmock.config.sessions import session_settings
from fastmock.core.errors import ApiError
from fastmock.core.http import Request, Stream
from fastmock.core.problems import ConfigError
from fastmock.engine.recorded_routes import REPLAYED_KEY
from tests.cassettes.support import CANARY, EVENTS, JSON, PATH, chat, line, names, posted, with_canary, write
from tests.support import KEY, examples, make_app

pytestmark = pytest.mark.unit


def replaying(directory: Path, **settings):
    config = {name: settings.pop(name) for name in ("responses", "server", "faults", "limits") if name in settings}
    return make_app({"cassettes": {"files": [str(directory)], **settings}, **config})


def body_of(answer):
    return answer.cut(0, answer.steps) if isinstance(answer, Stream) else answer.body


def test_recording_answers_its_request_with_the_same_bytes(tmp_path):
    write(tmp_path, line(posted(chat()), b'{"id":"chatcmpl-1"}', headers=[("content-type", "application/json")]))
    answer = replaying(tmp_path).handle(posted(chat()))
    assert (answer.head.status, answer.body) == (200, b'{"id":"chatcmpl-1"}')
    assert answer.rule == f"{tmp_path}/a.jsonl:1"
    assert ("content-type", "application/json") in answer.head.headers


def test_sampling_parameters_may_differ_and_are_drift(tmp_path):
    write(tmp_path, line(posted(chat(temperature=0.1)), b"one"), line(posted(chat("Bye")), b"two"))
    app = replaying(tmp_path)
    assert app.handle(posted(chat(temperature=0.9))).body == b"one"
    assert app.replayers[""].uses.of(0) == 0b1001_0000  # used, and the fifth component differed
    assert app.replayers[""].uses.of(1) == 0


def test_the_most_similar_recording_answers(tmp_path):
    lines = [line(posted(chat(temperature=one, top_p=one)), b"%d" % (one * 10)) for one in (0.1, 0.2, 0.3)]
    write(tmp_path, *lines)
    app = replaying(tmp_path)
    assert app.handle(posted(chat(temperature=0.2, top_p=0.2))).body == b"2"
    dated = [line(posted(chat(f"On 2026-01-0{day}")), b"%d" % day) for day in (1, 2)]
    write(tmp_path, *dated)
    app = replaying(tmp_path)
    assert [app.handle(posted(chat(f"On 2026-01-0{day}"))).body for day in (2, 1, 2, 5)] == [b"2", b"1", b"2", b"1"]


@pytest.mark.parametrize(
    ("repeats", "bodies"),
    [("last", [b"1", b"2", b"2", b"2"]), ("cycle", [b"1", b"2", b"1", b"2"]), ("error", [b"1", b"2", None, None])],
)
def test_repeats_are_answered_in_recorded_order(tmp_path, repeats, bodies):
    write(tmp_path, line(posted(chat()), b"1"), line(posted(chat()), b"2"))
    app = replaying(tmp_path, repeats=repeats)
    for headers in (JSON, {**JSON, "authorization": "Bearer test-1:sk-test"}):  # each session begins anew
        answers = [app.handle(posted(chat(), headers=headers)) for _ in bodies]
        assert [one.body if one.head.status == 200 else None for one in answers] == bodies
        for one in answers:
            assert one.head.status == 200 or b"recordings_used_up" in one.body


def test_requests_that_differ_only_in_dates_are_repeats(tmp_path):
    write(tmp_path, *(line(posted(chat(f"Now: 2026-11-27 10:11:0{n}")), b"%d" % n) for n in range(3)))
    app = replaying(tmp_path)
    assert [app.handle(posted(chat(f"Now: 2026-12-01 09:00:0{n}"))).body for n in range(4)] == [b"0", b"1", b"2", b"2"]
    assert app.handle(posted(chat("Now: 2026-11-27 10:11:01"))).body == b"1"


@pytest.mark.parametrize("match", [{"model": "gpt-4o"}, {"content_contains": "Hel"}, {"endpoint": "chat_completions"}])
def test_faults_with_conditions_apply_to_recordings(tmp_path, match):
    write(tmp_path, line(posted(chat("Hello")), b"1"), line(posted(chat("Bye", model="other")), b"2"))
    app = replaying(tmp_path, faults=[{"kind": "status", "status": 503, "match": match, "times": 1}])
    assert [app.handle(posted(chat("Hello"))).head.status for _ in range(2)] == [503, 200]
    if "model" in match:
        assert app.handle(posted(chat("Bye", model="other"))).head.status == 200


def test_uses_by_sessions_count_for_the_cassettes_of_all(tmp_path):
    write(tmp_path, line(posted(chat("one")), b"1"), line(posted(chat("two")), b"2"))
    config = load({"cassettes": str(tmp_path)}, {}, {})[0]
    mine = session_settings({"cassettes": [str(tmp_path / "a.jsonl")]})
    app = build(replace(config, sessions={"mine": mine}))
    answer = app.handle(posted(chat("two"), headers={**JSON, "authorization": "Bearer mine:sk-x"}))
    assert (answer.body, answer.model) == (b"2", "gpt-4o")
    assert [one.recording for one in app.replayers[""].use().unused] == [f"{tmp_path}/a.jsonl:1"]
    assert app.replayers["mine"].use().replayed == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("/v1/a?q=1", {}), ("/v1/a", {"q": ["1"]})),
        (("/v1/a", {"a": ["1&b=2"]}), ("/v1/a", {"a": ["1"], "b": ["2"]})),
        (("/v1/a", {"a": ["1", "2"]}), ("/v1/a", {"a": ["2", "1"]})),
    ],
)
def test_different_requests_do_not_share_an_answer(tmp_path, one, other):
    requests = [Request("GET", path, KEY, b"", query) for path, query in (one, other)]
    write(tmp_path, line(requests[0], b"1"))
    assert [replaying(tmp_path).handle(request).head.status for request in requests] == [200, 404]
    write(tmp_path, line(requests[0], b"1"), line(requests[1], b"2"))
    assert [replaying(tmp_path).handle(request).body for request in requests] == [b"1", b"2"]


def test_cassettes_of_further_workers_beside_a_file_are_read(tmp_path):
    write(tmp_path, line(posted(chat("one")), b"1"), name="talk.jsonl")
    write(tmp_path, line(posted(chat("two")), b"2"), name="talk.1.jsonl")
    write(tmp_path, line(posted(chat("three")), b"3"), name="talk.old.jsonl")
    app = make_app({"cassettes": str(tmp_path / "talk.jsonl")})
    assert [app.handle(posted(chat(one))).head.status for one in ("one", "two", "three")] == [200, 200, 404]


def test_times_of_several_cassettes_give_the_order(tmp_path):
    first, second = line(posted(chat()), b"first"), line(posted(chat()), b"second")
    write(tmp_path, second, name="a.jsonl")
    write(tmp_path, first, name="b.jsonl")
    app = replaying(tmp_path)
    assert [app.handle(posted(chat())).body for _ in range(2)] == [b"first", b"second"]


def test_rules_win_by_priority(tmp_path):
    write(tmp_path, *(line(posted(chat(text)), b"recorded") for text in ("low", "equal", "other")))
    rules = [
        {"match": {"content_contains": text}, "content": "by rule", "priority": at}
        for text, at in (("low", -1), ("equal", 0))
    ]
    app = replaying(tmp_path, responses={"chat_completions": {"rules": rules}})
    assert [b"by rule" in app.handle(posted(chat(text))).body for text in ("low", "equal", "other")] == [
        False,
        True,
        False,
    ]
    assert app.handle(posted(chat("equally new"))).head.status == 200
    assert app.handle(posted(chat("new"))).head.status == 404


def test_rules_of_embeddings_win_too(tmp_path):
    body = orjson.dumps({"model": "text-embedding-3-small", "input": "cat", "encoding_format": "float"})
    write(tmp_path, line(posted(body, "/v1/embeddings"), b"recorded"))
    rules = [{"match": {"content_contains": "cat"}, "vector": [1.0]}]
    assert replaying(tmp_path).handle(posted(body, "/v1/embeddings")).body == b"recorded"
    app = replaying(tmp_path, responses={"embeddings": {"rules": rules}})
    assert app.handle(posted(body, "/v1/embeddings")).body != b"recorded"


def test_miss_names_the_nearest_recording_and_the_differing_components(tmp_path):
    write(tmp_path, line(posted(chat("Hello")), b"1"), line(posted(chat("Hi", model="gpt-5")), b"2"))
    answer = replaying(tmp_path).handle(posted(chat("Hello there")))
    error = orjson.loads(answer.body)["error"]
    assert (answer.head.status, error["code"]) == (404, "no_recording_matched")
    assert f"{tmp_path}/a.jsonl:1" in error["message"]
    assert 'messages[0].content is "Hello there", it was "Hello" (conversation)' in error["message"]
    assert "model" not in error["message"].split("a.jsonl:1")[1]


def test_miss_names_the_fields_of_a_component_that_was_not_sent(tmp_path):
    write(tmp_path, line(posted(chat(user="me", metadata={"a": "b"})), b"1"))
    message = orjson.loads(replaying(tmp_path).handle(posted(chat())).body)["error"]["message"]
    assert 'user is missing, it was "me" (other); metadata is missing, it was {"a":"b"} (other).' in message


def test_miss_of_another_route_names_the_recorded_ones(tmp_path):
    def message(path, query=None):
        answer = replaying(tmp_path).handle(Request("GET", path, KEY, b"", query or {}))
        assert answer.head.status == 404
        return orjson.loads(answer.body)["error"]["message"]

    write(tmp_path, line(Request("GET", "/v1/models", KEY, b"", {"limit": ["2"]}), b"1"), line(posted(chat()), b"2"))
    assert "Nothing is recorded for GET /v1/models?limit=3; recorded is GET /v1/models?limit=2." in message(
        "/v1/models", {"limit": ["3"]}
    )
    assert "recorded are GET /v1/models?limit=2, POST /v1/chat/completions" in message("/v9/x")
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert "There are no recordings." in message("/v1/models")


def test_miss_may_be_answered_as_without_cassettes(tmp_path):
    write(tmp_path, line(posted(chat("Hello")), b"1"))
    app = replaying(tmp_path, on_miss="generate")
    assert app.handle(posted(chat("Bye"))).head.status == 200
    assert app.handle(Request("GET", "/v1/models", KEY, b"")).head.status == 200


def test_unknown_path_is_replayed_to_those_with_a_key(tmp_path):
    write(tmp_path, line(posted(b"{}", "/v1/images/generations"), b"image"))
    app = replaying(tmp_path)
    assert app.handle(posted(b"{}", "/v1/images/generations")).body == b"image"
    assert app.handle(posted(b"{}", "/v1/images/generations", {})).head.status == 401
    assert app.handle(posted(b"{}", "/v1/images/edits")).head.status == 404


def test_query_of_a_request_without_body_counts_but_its_key_does_not(tmp_path):
    def listed(**query):
        return Request("GET", "/v1/files", KEY, b"", {name: [value] for name, value in query.items()})

    write(tmp_path, line(listed(limit="1", api_key="one"), b"1"), line(listed(limit="2"), b"2"))
    app = replaying(tmp_path)
    assert [app.handle(listed(limit=one, api_key="other")).body for one in "21"] == [b"2", b"1"]
    assert app.handle(listed(limit="3")).head.status == 404


def test_frames_are_sent_at_their_recorded_times(tmp_path):
    frames = [(100.0, b"data: 1\n\n"), (250.5, b"data: 2\n\n"), (300.0, b"data: [DONE]\n\n")]
    write(tmp_path, line(posted(chat(stream=True)), *frames, headers=EVENTS, end=400.0))
    whole = replaying(tmp_path).handle(posted(chat(stream=True)))
    assert whole.body == b"".join(data for _, data in frames)
    assert whole.due_times is None
    for speed in (1.0, 2.0):
        stream = replaying(tmp_path, speed=speed).handle(posted(chat(stream=True)))
        assert isinstance(stream, Stream)
        assert [*stream.due_times] == [at / speed for at in (0.1, 0.2505, 0.3, 0.4)]
        assert [stream.cut(step, step + 1) for step in range(stream.steps)] == [*(data for _, data in frames), b""]


def test_a_request_sets_its_speed_where_control_headers_are_on(tmp_path):
    write(tmp_path, line(posted(chat()), (500.0, b"{}")))
    for takes, times in ((True, [0.25]), (False, None)):
        app = replaying(tmp_path, server={"control_headers": takes})
        answer = app.handle(posted(chat(), headers={**JSON, "x-fastmock-speed": "2"}))
        assert (answer.due_times and [*answer.due_times]) == times
        assert answer.more == ((("x-fastmock-rule", f"{tmp_path}/a.jsonl:1"),) if takes else ())
    app = replaying(tmp_path, server={"control_headers": True})
    assert app.handle(posted(chat(), headers={**JSON, "x-fastmock-speed": "fast"})).head.status == 400


def test_fresh_ids_differ_from_request_to_request_and_fit_each_other(tmp_path):
    output = b'[{"id":"msg_abcdefgh12","call_id":"call_abcdefgh"}]'
    body = b'{"id":"resp_abcdefgh12","output":%s,"text":"resp_abcdefgh12"}' % output
    write(tmp_path, line(posted(chat()), body[:20], body[20:]))
    assert replaying(tmp_path).handle(posted(chat())).body == body
    app = replaying(tmp_path, ids="fresh")
    one, other = (app.handle(posted(chat())).body for _ in range(2))
    assert one != other
    for fresh in (one, other):
        assert len(fresh) == len(body)
        parsed = orjson.loads(fresh)
        assert parsed["id"] == parsed["text"] != "resp_abcdefgh12"
        assert re.fullmatch(r"call_[A-Za-z0-9]{8}", parsed["output"][0]["call_id"])


def test_limits_and_faults_apply_to_recordings(tmp_path):
    write(tmp_path, line(posted(chat()), b"{}"))
    app = replaying(tmp_path, faults=[{"kind": "status", "status": 503}])
    assert app.handle(posted(chat())).head.status == 503
    app = replaying(tmp_path, limits={"requests_per_minute": 1})
    assert [app.handle(posted(chat())).head.status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b"{broken}\n", "is not valid JSON"),
        (b"{}\n", "lacks 'version'"),
        (b'{"version":9}\n', "has version 9"),
        (b"[]\n", "is not a recording"),
    ],
)
def test_damaged_line_is_named_and_left_out_where_lenient(tmp_path, damaged, reason):
    write(tmp_path, line(posted(chat()), b"1"), damaged, line(posted(chat("Bye")), b"2"))
    with pytest.raises(ConfigError) as error:
        replaying(tmp_path)
    [problem] = error.value.problems
    assert problem.where == f"{tmp_path}/a.jsonl"
    assert f"line 2 {reason}" in problem.message
    app = replaying(tmp_path, lenient=True)
    assert app.handle(posted(chat("Bye"))).body == b"2"
    assert any("line 2" in warning for warning in app.warnings)


def test_damaged_frames_and_statuses_are_found_at_start(tmp_path):
    good = orjson.loads(line(posted(chat()), b"1"))
    for change in ({"frames": [[0, 7]]}, {"frames": [["0", "x"]]}, {"status": "200"}, {"status": 99}, {"frames": None}):
        bad = good | {"answer": good["answer"] | change}
        write(tmp_path, orjson.dumps(bad) + b"\n")
        with pytest.raises(ConfigError):
            replaying(tmp_path)


def test_every_torn_last_line_is_left_out(tmp_path):
    whole, last = line(posted(chat()), b"1"), line(posted(chat("Bye")), b"2")
    for size in range(0, len(last) - 1, 7):
        write(tmp_path, whole, last[:size])
        app = replaying(tmp_path)
        assert len(app.replayers[""].library) == 1
        assert app.handle(posted(chat())).body == b"1"
    write(tmp_path, whole, last.rstrip(b"\n"))  # an editor has removed the end of the line
    assert len(replaying(tmp_path).replayers[""].library) == 2


def test_cassette_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        make_app({"cassettes": {"files": [str(tmp_path), "nowhere"]}})


def test_cassette_changed_under_a_running_server_is_a_miss_that_says_so(tmp_path):
    write(tmp_path, line(posted(chat()), b"1"), line(posted(chat("Bye")), b"2"))
    app = replaying(tmp_path)
    write(tmp_path, line(posted(chat("Hello again and again")), b"1"))
    answer = app.handle(posted(chat("Bye")))
    assert answer.head.status == 404
    assert b"was changed; reload" in answer.body


@pytest.mark.parametrize(
    "request_",
    [
        {"query": {"a": ["x", 1]}},
        {"body": {"multipart": [{"name": []}]}},
        {"body": {"form": {"a": "b"}}},
        {"headers": {"foo\r\nbar": "a"}},
    ],
)
def test_damage_within_a_request_is_named(tmp_path, request_):
    made = orjson.loads(line(posted(chat()), b"1"))
    made["request"] |= request_
    for canonical in ("0", made["canonical"]):
        write(tmp_path, orjson.dumps({**made, "canonical": canonical}) + b"\n")
        with pytest.raises(ConfigError, match=r"line 1 has an invalid"):
            replaying(tmp_path)


def test_replaced_cassette_is_a_miss_in_the_report_too(tmp_path):
    write(tmp_path, line(posted(chat("Hello")), b"1"))
    app = replaying(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(b"")
    assert app.handle(posted(chat("Hello"))).head.status == 404
    assert app.responders[0].hits.counted(REPLAYED_KEY) == 0


def test_hashes_of_another_form_are_computed_again(tmp_path):
    other = Canonical(["x"])
    write(tmp_path, line(posted(chat("On 2026-01-01")), b"1", canonical=other))
    assert replaying(tmp_path).handle(posted(chat("On 2027-02-02"))).body == b"1"
    write(tmp_path, line(posted(chat("build 1")), b"1"))
    assert replaying(tmp_path, normalize=[r"build \d+"]).handle(posted(chat("build 2"))).body == b"1"


def test_stored_components_are_the_required_ones(tmp_path):
    write(tmp_path, line(posted(chat("Hello")), b"1"))
    app = replaying(tmp_path, match=["model"])
    assert app.handle(posted(chat("Bye", stream=True))).body == b"1"
    assert app.handle(posted(chat("Hello", model="gpt-5"))).head.status == 404


# Whatever was recorded replays.

SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=20)),
    st.floats(allow_nan=False, allow_infinity=False),
)
JSON_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["model", "messages", "input", "instructions", "tools", "temperature", "stream", "response_format", "api_key", "x"]
)
SENT = st.one_of(
    st.dictionaries(FIELDS, JSON_VALUES, max_size=5).map(orjson.dumps),
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode(errors="replace")),
    st.text("ab&=%+", max_size=20).map(str.encode),
)
TYPES = st.sampled_from(
    ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", ""]
)
FRAMES = st.lists(st.tuples(st.floats(0, 1000).map(lambda at: round(at, 3)), st.binary(max_size=30)), max_size=5)


@st.composite
def exchanges(draw):
    """Draw a request with secrets in every place, and the frames of its answer."""
    body = draw(SENT)
    if draw(st.booleans()):
        given = {"messages": draw(JSON_VALUES), "tools": draw(with_canary()), "prompt": f"my key is sk-{CANARY}"}
        body = orjson.dumps({**given, "metadata": draw(with_canary())})
    headers = {
        "content-type": draw(TYPES),
        draw(names()).lower(): CANARY,
        "authorization": f"Bearer sk-{CANARY}",
        **draw(st.sampled_from([{}, {"cookie": f"a={CANARY}"}, {"x-org": CANARY}, {"x-unknown": CANARY}])),
    }
    method = draw(st.sampled_from(["POST", "GET", "DELETE"]))
    query = (
        {} if method == "POST" else draw(st.sampled_from([{}, {"limit": ["2"]}, {draw(names()): [CANARY], "a": ["b"]}]))
    )
    frames = sorted(draw(FRAMES))
    if draw(st.booleans()):
        message = f"Incorrect API key sk-{CANARY} in org-{CANARY.replace('-', '')}"
        frames.append((1000.0, orjson.dumps({"message": message, "tools": draw(with_canary())})))
    path = draw(st.sampled_from([PATH, "/v1/files/a b", "/v1/images/é", "/v9/unknown"]))
    return Request(method, path, headers, b"" if method == "GET" else body, query), frames


@given(st.lists(exchanges(), min_size=1, max_size=10))
@examples(80)
def test_whatever_was_recorded_replays_and_no_secret_is_written(tmp_path_factory, made):
    directory = tmp_path_factory.mktemp("cassettes")
    answer_headers = (("content-type", "text/plain"), ("set-cookie", CANARY), ("openai-organization", CANARY))
    lines = [line(request, *frames, headers=answer_headers) for request, frames in made]
    assert CANARY.encode() not in b"".join(lines)
    assert CANARY.replace("-", "").encode() not in b"".join(lines)
    write(directory, *lines)
    app = replaying(directory)
    expected: dict[bytes, list[bytes]] = {}
    for request, frames in made:
        body = b"".join(data for _, data in frames)
        expected.setdefault(repr((request.method, request.path, request.body, request.query)).encode(), []).append(body)
    for request, _ in made:
        answer = app.handle(request)
        assert answer.head.status == 200
        recorded = expected[repr((request.method, request.path, request.body, request.query)).encode()]
        got = body_of(answer)
        assert CANARY.encode() not in got
        assert any(len(got) == len(one) for one in recorded)
        assert got in recorded or CANARY.encode() in b"".join(recorded)


def test_a_miss_of_any_request_is_an_error_of_the_provider(tmp_path):
    write(tmp_path, line(posted(chat()), b"1"))
    app = replaying(tmp_path)
    for body in (b"", b"\xff", b"{", b"[" * 500, chat("x" * 100_000)):
        answer = app.handle(posted(body))
        assert answer.head.status == 404
        assert orjson.loads(answer.body)["error"]["code"] == "no_recording_matched"
    assert not isinstance(answer, ApiError)
