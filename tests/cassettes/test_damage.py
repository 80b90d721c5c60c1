"""Damaged cassettes, upstreams that misbehave, and texts that are made to take long."""

import gzip
import random
import signal
import time
from pathlib import Path

import httpx
import orjson
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.cassettes.cassette import CassetteError, parse_line
from fastmock.cassettes.secrets import mask, scrub
from fastmock.cassettes.tools import Pruning, pruned
from fastmock.core.http import Request, Stream
from fastmock.core.problems import ConfigError
from tests.cassettes.support import EVENTS, JSON, PATH, RawUpstream, chat, chunk, head, line, posted, write
from tests.support import KEY, examples, make_app, wait_until

WHOLE = line(posted(chat("Hello")), (1.0, b"data: 1\n\n"), (5.5, b"\xff"), headers=EVENTS)
FORM = line(
    posted(
        b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n',
        headers={**KEY, "content-type": "multipart/form-data; boundary=b"},
    ),
    b"{}",
)
REQUESTS = (
    *(posted(chat(text)) for text in ("Hello", "Bye")),
    posted(b"{"),
    Request("GET", "/v1/models", KEY, b""),
)


def answers(place, **settings):
    """Return the statuses of requests to a server with a cassette; each answer is read to its end."""
    app = make_app({"cassettes": {"files": [str(place)], "lenient": True, **settings}})
    found = []
    for request in REQUESTS:
        answer = app.handle(request)
        if isinstance(answer, Stream):
            assert all(0 <= due < 1e6 for due in answer.due_times)
            answer.cut(0, answer.steps)
        found.append(answer.head.status)
        assert all(value.isascii() and value.isprintable() for _, value in answer.head.headers)
    app.replayers[""].use()
    return found


def entry(original=WHOLE, **changes):
    """Return a line with other values; names are paths with two underscores between their parts."""
    made = orjson.loads(original)
    for path, value in changes.items():
        *parts, last = path.split("__")
        inner = made
        for part in parts:
            inner = inner[part]
        inner[last] = value
    return orjson.dumps(made) + b"\n"


@pytest.mark.unit
@pytest.mark.parametrize(
    "changes",
    [
        *(
            {name: value}
            for name in ("at", "route", "canonical", "exact", "hashes", "request", "answer")
            for value in (7, None)
        ),
        *({"hashes__model": value} for value in ("", "ab", "zz" * 8, 7)),
        *({"exact": value} for value in ("", "ab", "zz" * 16)),
        *({"joined": value} for value in ("", [], {}, "zz")),
        *({"answer__status": value} for value in (99, 101, 600, "200", True, 200.0)),
        *({"answer__headers": value} for value in ([], {"a": 1}, {"a": "b\r\nc"}, {"a": "é"}, None)),
        *({"answer__frames": value} for value in (None, 7, [1], [[1]], [[1, 2]], [["1", "x"]], [[1, {"base64": "!"}]])),
        *({"answer__frames": value} for value in ([[-1, "x"]], [[1e300, "x"]], [[5, "x"], [4, "y"]], [[1, {}]])),
        *({"answer__end": value} for value in (None, -1, 0, 1e300, "1")),
        *({"request__body": value} for value in (7, {}, {"x": 1}, {"multipart": [1]}, {"form": []}, {"text": 1})),
        *({"request__query": value} for value in (7, {"a": "b"})),
        *({"request__headers": value} for value in (7, {"a": 1})),
        *({"request__method": value} for value in (7, None)),
    ],
    ids=str,
)
def test_wrong_value_is_named_at_start(tmp_path, changes):
    write(tmp_path, entry(**changes))
    with pytest.raises(ConfigError) as error:
        make_app({"cassettes": str(tmp_path)})
    [problem] = error.value.problems
    assert problem.where == f"{tmp_path}/a.jsonl"
    assert problem.message.startswith("line 1 ")
    assert answers(tmp_path)[0] == 404


@given(st.integers(0, 2**32), st.integers(1, 8), st.sampled_from([WHOLE, FORM]))
@examples(150)
@pytest.mark.unit
def test_flipped_bytes_neither_crash_the_start_nor_a_request(tmp_path_factory, seed, count, original):
    draw = random.Random(seed)
    damaged = bytearray(original)
    for _ in range(count):
        damaged[draw.randrange(len(damaged) - 1)] = draw.choice(b'09af{}[]",:\\ \x00\xff')
    place = write(tmp_path_factory.mktemp("damage"), bytes(damaged), line(posted(chat("Bye")), b"2"))
    assert answers(place, speed=draw.choice([0, 1]))[1] == 200


