"""Responses in a file per worker: every worker finds them, old ones are overwritten, none is read in part."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmock.core.ids import unique
from fastmock.storage import response_log
from fastmock.storage.response_log import Entry, ResponseLog
from fastmock.storage.sqlite import Store
from tests.support import examples

pytestmark = pytest.mark.unit


@pytest.fixture
def store(tmp_path):
    made = Store(10)
    made.join(tmp_path / "run")
    return made


def test_response_log_keeps_and_marks_an_entry(store):
    kept, other = ResponseLog(store), unique()
    assert kept.get(other) is None
    assert not store.directory.exists()  # nothing is made before something is kept
    name = unique()
    kept.keep(name, b"k", b"answer", b"request")
    assert kept.get(name) == Entry(b"k", b"answer", b"request")
    kept.mark(name, b"d")
    assert kept.get(name).mark == b"d"
    kept.mark(other, b"d")
    for unknown in (other, unique(), "0" * 32, name[:16] + "f" * 16):
        assert kept.get(unknown) is None


def test_response_log_is_shared_between_processes(store):
    kept, (reading, writing) = ResponseLog(store), os.pipe()
    kept.keep(mine := unique(), b"k", b"parent", b"")
    if (child := os.fork()) == 0:
        name = unique()
        kept.keep(name, b"k", b"child", b"")
        found = kept.get(mine)
        os.write(writing, f"{name} {found and found.answer.decode()}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    name, seen = os.read(reading, 1000).decode().split()
    assert seen == "parent"
    assert kept.get(name).answer == b"child"  # though it has ended
    assert kept.get(mine).answer == b"parent"
    os.close(reading)
    os.close(writing)


def test_response_log_continues_with_the_file_of_the_previous_config(store):
    ResponseLog(store).keep(first := unique(), b"k", b"first", b"")
    ResponseLog(store).keep(second := unique(), b"k", b"second", b"")
    assert [ResponseLog(store).get(name).answer for name in (first, second)] == [b"first", b"second"]


@examples(8)
@given(st.lists(st.binary(max_size=400), min_size=1, max_size=60))
def test_response_log_never_returns_a_partial_entry(tmp_path_factory, answers):
    store = Store(10)
    store.join(tmp_path_factory.mktemp("run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(response_log, "_SIZE", 1000)
        kept, names = ResponseLog(store), []
        for answer in answers:
            names.append(unique())
            kept.keep(names[-1], b"k", answer, b"r")
            assert kept.get(names[-1]) == Entry(b"k", answer, b"r")
        found = [kept.get(name) for name in names]
        assert all(entry is None or entry.answer == answer for entry, answer in zip(found, answers, strict=True))
        path = next(store.directory.glob("answers-*"))
        assert path.stat().st_size <= response_log._BEGIN + 1000
    kept.keep(large := unique(), b"k", bytes(response_log._SIZE), b"")
    assert kept.get(large) is None


def test_response_log_that_cannot_write_warns_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = Store(10)
    store.join(tmp_path / "file" / "run")  # no directory can be made below a file
    kept = ResponseLog(store)
    for _ in range(3):
        name = unique()
        kept.keep(name, b"k", b"answer", b"")
        assert kept.get(name) is None
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["responses are not stored"]
