"""The requests of other servers, as they are read from the stream."""

from types import SimpleNamespace

import orjson
import pytest

from fastmock.replication.requests import RequestStream
from fastmock.shared.block import Share
from fastmock.shared.ring_buffer import ENDED, Outcome, RingBuffer

pytestmark = pytest.mark.unit
HEAD = {"replica": "other", "path": "/", "headers": {}, "rule": "", "status": 200, "session": ""}


@pytest.fixture
def stream():
    connection = SimpleNamespace(client=None, key=lambda name: name)
    return RequestStream(connection, "me", "me", RingBuffer(100, 4096), Share())


def recorded(number, count, of="other"):
    outcome = orjson.dumps([0.1, 0.0, 10, ENDED])
    return {
        b"of": of.encode(),
        b"n": b"%d" % number,
        b"c": b"%d" % count,
        b"h": orjson.dumps(HEAD),
        b"b": b"",
        b"o": outcome,
    }


def lost(many, count, of="other"):
    return {b"of": of.encode(), b"lost": b"%d" % many, b"c": b"%d" % count}


def taken(stream, *messages):
    for message in messages:
        stream.take(message)
    return stream._ring.written, stream._ring.lost


def test_requests_that_were_written_twice_are_read_once(stream):
    written = [recorded(3, 0), recorded(5, 1), recorded(6, 2)]
    assert taken(stream, *written, *written[1:], recorded(9, 3)) == (4, 0)


def test_losses_that_were_written_twice_are_counted_once(stream):
    written = [recorded(3, 0), lost(7, 1), recorded(20, 8)]
    assert taken(stream, *written, *written) == (2, 7)


def test_requests_that_were_dropped_from_the_stream_count_as_lost(stream):
    assert taken(stream, recorded(3, 0), recorded(9, 5), lost(2, 6), recorded(30, 10)) == (3, 4 + 2 + 2)


def test_each_server_is_followed_by_itself(stream):
    assert taken(stream, recorded(3, 0), recorded(3, 0, "third"), recorded(4, 1), recorded(3, 0, "me")) == (3, 0)


def test_requests_of_others_that_the_journal_drops_are_no_losses_of_this_server(stream):
    written = []
    pipeline = SimpleNamespace(xadd=lambda name, message, **_: written.append(message), execute=lambda: None)
    stream._client = SimpleNamespace(pipeline=lambda transaction: pipeline)
    taken(stream, *(recorded(number, number) for number in range(500)))
    stream._ring.write(b'{"path":"/"}', b"", Outcome(0.1, 0, 1, ENDED))
    stream.export()
    assert [one.get("lost") for one in written] == [None]