@pytest.mark.unit
@pytest.mark.parametrize("speed", ["nan", "inf", "-1", "1e-300", "1e300", "", "1,5"])
def test_speeds_that_cannot_be_kept_are_refused(tmp_path, speed):
    write(tmp_path, WHOLE)
    app = make_app({"cassettes": str(tmp_path), "server": {"control_headers": True}})
    assert app.handle(posted(chat("Hello"), headers={**JSON, "x-fastmock-speed": speed})).head.status == 400
    with pytest.raises((AssertionError, ConfigError, ValueError)):
        make_app({"cassettes": {"files": [str(tmp_path)], "speed": float(speed)}})


@pytest.mark.unit
@pytest.mark.parametrize(
    "text",
    [
        *("eyJ-" * 30_000, "eyJaaaaaaaa." * 10_000, '"' * 100_000, '\\"' * 50_000, '"api_key"' + " " * 100_000),
        *('"key_' * 25_000, "sk-" * 40_000, "Bearer " * 20_000, "call_" + "a" * 100_000 + "_", "2026-01-01T" * 10_000),
        *(
            "Monday, " * 15_000,
            "a" * 150_000,
            "org-" * 30_000,
            '\\"token\\": \\"' * 10_000,
            '"secret":"' + "\\" * 100_000,
        ),
    ],
    ids=lambda text: f"{text[:12]!r}",
)
def test_no_text_takes_long(tmp_path, text):
    body = chat(f"{text} sk-aaaaaaaaaaaaaaaa 2026-01-01")
    begin = time.process_time()
    request = posted(body)
    made = line(request, body)
    write(tmp_path, made)
    app = make_app({"cassettes": str(tmp_path)})
    assert app.handle(posted(body + b" ")).head.status == 200
    raw = text.encode() + b" sk-aaaaaaaaaaaaaaaa"
    assert len(mask(raw)) == len(raw)
    scrub(raw)
    assert time.process_time() - begin < 5  # it takes 0.3 s; a quadratic search takes several times 2 to 16 s


@pytest.fixture
def relayed(serve, tmp_path):
    """Return a function that answers a request with given bytes, through a recorder."""
    upstreams = []

    def relay(answer, method="POST", **more):
        upstream = RawUpstream(lambda connection, request: connection.sendall(answer))
        upstreams.append(upstream)
        server = serve({"record": {"upstream": upstream.url, "to": str(tmp_path / "c"), "allow_in_ci": True, **more}})
        return httpx.request(method, f"{server.url}{PATH}", content=chat(), headers=JSON, timeout=20), server

    yield relay
    for upstream in upstreams:
        upstream.close()


def recorded(tmp_path):
    files = [*(tmp_path / "c").glob("*.jsonl")]
    return [parse_line(text) for file in files for text in file.read_bytes().splitlines()]


@pytest.mark.integration
@pytest.mark.parametrize("status", ["101 Switching Protocols", "199 Odd", "600 Odd", "999 Odd", "abc", ""])
def test_status_that_cannot_be_relayed_is_a_bad_gateway(relayed, tmp_path, status):
    answered, server = relayed(head(status, content_length="0"))
    assert answered.status_code == 502
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert recorded(tmp_path) == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("DELETE", head("204 No Content")),
        ("GET", head("304 Not Modified")),
        ("HEAD", head(content_length="7")),
        ("POST", head(content_length="0")),
    ],
)
def test_recorder_answers_on_after_answers_without_a_body(relayed, serve, tmp_path, method, answer):
    answered, server = relayed(answer, method)
    for number in range(5):
        answered = httpx.request(method, f"{server.url}/v1/things/{number}", headers=KEY, timeout=5)
        assert answered.status_code in (200, 204, 304)
    assert server.stop() == 0
    for runtime in ("granian", "robyn"):
        config = {"cassettes": {"files": [str(tmp_path / "c")], "speed": 1}}
        replaying = serve(config, "--runtime", runtime)
        with httpx.Client(base_url=replaying.url, headers=KEY, timeout=5) as client:  # on one connection
            statuses = [client.request(method, f"/v1/things/{number}").status_code for number in range(5)]
        assert statuses == [answered.status_code] * 5


@pytest.mark.integration
def test_recorder_whose_cassette_is_removed_writes_a_new_one(relayed, tmp_path):
    _, server = relayed(head(content_length="2") + b"{}")
    assert wait_until(lambda: len(recorded(tmp_path)) == 1, 10)
    with pytest.raises(CassetteError, match="is being recorded to"):
        list(pruned([tmp_path / "c"], Pruning((), True, True, False)))
    for path in (tmp_path / "c").iterdir():
        path.unlink()
    httpx.post(f"{server.url}{PATH}", content=chat("again"), headers=JSON)
    assert wait_until(lambda: len(recorded(tmp_path)) == 1, 10)


