"""Compressed request bodies."""

import gzip
import zlib

import orjson
import pytest
import zstandard

from tests.support import KEY

pytestmark = pytest.mark.unit

PATH = "/v1/chat/completions"
USER = [{"role": "user", "content": "x"}]
CHAT = {"model": "gpt-4o", "messages": USER}


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("zstd", zstandard.compress),
    ],
)
def test_compressed_bodies_are_decoded(call, coding, compress):
    post = call({"server": {"max_body_bytes": 10_000}})
    headers = KEY | {"content-encoding": coding}
    assert post(PATH, compress(orjson.dumps(CHAT)), headers=headers).head.status == 200
    assert post(PATH, compress(b" " * 10_001), headers=headers).head.status == 413
    assert post(PATH, compress(orjson.dumps(CHAT))[:-5], headers=headers).head.status == 400


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_all_members_of_a_compressed_body_are_decoded(call, coding, compress):
    post = call({"server": {"max_body_bytes": 10_000}})
    headers = KEY | {"content-encoding": coding}
    text = orjson.dumps(CHAT)
    assert post(PATH, compress(text[:20]) + compress(text[20:]), headers=headers).head.status == 200
    assert post(PATH, compress(text) + compress(b" " * 10_000), headers=headers).head.status == 413
    assert post(PATH, compress(text) + b"garbage", headers=headers).head.status == 400


def test_content_encoding_unknown_is_a_415(call):
    answer = call({})(PATH, b"\x0b\x02", headers=KEY | {"content-encoding": "br"})
    assert answer.head.status == 415
    assert "content-encoding 'br'" in orjson.loads(answer.body)["error"]["message"]
    assert "gzip" in dict(answer.more)["accept-encoding"]
