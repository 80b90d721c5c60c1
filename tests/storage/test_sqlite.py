"""The store of completions: bounded, shared by workers, without errors if it cannot write."""

import pytest

from fastmock.storage.sqlite import Store, StoredObject

pytestmark = pytest.mark.unit


def ids(store):
    return list(store.ids("k", newest_first=True, wanted=lambda model, metadata: model == "m"))


def test_store_keeps_the_newest_entries_and_is_shared(tmp_path):
    store = Store(3)
    store.join(tmp_path / "run")
    assert store.get("k", "a") is None
    assert ids(store) == []
    assert not (tmp_path / "run").exists()  # nothing is made before something is kept
    for number in range(10):
        store.keep(StoredObject("k", str(number), "m", b"{}", metadata={"a": "b"}))
    assert ids(store) == ["9", "8", "7"]
    other = Store(3)  # another worker's
    other.join(tmp_path / "run")
    assert other.get("k", "9") == StoredObject("k", "9", "m", b"{}", metadata={"a": "b"})
    assert other.delete("k", "9")
    assert not store.delete("k", "9")
    store.update("k", "8", {"c": "d"})
    assert other.get("k", "8").metadata == {"c": "d"}


def test_store_when_full_drops_the_older_entries(tmp_path, monkeypatch):
    monkeypatch.setattr("fastmock.storage.sqlite._PAGES", 100)
    store = Store(10_000)
    store.join(tmp_path)
    for number in range(60):
        store.keep(StoredObject("k", str(number), "m", bytes(20_000)))
    kept = list(map(int, ids(store)))
    assert kept[0] == 59
    assert 3 < len(kept) < 30


def test_store_that_cannot_write_warns_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = Store(10)
    store.join(tmp_path / "file" / "below")
    store.keep(StoredObject("k", "a", "m", b"{}"))
    store.keep(StoredObject("k", "b", "m", b"{}"))
    assert caplog.text.count("answers are not stored") == 1
