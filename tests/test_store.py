import json
import multiprocessing
import shutil

import numpy as np
import pytest

from aecore.store.entries import Store, StoreError

KEY = "ab" * 32
DOCUMENT = {"spec": {"latent_dim": 4}, "text": "σ = 0.45 – ½"}
ARRAYS = {
    "weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "step": np.asarray(7.0, dtype=np.float32),
    "transposed": np.arange(6, dtype=np.int64).reshape(2, 3).T,
}


def same(entry):
    assert entry.document == DOCUMENT
    assert entry.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(entry.arrays[name], array)
        assert entry.arrays[name].shape == array.shape
    return True


def files(store):
    folder = store.root / "runs" / KEY[:2] / KEY
    return sorted(folder.iterdir())


def test_what_is_written_is_read(store):
    assert store.read("run", KEY) is None
    store.write("run", KEY, DOCUMENT, ARRAYS)
    assert same(store.read("run", KEY))
    assert [path.name for path in files(store)] == ["run.json", "weights.safetensors"]
    store.write("table", KEY, {"mse": [1.0]}, {})
    assert store.read("table", KEY).document == {"mse": [1.0]}


def test_what_is_there_is_not_written_and_synced_again(store, monkeypatch):
    store.write("run", KEY, DOCUMENT, ARRAYS)
    monkeypatch.setattr("os.fsync", None)
    store.write("run", KEY, {"other": 1}, {})
    assert same(store.read("run", KEY))


def test_checkpoint_is_replaced_and_dropped(store):
    assert store.read_checkpoint(KEY) is None
    store.write_checkpoint(KEY, {"epoch": 1}, {})
    store.write_checkpoint(KEY, DOCUMENT, ARRAYS)
    assert same(store.read_checkpoint(KEY))
    store.drop_checkpoint(KEY)
    store.drop_checkpoint(KEY)
    assert store.read_checkpoint(KEY) is None


def damages(content: bytes):
    yield b""
    yield content[:1]
    yield content[: len(content) // 2]
    yield content[:-1]
    for place in (len(content) // 3, len(content) - 2):
        yield content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]
    yield None  # no file at all


@pytest.mark.parametrize("number", [0, 1])
def test_damage_is_noticed_moved_aside_and_written_again(store, number):
    store.write("run", KEY, DOCUMENT, ARRAYS)
    good = files(store)[number].read_bytes()
    for damaged in damages(good):
        path = files(store)[number]
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="damaged store entry moved to"):
            assert store.read("run", KEY) is None
        assert store.read("run", KEY) is None
        store.write("run", KEY, DOCUMENT, ARRAYS)
        assert same(store.read("run", KEY))
    assert len(list((store.root / "damaged").iterdir())) == 7


def test_damaged_checkpoint_is_moved_aside(store):
    store.write_checkpoint(KEY, DOCUMENT, ARRAYS)
    path = store.root / "checkpoints" / f"{KEY}.safetensors"
    good = path.read_bytes()
    for damaged in damages(good):
        if damaged is None:
            continue
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="damaged"):
            assert store.read_checkpoint(KEY) is None
        assert not path.exists()


def test_an_edited_document_is_damage(store):
    store.write("run", KEY, DOCUMENT, ARRAYS)
    path = files(store)[0]
    content = json.loads(path.read_text())
    content["document"]["spec"]["latent_dim"] = 5
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="digest"):
        store.write("run", KEY, DOCUMENT, ARRAYS)
    assert same(store.read("run", KEY))


def test_published_layer_serves_and_is_never_written(store, tmp_path):
    published = Store(tmp_path / "published", layers=())
    published.write("run", KEY, DOCUMENT, ARRAYS)
    layered = Store(store.root, layers=(published.root,))
    assert same(layered.read("run", KEY))
    files(published)[0].write_bytes(b"{")
    with pytest.warns(UserWarning, match="passed over"):
        assert layered.read("run", KEY) is None
    assert files(published)[0].read_bytes() == b"{"


def test_unwritable_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file", layers=())
    for attempt in (
        store.check_writable,
        lambda: store.write("run", KEY, DOCUMENT, ARRAYS),
        lambda: store.write_checkpoint(KEY, DOCUMENT, ARRAYS),
        lambda: store.lease(KEY),
    ):
        with pytest.raises(StoreError, match=r"can't be written.*AECORE_HOME") as error:
            attempt()
        assert "\n" not in str(error.value)


def _write_many(root, number):
    store = Store(root, layers=())
    for entry in range(40):
        store.write("run", f"{entry:064x}", {"entry": entry}, {"a": np.full(100, entry)})


def test_many_writers_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = Store(tmp_path, layers=())
    for entry in range(40):
        found = store.read("run", f"{entry:064x}")
        assert found.document == {"entry": entry}
        assert (found.arrays["a"] == entry).all()
    left = [path for path in tmp_path.rglob(".*")]
    assert left == [], "drafts of writers that came second are cleared away"
    shutil.rmtree(tmp_path)