@pytest.mark.integration
def test_answers_that_upstreams_never_finish_are_named_when_the_server_stops(serve, tmp_path):
    upstream = RawUpstream(lambda connection, request: time.sleep(30))
    record = {"upstream": upstream.url, "to": str(tmp_path / "c"), "allow_in_ci": True}
    server = serve({"record": record, "server": {"shutdown_timeout": 1}})
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}{PATH}", content=chat(), headers=JSON, timeout=1)
    assert server.stop() == 0
    upstream.close()
    assert "1 answers that upstreams have not finished are not recorded" in "".join(server.errors)


@pytest.mark.integration
def test_reloads_open_no_further_files(serve, tmp_path):
    for number in range(100):
        write(tmp_path, line(posted(chat(f"{number}")), b"1"), name=f"{number}.jsonl")
    server = serve({"cassettes": str(tmp_path)})
    with httpx.Client(base_url=server.url, headers=JSON) as client:
        for reload in range(4):
            for number in range(100):
                assert client.post(PATH, content=chat(f"{number}")).status_code == 200
            open_files = sum(
                one.readlink().suffix == ".jsonl"
                for process in psutil.Process(server.process.pid).children()
                for one in Path(f"/proc/{process.pid}/fd").iterdir()
                if one.is_symlink()
            )
            assert open_files <= 64
            (tmp_path / "0.jsonl").write_bytes(line(posted(chat("0")), b"1"))
            server.process.send_signal(signal.SIGHUP)
            assert wait_until(lambda reload=reload: "".join(server.errors).count("reloaded:") == reload + 1, 20)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("answer", "status", "content"),
    [
        (head(content_length="2", x_bad="caf\u00e9") + b"{}", 200, b"{}"),
        (head("204 No Content"), 204, b""),
        (head("304 Not Modified"), 304, b""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, b"until the end"),
        (head(transfer_encoding="chunked") + b"2;a=b\r\n{}\r\n0\r\nx-trailer: 1\r\n\r\n", 200, b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + head(content_length="2") + b"{}", 200, b"{}"),
        (head(content_length="2", x_long="a" * 30_000) + b"{}", 200, b"{}"),
    ],
    ids=["header", "204", "304", "http/1.0", "trailer", "100", "long header"],
)
def test_odd_answer_is_relayed_and_replayed(relayed, serve, tmp_path, answer, status, content):
    answered, server = relayed(answer)
    assert (answered.status_code, answered.content) == (status, content)
    assert wait_until(lambda: len(recorded(tmp_path)) == 1, 10)
    assert server.stop() == 0
    for runtime in ("granian", "robyn"):
        url = serve({"cassettes": str(tmp_path / "c")}, "--runtime", runtime).url
        answered = httpx.post(f"{url}{PATH}", content=chat(), headers=JSON)
        assert (answered.status_code, answered.content) == (status, content)


@pytest.mark.integration
def test_answers_whose_secrets_cannot_be_found_or_that_are_too_large_are_relayed_alone(relayed, tmp_path):
    answered, server = relayed(head(content_encoding="odd", content_length="4") + b"odd!")
    assert answered.content == b"odd!"
    secret = b"sk-" + b"a1" * 20
    packed = gzip.compress(b'{"message": "%s"}' % secret)
    answered, _ = relayed(head(content_encoding="gzip", content_length=str(len(packed))) + packed)
    assert secret in answered.content
    body = b"".join(chunk(b"x" * 1000) for _ in range(50)) + b"0\r\n\r\n"
    answered, _ = relayed(head(transfer_encoding="chunked") + body, max_bytes=10_000)
    assert len(answered.content) == 50_000
    assert wait_until(lambda: len(recorded(tmp_path)) == 1, 10)
    assert server.stop() == 0
    [found] = recorded(tmp_path)
    assert secret not in found.answer.content
    assert "content-encoding" not in found.answer.headers
    assert "content coding 'odd' is unknown" in "".join(server.errors)


@pytest.mark.integration
def test_upstream_is_asked_only_for_codings_in_which_secrets_can_be_found(serve, tmp_path):
    upstream = RawUpstream(lambda connection, request: connection.sendall(head(content_length="0")))
    server = serve({"record": {"upstream": upstream.url, "to": str(tmp_path / "c"), "allow_in_ci": True}})
    httpx.post(f"{server.url}{PATH}", content=chat(), headers={**JSON, "accept-encoding": "br;q=1.0, gzip;q=0.5, foo"})
    upstream.close()
    assert b"accept-encoding: gzip;q=0.5\r\n" in upstream.requests[0].lower()
