import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import CHECKOUT

from aecore.store import entries, upkeep
from aecore.store.entries import Store, StoreError, digest

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


def test_an_entry_that_comes_while_it_is_looked_for_is_no_damage(store, monkeypatch):
    def looked_too_early(folder, kind):
        monkeypatch.undo()
        Store(store.root, layers=()).write("run", KEY, DOCUMENT, ARRAYS)
        raise FileNotFoundError(2, "No such file", str(folder / "run.json"))

    monkeypatch.setattr(entries, "read_entry", looked_too_early)
    assert store.read("run", KEY) is None
    assert not (store.root / "damaged").exists()


def test_an_edited_document_is_damage(store):
    store.write("run", KEY, DOCUMENT, ARRAYS)
    path = files(store)[0]
    content = json.loads(path.read_text())
    content["document"]["spec"]["latent_dim"] = 5
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="digest"):
        store.write("run", KEY, DOCUMENT, ARRAYS)
    assert same(store.read("run", KEY))


def test_an_entry_with_less_is_replaced_by_one_with_more(store):
    store.write("run", KEY, DOCUMENT, {})
    store.write("run", KEY, DOCUMENT, ARRAYS)
    assert same(store.read("run", KEY))
    assert not list(store.root.rglob(".*"))


def test_a_document_of_another_key_is_refused(store):
    question = {"table": "t", "of": 1}
    with pytest.raises(StoreError, match="was computed where"):
        store.write("table", digest({"table": "t", "of": 2}), {"question": question}, {})


def two(kind, root):
    """Two entries of a store that are whole: made now, or published by the first versions."""
    if kind.startswith("published"):
        kind = kind.split()[1]
        places = sorted((CHECKOUT / "results").glob(f"{kind}s/*/*"))[:2]
        for place in places:
            shutil.copytree(place, root / f"{kind}s" / place.parent.name / place.name)
        return kind, [place.name for place in places]
    keys = []
    for n in range(2):
        question = {"table": "t", "of": n}
        document = {"question": question, "answer": n} if kind == "table" else {"history": [n]}
        keys.append(digest(question))
        Store(root, layers=()).write(kind, keys[-1], document, {})
    return kind, keys


def swap(one, other):
    aside = one.with_name("aside")
    one.rename(aside), other.rename(one), aside.rename(other)


@pytest.mark.parametrize("kind", ["run", "table", "published run", "published table"])
def test_two_entries_that_change_places_are_damage(store, tmp_path, kind):
    kind, keys = two(kind, store.root)
    assert [store.read(kind, key) is None for key in keys] == [False, False]
    assert list(upkeep.damages(store)) == []
    folders = [store.root / f"{kind}s" / key[:2] / key for key in keys]
    swap(*folders)
    found = list(upkeep.damages(store))
    assert {path for path, _ in found} == set(folders)
    for place, other in (keys, keys[::-1]):
        said = f"it is {kind} {other[:12]}, in the place of {kind} {place[:12]}"
        assert any(path.name == place and problem == said for path, problem in found)
        with pytest.warns(UserWarning, match=f"passed over: it is {kind} {other[:12]}"):
            assert Store(tmp_path / "own", layers=(store.root,)).read(kind, place) is None
        with pytest.warns(UserWarning, match=f"to be computed again: it is {kind} {other[:12]}"):
            assert store.read(kind, place) is None
    assert list(upkeep.damages(store)) == []


def test_an_entry_of_another_kind_and_a_checkpoint_of_another_run_are_damage(store):
    _, (key, other) = two("table", store.root)
    (store.root / "tables" / key[:2]).rename(store.root / "neighborhoods")
    folder = store.root / "neighborhoods" / key[:2] / key
    folder.parent.mkdir()
    (store.root / "neighborhoods" / key).rename(folder)
    (folder / "table.json").rename(folder / "neighborhood.json")
    with pytest.warns(UserWarning, match=f"it is table {key[:12]}"):
        assert store.read("neighborhood", key) is None
    for each in (key, other):
        store.write_checkpoint(each, {"history": [each]}, {})
    swap(*store.checkpoints())
    assert len(list(upkeep.damages(store))) == 2
    for each in (key, other):
        with pytest.warns(UserWarning, match="in the place of checkpoint"):
            assert store.read_checkpoint(each) is None


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


COMMITS = """
import subprocess
from pathlib import Path
import aecore.store.paths as paths
git = lambda *words: subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
                                    check=True, capture_output=True)
if EDITED:
    Path(paths.__file__).write_text("# edited and committed after this program began")
    git("commit", "-qam", "other")
print(paths.commit(), paths.__file__)
"""


@pytest.mark.parametrize("edited", [False, True])
def test_the_commit_is_that_of_the_code_that_runs(tmp_path, edited):
    shutil.copytree(CHECKOUT / "aecore", tmp_path / "aecore")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        given = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        subprocess.run(given, cwd=tmp_path, check=True)
    home = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    program = [sys.executable, "-c", COMMITS.replace("EDITED", str(edited))]
    done = subprocess.run(program, cwd=tmp_path, env=home, capture_output=True, text=True)
    commit, place = done.stdout.split()
    assert Path(place).is_relative_to(tmp_path)
    assert commit.endswith("+") == edited


def test_without_a_temporary_folder_one_line_says_what_helps(store, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: ["/dev/null/none"])
    with pytest.raises(StoreError, match="set TMPDIR to one that can") as error:
        store.check_writable()
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
